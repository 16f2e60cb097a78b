"""Files that the API lists without a URL: their annotations are exported, and the missing originals are counted."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from exporting import (
    ROOT,
    command,
    digest,
    environment,
    export,
    missing_originals,
    settings,
    storage,
    summary,
    undisturbed,
    verify,
    write_config,
)
from pipeline.errors import FailureLimitError
from pipeline.sandbox import Sandbox, SandboxOptions
from synapse.local_api import TinySynapse, document, task
from tests.formats.coco.grammar import check_tree
from tests.formats.imagefolder.grammar import check_imagefolder
from tests.formats.tar_grammar import tar_samples
from tests.formats.voc.grammar import check_voc_tree
from tests.formats.yolo.grammar import check_ndjson, check_yolo_tree

RECORDS = 30
TRAINING = ("coco", "yolo", "yolo_segment", "voc", "imagefolder", "webdataset")
TABLES = ("csv", "parquet", "synapse_json")
EVERYTHING = {
    "formats": [
        "coco", {"yolo": {"ndjson": True}}, {"yolo": {"task": "segment"}}, {"voc": {"class_sets": True}}, "imagefolder",
        {"webdataset": {"images_per_tar": 7}}, "csv", "parquet", "synapse_json",
    ],
    "split": {"by": "hash", "ratios": {"train": 0.5, "val": 0.5}},
}  # fmt: skip


@pytest.fixture(scope="module")
def some():
    """A sandbox that has no URL of the files of each third record."""
    with Sandbox(SandboxOptions(records=RECORDS, file_urls="some", image_size=(320, 240))) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def none():
    """A sandbox that has no URL of any file."""
    with Sandbox(SandboxOptions(records=RECORDS, file_urls="none", image_size=(320, 240))) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def kept(some, tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "out"
    export(some, path, **EVERYTHING)
    return path


@pytest.fixture(scope="module")
def dropped(some, tmp_path_factory):
    path = tmp_path_factory.mktemp("dropped") / "out"
    export(some, path, **EVERYTHING, on_missing_original="drop_image")
    return path


def rows_of(path):
    return list(csv.DictReader((path / "metadata/records.csv").read_text(encoding="utf-8").splitlines()))


def losses_of(path):
    return list(map(json.loads, (path / "metadata/losses.jsonl").read_text(encoding="utf-8").splitlines()))


def files_below(path, prefix):
    place = storage(path)
    return {name: place.read(name) for name, _ in place.files(prefix)}


def check_books(path, missing):
    """The books balance, and count each record's original that is missing, by its id, as no failure."""
    told = summary(path)
    originals = told["originals"]
    assert told["records"]["written"] == RECORDS
    assert (originals["seen"], originals["failed"]) == (RECORDS, {})
    assert originals["skipped"] == ({"ORIGINAL_MISSING": missing} if missing else {})
    assert originals["written"] == RECORDS - missing
    for name, books in told["formats"].items():
        for count in (books["samples"], books["annotations"]):
            lost = sum(count["skipped"].values()) + sum(count["failed"].values())
            assert count["seen"] == count["written"] + lost, name
    without = {int(row["record_id"]) for row in rows_of(path) if not row["sha256"]}
    counted = [line["record_id"] for line in losses_of(path) if line["format"] == "originals"]
    assert len(counted) == len(set(counted)) == missing
    assert set(counted) == without
    assert not (path / "metadata/failures.jsonl").read_text()
    verify(path, full=True)


