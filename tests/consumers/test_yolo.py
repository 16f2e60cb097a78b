"""YOLO trees of all tasks, read by Ultralytics as for training, and the one of boxes by Datumaro."""

import filecmp
import shutil
from pathlib import Path

import pytest

TASKS = {"detect": "", "segment": "segment", "pose": "pose", "obb": "obb"}
"""The folder of each task in the export."""
TOLERANCE = 1e-3
"""Pixels: what six decimals of the width of an image are, and float32."""


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


@pytest.fixture(scope="session")
def copies(tmp_path_factory):
    """Copies of trees by export and task: Ultralytics writes its cache beside labels, and mends pictures in place."""
    made = {}

    def copy(export, task):
        if (export.path, task) not in made:
            made[export.path, task] = tmp_path_factory.mktemp(task)
            for name in ("data.yaml", "labels", "images"):
                source, target = export.path / TASKS[task] / name, made[export.path, task] / name
                shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        return made[export.path, task]

    return copy


@pytest.fixture
def by_ultralytics(ask, copies):
    def seen(export, task):
        return ask("yolo", copies(export, task) / "data.yaml", task)

    return seen


def rows_of(seen):
    return {name: row for split in seen["splits"].values() for name, row in split["rows"].items()}


def lost_with(export, task):
    """Lines of labels that belong to images nobody can open."""
    labels = export.path / TASKS[task] / "labels"
    stems = {Path(name).stem for name in export.names("truncated_image")}
    return sum(len(file.read_text().splitlines()) for file in labels.rglob("*.txt") if file.stem in stems)


def test_nothing_is_missing_and_nothing_corrupt(exported, by_ultralytics, task):
    seen = by_ultralytics(exported, task)
    splits = seen["splits"]
    samples = exported.summary["formats"]["yolo" if task == "detect" else f"yolo_{task}"]["samples"]["written"]
    unreadable = exported.names("truncated_image")
    assert list(splits) == ["train", "val", "test"]
    assert sum(split["images"] for split in splits.values()) == samples
    assert sum(split["missing"] for split in splits.values()) == 0
    assert sum(split["corrupt"] for split in splits.values()) == len(unreadable)
    assert sum(split["found"] for split in splits.values()) == samples - len(unreadable)
    # What it has to say is about pictures that came broken: one ends too early, one has bytes after its end.
    named = [message.split(": ")[0].rpartition("/")[2] for split in splits.values() for message in split["messages"]]
    assert sorted(named) == sorted([*unreadable, *exported.names("trailing_bytes")])


def test_every_row_that_was_written_reaches_a_batch(exported, by_ultralytics, task):
    seen = by_ultralytics(exported, task)
    rows = sum(len(file.read_text().splitlines()) for file in (exported.path / TASKS[task] / "labels").rglob("*.txt"))
    assert sum(split["objects"] for split in seen["splits"].values()) == rows - lost_with(exported, task)
    assert sum(len(row["boxes"]) for row in rows_of(seen).values()) == rows - lost_with(exported, task)
    if task != "pose":  # a row of pose is many annotations
        assert rows == exported.written("yolo" if task == "detect" else f"yolo_{task}")


def test_the_names_of_the_classes_arrive(exported, by_ultralytics, task):
    tree = "yolo/detect" if task == "detect" else f"yolo_{task}/{task}"
    known = ["person"] if task == "pose" else exported.classes_of(tree)
    assert by_ultralytics(exported, task)["classes"] == known


def test_no_other_picture_is_changed(exported, by_ultralytics, copies, task):
    by_ultralytics(exported, task)
    copied, given = copies(exported, task) / "images", exported.path / TASKS[task] / "images"
    pictures = [path.relative_to(given) for path in given.rglob("*") if path.is_file()]
    changed = [path.name for path in pictures if not filecmp.cmp(given / path, copied / path, shallow=False)]
    assert changed == exported.names("trailing_bytes")


def pixels(row):
    """The boxes of an image as ``(class, x, y, width, height)`` in pixels."""
    across, down = row["size"]
    for label, x, y, width, height in row["boxes"]:
        yield label, (x - width / 2) * across, (y - height / 2) * down, width * across, height * down


