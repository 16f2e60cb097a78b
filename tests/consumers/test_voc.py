"""Pascal VOC, read by torchvision and by Datumaro."""

from collections import Counter
from math import ceil, floor
from pathlib import Path

import pytest

SETS = ("train", "val", "trainval")  # torchvision knows "test" in 2007 only
DRAWN = ("polygon", "segmentation")


def by_torchvision(export, ask):
    return ask("voc", export.path, *SETS)


def images_of(export, ask):
    return by_torchvision(export, ask)["trainval"]["images"]


def test_torchvision_opens_every_image_that_is_whole(exported, ask):
    unreadable = {f"{Path(name).stem}.jpg" for name in exported.names("truncated_image")}
    counts = exported.splits()
    for image_set, count in zip(SETS, (counts["train"], counts["val"], counts["train"] + counts["val"]), strict=True):
        seen = by_torchvision(exported, ask)[image_set]
        assert len(seen["images"]) == count
        assert {name for name, image in seen["images"].items() if image is None} <= unreadable
        assert all(image["size"] == image["described"] for image in seen["images"].values() if image)


def test_planes_have_the_size_of_their_image_and_known_classes_only(exported, ask):
    for plane in by_torchvision(exported, ask)["trainval"]["planes"].values():
        if plane:
            assert plane["plane"] == plane["size"]
            assert plane["mode"] == "P"
            assert max(plane["indices"]) <= len(exported.classes)


@pytest.mark.xdist_group("tidy")
def test_what_was_drawn_is_painted(tidy_export, ask):
    things = {
        Path(name).stem: {thing.label for tool in DRAWN for thing in tidy_export.things(tool)[name]}
        for name in tidy_export.images()
    }
    planes = by_torchvision(tidy_export, ask)["trainval"]["planes"]
    for name, plane in planes.items():
        painted = {tidy_export.classes[index - 1] for index in plane["indices"] if index}
        assert painted == things[Path(name).stem]
    images = images_of(tidy_export, ask)
    assert {Path(name).stem for name in planes} == {Path(n).stem for n in images if things[Path(n).stem]}


@pytest.mark.xdist_group("tidy")
def test_torchvision_gives_the_boxes_that_were_drawn(tidy_export, ask):
    drawn = {Path(name).stem: boxes for name, boxes in tidy_export.boxes().items()}
    for name, image in images_of(tidy_export, ask).items():
        boxes = [
            (label, floor(x) + 1, floor(y) + 1, ceil(x + width), ceil(y + height))
            for label, x, y, width, height in drawn[Path(name).stem]
        ]
        assert not Counter(boxes) - Counter(tuple(found) for found in image["objects"])


@pytest.mark.slow  # Datumaro compares every plane with every instance
def test_datumaro_imports_the_same_objects(exported, ask):
    seen = ask("datumaro", "voc", exported.path / "VOCdevkit/VOC2012")
    assert {split: len(items) for split, items in subsets(seen).items()} == exported.splits()
    assert types(seen)["bbox"] == exported.written("voc")
    for stem, image in images_of(exported, ask).items():
        found = seen["subsets"]["trainval"][Path(stem).stem]
        if image:
            assert [f["class"] for f in found if f["type"] == "bbox"] == [label for label, *_ in image["objects"]]


def test_datumaro_knows_the_classes(exported, ask):
    background, *classes = ask("datumaro", "voc", exported.path / "VOCdevkit/VOC2012")["classes"]
    assert background == "background"
    # Two names cannot be told to it: a colon ends a name, and it looks for a file named after each class.
    changed = [name for name, known in zip(exported.classes, classes, strict=True) if name != known]
    assert set(changed) <= {"../car/\\bus", "=SUM(A1:A9)"}


@pytest.mark.xdist_group("tidy")
def test_datumaro_has_a_mask_for_everything_painted(tidy_export, ask):
    seen = ask("datumaro", "voc", tidy_export.path / "VOCdevkit/VOC2012")
    assert types(seen)["mask"] == tidy_export.written("voc", *DRAWN)


def subsets(seen):
    return {split: items for split, items in seen["subsets"].items() if split != "trainval"}


def types(seen):
    return Counter(f["type"] for items in subsets(seen).values() for found in items.values() for f in found)