def check_readers(path, expected):
    """Every reader opens what is listed; ``expected`` is how many images each format that trains tells of."""
    missing = missing_originals(path)
    check_tree(files_below(path, "annotations"))
    for root in (path, path / "segment"):
        labels = check_yolo_tree(root, missing=missing, task="segment" if root.name == "segment" else "detect")
        assert len(labels) == expected["yolo"]
    _, lines = check_ndjson((path / "dataset.ndjson").read_text(encoding="utf-8"))
    assert len(lines) == expected["yolo"] - len(missing)
    assert all((path / line["url"]).is_file() for line in lines)
    tree = check_voc_tree(files_below(path, "VOCdevkit"), missing={Path(image).stem for image in missing})
    assert len(tree.images) == expected["voc"]
    tables = {name: data for name, data in files_below(path, "images").items() if name.endswith((".parquet", ".md"))}
    rows = check_imagefolder(tables)
    assert len(rows) == expected["imagefolder"]
    there = {file.name for file in (path / "images").rglob("*.*")}
    assert {row["file_name"] for row in rows} <= there
    found = [key for data in files_below(path, "webdataset").values() for key in tar_samples(data)]
    assert len(found) == len(set(found)) == expected["webdataset"]
    listed = [image["file_name"] for images in images_of(path).values() for image in images]
    assert len(listed) == expected["coco"]
    assert {name for name in listed if name not in there} == {Path(image).name for image in missing}
    with (path / "annotations.csv").open(encoding="utf-8", newline="") as lines:
        table = list(csv.DictReader(lines))
    assert len({row["record_id"] for row in table}) == RECORDS
    assert all((path / row["file_name"]).is_file() is ("/" in row["file_name"]) for row in table)
    assert len(files_below(path, "json")) == RECORDS


def images_of(path):
    return {file.stem: json.loads(file.read_text())["images"] for file in path.glob("annotations/instances_*.json")}


def test_some_missing_originals_cost_only_what_cannot_be_without_its_image(kept):
    missing = RECORDS // 3
    check_books(kept, missing)
    full = dict.fromkeys(("coco", "yolo", "voc"), RECORDS)
    check_readers(kept, full | dict.fromkeys(("imagefolder", "webdataset"), RECORDS - missing))
    books = summary(kept)["formats"]
    for name in ("coco", "yolo", "yolo_segment", "voc"):
        assert books[name]["samples"]["lossy"]["ORIGINAL_MISSING"] == missing
    for name in ("imagefolder", "webdataset"):
        assert books[name]["samples"]["skipped"] == {"ORIGINAL_MISSING": missing}
    for name in TABLES:
        assert books[name]["samples"]["written"] == RECORDS
    (warning,) = [text for text in summary(kept)["warnings"] if "ORIGINAL_MISSING" in text]
    assert warning.startswith(f"the API gives no URL of {missing} of the {RECORDS} originals")
    assert "CocoDetection" in warning
    assert "on_missing_original: drop_image" in warning


def test_dropped_images_are_in_no_format_that_trains_and_in_every_table(dropped):
    missing = RECORDS // 3
    check_books(dropped, missing)
    check_readers(dropped, dict.fromkeys(("coco", "yolo", "voc", "imagefolder", "webdataset"), RECORDS - missing))
    assert not missing_originals(dropped)
    books = summary(dropped)["formats"]
    for name in TRAINING:
        assert books[name]["samples"]["skipped"] == {"ORIGINAL_MISSING": missing}
        assert books[name]["annotations"]["skipped"].get("ORIGINAL_MISSING", 0) > 0
    for name in TABLES:
        assert books[name]["samples"]["written"] == RECORDS


def test_all_missing_originals_are_said_by_run_and_plan_and_no_failure(none, tmp_path):
    config = write_config(tmp_path, settings(none, tmp_path / "out", formats=["coco", "voc", "imagefolder"]))
    told = command("plan", config, env=environment(none))
    assert told.returncode == 0, told.stdout + told.stderr
    told = " ".join(told.stdout.split())
    assert re.search(rf"no URL of any of the {RECORDS} originals; save_original_file: false exports", told)
    done = command("run", config, env=environment(none))
    assert done.returncode == 0, done.stdout + done.stderr
    told = " ".join(done.stdout.split())
    assert re.search(rf"no URL of any of the {RECORDS} originals; save_original_file: false exports", told)
    assert f"originals skipped: ORIGINAL_MISSING {RECORDS}" in told
    assert "imagefolder: not one of 30 images could be used, most often because of ORIGINAL_MISSING" in told
    check_books(tmp_path / "out", RECORDS)
    assert sum(map(len, images_of(tmp_path / "out").values())) == RECORDS
    assert not list((tmp_path / "out").rglob("*.jpg"))


def test_plan_says_how_many_originals_are_missing(some, tmp_path):
    config = write_config(tmp_path, settings(some, tmp_path / "out", **EVERYTHING))
    told = command("plan", config, env=environment(some))
    assert told.returncode == 0, told.stdout + told.stderr
    missing = RECORDS // 3
    assert f"no URL of {missing} of the {RECORDS} originals" in " ".join(told.stdout.split())
    assert f"originals skipped: ORIGINAL_MISSING {missing}" in told.stdout


