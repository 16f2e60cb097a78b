"""The line that says how to read a format names files and splits that hold something."""

import json
import re

import pytest
import yaml
from aiohttp import web
from pycocotools.coco import COCO

from exporting import command, environment, environment_of, settings, summary, write_config
from pipeline.config.loading import parse_config
from pipeline.run import run
from synapse.local_api import TinySynapse, picture, task
from tests.formats.tar_grammar import tar_samples

FORMATS = [
    "coco", "yolo", {"yolo": {"task": "pose"}}, "voc", "imagefolder", {"webdataset": {"images_per_tar": 1}}, "parquet",
    "csv", "synapse_json",
]  # fmt: skip
SKELETON = {"dog": {"points": ["nose", "tail"], "edges": [["nose", "tail"]]}}


def drawn(kind):
    """A document with a box, with two keypoints of one object, or with nothing on its image."""
    things = {
        "box": [("a", "bounding_box", "car", {"x": 1, "y": 2, "width": 30, "height": 40})],
        "pose": [("a", "keypoint", "nose", {"x": 5, "y": 5}), ("b", "keypoint", "tail", {"x": 50, "y": 50})],
        "nothing": [],
    }[kind]
    return {
        "extra": {"image_1": {"width": 640, "height": 480}},
        "annotations": {
            "image_1": [{"id": one, "tool": tool, "classification": {"class": name}} for one, tool, name, _ in things]
        },
        "annotationsData": {"image_1": [{"id": one, "coordinate": where} for one, _, _, where in things]},
        "annotationGroups": {"image_1": [{"id": "g", "annotationIds": ["a", "b"]}] if kind == "pose" else []},
    }


def rows_of(*images):
    """Rows of tasks 1, 2 …, whose images are ``(kind, split)``; a kind that ends with ``?`` has no URL."""
    rows = [task(number, data=drawn(kind.rstrip("?"))) for number, (kind, _) in enumerate(images, start=1)]
    for row, (kind, _) in zip(rows, images, strict=True):
        if kind.endswith("?"):
            row["data_unit"]["files"]["image_1"]["url"] = None
    return rows


def values_of(api, tmp_path, images, **overrides):
    listed = tmp_path / "splits.csv"
    lines = [f"{number},{split}" for number, (_, split) in enumerate(images, start=1)]
    listed.write_text("\n".join(["record_id,split", *lines]) + "\n")
    split = {"by": "file", "file": str(listed)}
    return settings(api, tmp_path / "out", **{"formats": FORMATS, "split": split, "skeletons": SKELETON, **overrides})


def exported(tmp_path, *images, **overrides):
    """The hints of an export of ``images``, by format."""
    api = TinySynapse(rows_of(*images), fetch=lambda _: web.Response(body=picture()))
    with api, environment_of(api.environment()):
        run(parse_config(yaml.safe_dump(values_of(api, tmp_path, images, **overrides))))
    return summary(tmp_path / "out")["how_to_read"]


def check(hints, root, split):
    """Every hint names what is there, and what has samples: of ``split``, where it names a split."""
    for name, line in hints.items():
        (path,) = re.findall(re.escape(f"{root}") + r"/?([^' ,]*)", line)[:1]
        assert [*root.glob(path)] if path else root.is_dir(), line
        held = {
            "coco": lambda path=path: COCO(root / path).getImgIds(),
            "voc": lambda line=line: (
                root / f"VOCdevkit/VOC2012/ImageSets/Main/{re.findall("image_set='(.*)'", line)[0]}.txt"
            ).read_text(),
            "webdataset": lambda path=path: tar_samples((root / path).read_bytes()),
            "csv": lambda path=path: (root / path).read_text().count("\n") > 1,
        }
        assert held.get(name, lambda: True)(), line
    assert f"_{split}.json" in hints["coco"]
    assert f"images/{split}" in hints["coco"]
    assert f"image_set='{split}'" in hints["voc"]
    assert f"/{split}-" in hints["webdataset"]


def test_every_format_names_a_split_that_has_samples(tmp_path):
    hints = exported(tmp_path, ("box", "train"), ("box", "val"))
    assert list(hints) == [
        "coco", "yolo", "yolo_pose", "voc", "imagefolder", "webdataset", "parquet", "csv", "synapse_json",
    ]  # fmt: skip
    check(hints, tmp_path / "out", "train")


