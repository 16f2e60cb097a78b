"""COCO, read by torchvision (with pycocotools below it) and by Datumaro."""

from collections import Counter

import pytest

SPLITS = ("train", "val", "test")
DRAWN = ("bounding_box", "polygon", "segmentation")


def by_torchvision(export, ask, kind="instances"):
    """What torchvision sees of all splits, by split."""
    return ask("coco", export.path, kind)


def images_of(seen):
    return {name: image for split in seen.values() for name, image in split["images"].items()}


def test_torchvision_opens_every_image_that_is_whole(exported, ask):
    seen = by_torchvision(exported, ask)
    opened = images_of(seen)
    unreadable = sorted(name for split in seen.values() for name in split["unreadable"])
    assert unreadable == exported.names("truncated_image")
    assert {split: len(s["images"]) + len(s["unreadable"]) for split, s in seen.items()} == exported.splits()
    assert sorted([*opened, *unreadable]) == sorted(exported.images())
    assert all(image["size"] == image["described"] for image in opened.values())


def test_torchvision_gives_every_object_that_the_summary_counts(exported, ask):
    seen = by_torchvision(exported, ask)
    assert sum(split["all"] for split in seen.values()) == exported.written("coco", *DRAWN)
    ids = [found["id"] for image in images_of(seen).values() for found in image["objects"]]
    assert len(ids) == len(set(ids))


def test_categories_are_numbered_from_one_in_every_split(exported, ask):
    numbered = {str(number): name for number, name in enumerate(exported.classes_of("coco/instances"), start=1)}
    for split in by_torchvision(exported, ask).values():
        assert split["classes"] == numbered


@pytest.mark.xdist_group("tidy")
def test_torchvision_gives_the_boxes_that_were_drawn(tidy_export, ask):
    drawn = tidy_export.boxes()
    for name, image in images_of(by_torchvision(tidy_export, ask)).items():
        boxes = sorted((o["class"], *o["box"]) for o in image["objects"] if o["pixels"] is None)
        assert [box[0] for box in boxes] == [box[0] for box in drawn[name]]
        assert [box[1:] for box in boxes] == [pytest.approx(box[1:]) for box in drawn[name]]


@pytest.mark.xdist_group("tidy")
def test_pycocotools_paints_the_masks_that_were_drawn(tidy_export, ask):
    drawn = tidy_export.things("segmentation")
    for name, image in images_of(by_torchvision(tidy_export, ask)).items():
        masks = Counter((o["class"], o["area"], o["pixels"]) for o in image["objects"] if o["rle"])
        sizes = [(thing.label, sum(length for _, length in thing.geometry)) for thing in drawn[name]]
        assert masks == Counter((label, float(pixels), pixels) for label, pixels in sizes)


def test_pycocotools_paints_something_of_every_outline(exported, ask):
    for image in images_of(by_torchvision(exported, ask)).values():
        assert all(found["pixels"] != 0 for found in image["objects"])


def points_of(image):
    """The keypoints of an image: ``{id: [(x, y, visibility)]}``."""
    flat = {found["id"]: found["keypoints"] for found in image["objects"]}
    return {number: list(zip(*(values[i::3] for i in range(3)), strict=True)) for number, values in flat.items()}


@pytest.mark.xdist_group("tidy")
def test_torchvision_gives_the_points_that_were_drawn(tidy_export, ask):
    drawn = tidy_export.things("keypoint")
    for name, image in images_of(by_torchvision(tidy_export, ask, "person_keypoints")).items():
        found = sorted(point for points in points_of(image).values() for point in points if point[2])
        assert found == sorted(thing.geometry for thing in drawn[name] if thing.geometry[2])


def test_datumaro_imports_the_same_people(exported, ask):
    people = by_torchvision(exported, ask, "person_keypoints")
    for split in SPLITS:
        file = exported.path / f"annotations/person_keypoints_{split}.json"
        items = ask("datumaro", "coco_person_keypoints", file)["subsets"][split]
        found = {f["id"] for item in items.values() for f in item if f["type"] == "points"}
        # A person on an image that cannot be opened is not in torchvision's answer, so only numbers are compared.
        assert len(found) == people[split]["all"]


def test_datumaro_imports_the_same_objects(exported, ask):
    seen = ask("datumaro", "coco_instances", exported.path)
    assert seen["classes"] == exported.classes_of("coco/instances")
    assert {split: len(items) for split, items in seen["subsets"].items()} == exported.splits()
    by_split = by_torchvision(exported, ask)
    for split, items in seen["subsets"].items():
        # Datumaro makes two annotations of an object with a mask: its box and its mask, with the same id.
        assert len({found["id"] for found in (f for item in items.values() for f in item)}) == by_split[split]["all"]