@pytest.mark.parametrize("target", ["assignment", "ground_truth"])
def test_every_target_counts_them(some, tmp_path, target):
    export(some, tmp_path, target=target, formats=["coco"])
    told = summary(tmp_path)
    assert told["failed_records"] == 0
    assert told["originals"]["skipped"]["ORIGINAL_MISSING"] == sum(not row["sha256"] for row in rows_of(tmp_path)) > 0


@pytest.mark.parametrize("policy", ["keep", "drop_image"])
def test_the_shard_size_does_not_change_a_byte(some, kept, dropped, tmp_path, policy):
    export(some, tmp_path / "out", **EVERYTHING, on_missing_original=policy, run={"shard_size": 7, "page_size": 5})
    assert digest(tmp_path / "out") == digest(kept if policy == "keep" else dropped)


@pytest.mark.parametrize("policy", ["keep", "drop_image"])
def test_what_the_api_said_first_counts_also_after_a_kill(some, kept, dropped, tmp_path, policy):
    values = settings(some, tmp_path / "out", **EVERYTHING, on_missing_original=policy)
    config = write_config(tmp_path, values)
    arguments = [sys.executable, ROOT / "tests/killer.py", "before", "render/000000.json", "1", "run", config]
    killed = subprocess.run(arguments, env=environment(some), capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    again = command("run", config, env=environment(some))
    assert again.returncode == 0, again.stderr
    assert digest(tmp_path / "out") == digest(kept if policy == "keep" else dropped)


def test_without_originals_nothing_is_missing(none, tmp_path, tmp_path_factory):
    overrides = {"formats": ["coco", "yolo", "voc", "csv", "synapse_json"], "save_original_file": False}
    export(none, tmp_path / "out", **overrides, on_missing_original="drop_image")
    with Sandbox(SandboxOptions(records=RECORDS, image_size=(320, 240))) as whole:
        golden = undisturbed(whole, tmp_path_factory, **overrides, on_missing_original="drop_image")
    assert digest(tmp_path / "out") == golden
    assert not [text for text in summary(tmp_path / "out")["warnings"] if "ORIGINAL_MISSING" in text]


def test_a_url_that_is_gone_when_the_file_is_copied_is_a_failure(tmp_path):
    rows = [task(number, data=document(f"a{number}", size=(640, 480))) for number in (1, 2)]
    for row in rows:
        row["data_unit"]["files"]["image_1"] |= {"url": f"/media/{row['id']}", "file_name_original": f"{row['id']}.jpg"}

    def spoil(page, request):
        if "data_unit" not in request.query.get("fields", ""):
            return None
        page = json.loads(json.dumps([{"id": row["id"], "data_unit": row["data_unit"]} for row in page]))
        for row in page:
            if row["id"] == 1:
                row["data_unit"]["files"]["image_1"]["url"] = None
        return web.json_response({"next": None, "results": page})

    with TinySynapse(rows, spoil=spoil) as api, pytest.raises(FailureLimitError, match="no URL of the file"):
        export(api, tmp_path, formats=["coco"])


def test_a_format_that_needs_the_image_leaves_the_sample_out(some, tmp_path):
    (tmp_path / "copies.py").write_text(
        "from pipeline.formats import BaseFormat, Entry\n\n\n"
        "class Copies(BaseFormat):\n"
        "    name = 'copies'\n\n"
        "    def manifests(self, catalog):\n"
        "        return []\n\n"
        "    def render(self, sample, catalog):\n"
        "        copy = Entry(f'copies/{sample.file_name}', original=True)\n"
        "        return [Entry(f'copies/{sample.stem}.txt', b'x'), copy]\n"
    )
    config = write_config(tmp_path, settings(some, tmp_path / "out", formats=["copies:Copies"]))
    done = command("run", config, env=environment(some))
    assert done.returncode == 0, done.stdout + done.stderr
    check_books(tmp_path / "out", RECORDS // 3)
    books = summary(tmp_path / "out")["formats"]["copies"]
    assert books["samples"]["skipped"] == {"ORIGINAL_MISSING": RECORDS // 3}
    assert len(list((tmp_path / "out/copies").glob("*.txt"))) == books["samples"]["written"] == RECORDS - RECORDS // 3