def test_a_split_without_images_is_not_named(tmp_path):
    hints = exported(tmp_path, ("box", "val"), ("box", "test"))
    check(hints, tmp_path / "out", "val")


def test_a_pose_export_names_the_keypoints(tmp_path):
    hints = exported(tmp_path, ("pose", "train"), ("pose", "val"))
    check(hints, tmp_path / "out", "train")
    assert "annotations/dog_keypoints_train.json" in hints["coco"]
    assert COCO(tmp_path / "out/annotations/dog_keypoints_train.json").getAnnIds()
    assert not COCO(tmp_path / "out/annotations/instances_train.json").getAnnIds()


def test_coco_names_the_split_that_has_objects(tmp_path):
    hints = exported(tmp_path, ("nothing", "train"), ("box", "val"), formats=["coco"])
    assert "annotations/instances_val.json" in hints["coco"]
    assert "images/val" in hints["coco"]


def test_coco_names_the_file_of_a_split_that_has_objects(tmp_path):
    images = [("nothing", "train"), ("nothing", "train"), ("box", "train")]
    hints = exported(tmp_path, *images, formats=[{"coco": {"shard_images": 1}}])
    assert "annotations/instances_train_00002.json" in hints["coco"]


def test_images_without_objects_are_named_where_there_is_nothing_else(tmp_path):
    hints = exported(tmp_path, ("nothing", "train"), ("nothing", "val"))
    check(hints, tmp_path / "out", "train")


def test_an_image_that_is_missing_is_not_named_by_those_that_need_it(tmp_path):
    hints = exported(tmp_path, ("box?", "train"), ("nothing", "val"), formats=["voc", "webdataset", "imagefolder"])
    assert "image_set='val'" in hints["voc"]
    assert "/val-" in hints["webdataset"]
    (tmp_path / "all").mkdir()
    hints = exported(tmp_path / "all", ("box?", "train"), formats=["coco", "voc", "webdataset", "imagefolder", "csv"])
    assert list(hints) == ["coco", "csv"]


def test_rows_without_an_image_are_named_by_the_tables(tmp_path):
    hints = exported(tmp_path, ("box?", "train"), formats=["coco", "parquet"], on_missing_original="drop_image")
    assert list(hints) == ["parquet"]
    assert "parquet_other/part-00000.parquet" in hints["parquet"]


def test_an_empty_export_names_nothing(tmp_path):
    assert exported(tmp_path, filter={"project": 12, "id": 5}, allow_empty=True, split="none") == {}


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ("url, split", "f'{url} {split} old'"),
        ("url, split, contents", "f'{url} {split} {list(contents.catalog.splits)}'"),
        ("url, split, contents=None", 'f\'{url} {split} {contents.has("mine.txt", "lines")}\''),
    ],
)
def test_a_format_of_ones_own_may_take_contents_or_not(tmp_path, parameters, line):
    (tmp_path / "mine.py").write_text(
        "from pipeline.formats import BaseFormat, Entry, Manifest, Section\n\n\n"
        "class Mine(BaseFormat):\n"
        "    name = 'mine'\n\n"
        "    def manifests(self, catalog):\n"
        "        return [Manifest('mine.txt', (Section('lines'),))]\n\n"
        "    def render(self, sample, catalog):\n"
        "        return [Entry('mine.txt', b'x', 'lines')]\n\n"
        f"    def how_to_read(self, {parameters}):\n"
        f"        return {line}\n"
    )
    images = [("box", "val")]
    with TinySynapse(rows_of(*images), fetch=lambda _: web.Response(body=picture())) as api:
        values = values_of(api, tmp_path, images, formats=["mine:Mine", "csv"])
        done = command("run", write_config(tmp_path, values), env=environment(api))
    assert done.returncode == 0, done.stdout + done.stderr
    words = {"url, split": "old", "url, split, contents": "['val']"}.get(parameters, "True")
    hints = summary(tmp_path / "out")["how_to_read"]
    assert hints["mine"] == f"{tmp_path / 'out'} val {words}"
    told = " ".join(done.stdout.split())
    assert all(" ".join(hint.split()) in told for hint in hints.values()), json.dumps(hints)
