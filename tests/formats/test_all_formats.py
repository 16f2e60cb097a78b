"""Every format of one export at once, on every malformation there is: loadable, balanced, and always the same bytes."""

import csv
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from exporting import (
    ROOT,
    command,
    digest,
    environment,
    export,
    missing_originals,
    settings,
    summary,
    write_config,
)
from pipeline.commands.verify import verify
from pipeline.formats import FORMATS
from pipeline.sandbox import EVERY_KIND_RECORDS, Sandbox, SandboxOptions
from pipeline.storage import open_storage
from tests.formats.coco.grammar import check_tree
from tests.formats.imagefolder.grammar import CARD, check_imagefolder, read_metadata
from tests.formats.tar_grammar import tar_samples
from tests.formats.voc.grammar import check_voc_tree
from tests.formats.yolo.grammar import check_yolo_tree

TASKS = ("detect", "segment", "pose", "obb")
EVERYTHING = {
    "formats": [
        {"coco": {"box_segmentation": "rectangle", "shard_images": 40}},
        *({"yolo": {"task": task, "ndjson": True}} for task in TASKS),
        {"voc": {"images": "transcode", "class_sets": True}},
        "semantic",
        "imagefolder",
        {"webdataset": {"images_per_tar": 30}},
        {"parquet": {"images_per_file": 50}},
        "csv",
        "synapse_json",
    ],
    "split": {"by": "hash", "key": "data_unit.meta.video"},
    "exif": "bake",
    "max_failures": "100%",
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxOptions(profile="nasty", records=EVERY_KIND_RECORDS, payload="mixed")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def exported(sandbox, tmp_path_factory):
    path = tmp_path_factory.mktemp("everything") / "export"
    export(sandbox, path, **EVERYTHING, run={"shard_size": 1000})
    return path


def files_below(path, prefix):
    storage = open_storage(str(path))
    return {name: storage.read(name) for name, _ in storage.files(prefix)}


def test_every_format_there_is_takes_part(exported):
    assert {name.removesuffix(f"_{task}") for name in summary(exported)["formats"] for task in TASKS} >= set(FORMATS)


def test_the_books_of_every_format_balance(exported):
    for name, books in summary(exported)["formats"].items():
        for count in (books["samples"], books["annotations"]):
            lost = sum(count["skipped"].values()) + sum(count["failed"].values())
            assert count["seen"] == count["written"] + lost, name
    success = verify(open_storage(str(exported)), full=True)
    assert success.ledger.records.seen == EVERY_KIND_RECORDS


def test_coco_is_loadable(exported):
    check_tree(files_below(exported, "annotations"))


@pytest.mark.parametrize("task", TASKS)
def test_yolo_is_loadable(exported, task):
    root = exported if task == "detect" else exported / task
    labels = check_yolo_tree(root, missing=missing_originals(exported), task=task)
    assert any(labels.values())


def test_voc_is_loadable(exported):
    missing = {Path(image).stem for image in missing_originals(exported)}
    assert missing
    tree = check_voc_tree(files_below(exported, "VOCdevkit"), missing=missing)
    assert len(tree.images) == summary(exported)["formats"]["voc"]["samples"]["written"]
    assert all(image.file_name.endswith(".jpg") for image in tree.images.values())


def imagefolder_of(folder):
    """The card and the tables of imagefolder in an export."""
    files = files_below(folder, "images")
    return {name: data for name, data in files.items() if name == CARD or name.endswith("metadata.parquet")}


def test_imagefolder_is_loadable(exported):
    tree = imagefolder_of(exported)
    rows = check_imagefolder(tree)
    assert len(rows) == summary(exported)["formats"]["imagefolder"]["samples"]["written"]
    for path in tree.keys() - {CARD}:
        folder = exported / path.rpartition("/")[0]
        listed = {row["file_name"] for row in read_metadata(tree[path])[0]}
        assert listed == {file.name for file in folder.iterdir()} - {"metadata.parquet"}


def test_webdataset_is_loadable(exported):
    originals = {row["image_id"]: row for row in csv.DictReader(text(exported, "metadata/records.csv"))}
    count = 0
    for data in files_below(exported, "webdataset").values():
        for key, members in tar_samples(data).items():
            row = originals[str(int(key))]
            (image,) = [content for suffix, content in members.items() if suffix != "json"]
            assert image == (exported / row["output_name"]).read_bytes()
            assert msgspec.json.decode(members["json"])["record_id"] == int(row["record_id"])
            count += 1
    assert count == summary(exported)["formats"]["webdataset"]["samples"]["written"]


def text(path, name):
    return (path / name).read_text(encoding="utf-8").splitlines(keepends=True)


def test_the_tables_have_a_row_for_every_annotation(exported):
    written = summary(exported)["formats"]["parquet"]["annotations"]["written"]
    rows = [row for row in csv.DictReader(text(exported, "annotations.csv")) if row["tool"]]
    assert len(rows) == written
    files = [*(exported / "parquet").rglob("*.parquet"), *(exported / "parquet_other").rglob("*.parquet")]
    assert sum(len([tool for tool in pq.read_table(file)["tool"].to_pylist() if tool]) for file in files) == written


@pytest.mark.parametrize("run", [{"shard_size": 7}, {"shard_size": 64, "page_size": 5}])
def test_any_cut_into_shards_gives_the_same_bytes(sandbox, exported, tmp_path, run):
    export(sandbox, tmp_path, **EVERYTHING, run=run)
    assert digest(tmp_path) == digest(exported)


MOMENTS = [
    ("after", "JPEGImages/", 40),
    ("after", "segment/images/", 60),
    ("after", "render/000003.json", 1),
    ("before", "webdataset/train-000001.tar", 1),
    ("after", "parquet/split=train/part-00000.parquet", 1),
    ("before", "metadata/classes.lock.json", 1),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: "-".join(map(str, moment)))
def test_a_killed_export_is_continued_to_the_same_bytes(sandbox, exported, tmp_path, moment):
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out", **EVERYTHING))
    killed = subprocess.run(
        [sys.executable, "tests/killer.py", *map(str, moment), "run", str(config)],
        env=environment(sandbox), cwd=ROOT, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = command("run", config, env=environment(sandbox))
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "out") == digest(exported)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("executor", ["processes", pytest.param("ray", marks=pytest.mark.ray)])
def test_workers_give_the_same_bytes(sandbox, exported, tmp_path, executor):
    run = {"executor": executor, "workers": 2, "shard_size": 30}
    config = write_config(tmp_path, settings(sandbox, tmp_path / "out", **EVERYTHING, run=run))
    done = command("run", config, env=environment(sandbox))
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "out") == digest(exported)


def test_an_export_of_nothing_is_complete_and_loadable(tmp_path):
    with Sandbox(SandboxOptions(profile="tidy", records=0)) as empty:
        export(empty, tmp_path, allow_empty=True, **EVERYTHING)
    assert summary(tmp_path)["samples"] == 0
    check_tree(files_below(tmp_path, "annotations"))
    check_imagefolder(imagefolder_of(tmp_path))
    check_voc_tree(files_below(tmp_path, "VOCdevkit"))
    assert not [key for data in files_below(tmp_path, "webdataset").values() for key in tar_samples(data)]
    verify(open_storage(str(tmp_path)), full=True)
    shutil.rmtree(tmp_path)