@pytest.mark.xdist_group("tidy")
@pytest.mark.parametrize("task", ["detect", "obb"])
def test_the_boxes_are_those_that_were_drawn(tidy_export, by_ultralytics, task):
    drawn = tidy_export.boxes()
    for name, row in rows_of(by_ultralytics(tidy_export, task)).items():
        boxes = sorted(pixels(row))
        assert [box[0] for box in boxes] == [box[0] for box in drawn[name]]
        assert [box[1:] for box in boxes] == [pytest.approx(box[1:], abs=TOLERANCE) for box in drawn[name]]


@pytest.mark.xdist_group("tidy")
def test_the_outlines_are_those_that_were_drawn(tidy_export, by_ultralytics):
    polygons, masks = tidy_export.things("polygon"), tidy_export.things("segmentation")
    for name, row in rows_of(by_ultralytics(tidy_export, "segment")).items():
        across, down = row["size"]
        outlines = [[(x * across, y * down) for x, y in outline] for outline in row["outlines"]]
        found = list(zip((label for label, *_ in row["boxes"]), outlines, strict=True))
        for thing in polygons[name]:
            same = pytest.approx(sum(thing.geometry, ()), abs=TOLERANCE)
            (match,) = (one for one in found if one[0] == thing.label and sum(one[1], ()) == same)
            found.remove(match)
        areas = sorted((label, shoelace(outline)) for label, outline in found)
        painted = sorted((thing.label, sum(length for _, length in thing.geometry)) for thing in masks[name])
        assert [label for label, _ in areas] == [label for label, _ in painted]
        assert [area for _, area in areas] == [pytest.approx(pixels, abs=1) for _, pixels in painted]


def shoelace(points):
    """The area inside an outline, in square pixels."""
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


@pytest.mark.xdist_group("tidy")
def test_the_points_are_those_that_were_drawn(tidy_export, by_ultralytics):
    drawn = tidy_export.things("keypoint")
    for name, row in rows_of(by_ultralytics(tidy_export, "pose")).items():
        across, down = row["size"]
        found = sorted((x * across, y * down, v) for points in row["points"] for x, y, v in points if v)
        wanted = sorted(thing.geometry for thing in drawn[name] if thing.geometry[2])
        assert len(found) == len(wanted)
        for point, truth in zip(found, wanted, strict=True):
            assert point == pytest.approx(truth, abs=TOLERANCE)


def test_datumaro_imports_the_same_boxes(exported, by_ultralytics, ask):
    seen = ask("datumaro", "yolo", exported.path)
    assert seen["classes"] == exported.classes_of("yolo/detect")
    by_stem = {Path(name).stem: row for name, row in rows_of(by_ultralytics(exported, "detect")).items()}
    items = {stem: found for subset in seen["subsets"].values() for stem, found in subset.items()}
    assert set(items) - set(by_stem) == {Path(name).stem for name in exported.names("truncated_image")}
    assert sum(len(found) for found in items.values()) == exported.written("yolo")
    for stem, row in by_stem.items():
        boxes = sorted((found["class"], *found["box"]) for found in items[stem])
        assert [box[0] for box in boxes] == [box[0] for box in sorted(pixels(row))]
        # Datumaro rounds the corners of a box to hundredths of a pixel.
        assert [box[1:] for box in boxes] == [pytest.approx(box[1:], abs=0.011) for box in sorted(pixels(row))]


@pytest.mark.xdist_group("tidy")
def test_the_one_file_dataset_is_converted_to_the_same_rows(tidy_export, ask, task, tmp_path):
    folder = tidy_export.path / TASKS[task]
    seen = ask("ndjson", folder / "dataset.ndjson", tmp_path)
    assert {split: found["images"] for split, found in seen["splits"].items()} == tidy_export.splits()
    for split, found in seen["splits"].items():
        lines = [line for file in (folder / "labels" / split).glob("*.txt") for line in file.read_text().splitlines()]
        rows = sorted([float(number) for number in line.split()] for line in lines)
        assert rows
        assert found["rows"] == [pytest.approx(row, abs=1e-6) for row in rows]
