"""The folder of images, read by Hugging Face ``datasets``."""

import pytest

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Our names of splits and those of Hugging Face."""
DRAWN = ("bounding_box", "polygon", "segmentation")


@pytest.fixture
def by_hugging_face(ask, tmp_path_factory):
    def seen(export):
        return ask("imagefolder", export.path / "images", export.path.parent / "cache")

    return seen


def rows_of(seen):
    return [row for split in seen.values() for row in split["images"].values()]


def test_every_image_is_a_row_of_its_split(exported, by_hugging_face):
    seen = by_hugging_face(exported)
    counts = {SPLITS[split]: images for split, images in exported.splits().items()}
    assert {split: len(s["images"]) + len(s["unreadable"]) for split, s in seen.items()} == counts
    assert sum(len(s["unreadable"]) for s in seen.values()) == len(exported.names("truncated_image"))
    assert all(row["size"] == [row["width"], row["height"]] for row in rows_of(seen))


def test_all_splits_have_the_same_features_with_the_names_of_the_classes(exported, by_hugging_face):
    seen = by_hugging_face(exported)
    assert len({split["features"] for split in seen.values()}) == 1
    assert all(split["classes"] == exported.classes for split in seen.values())


@pytest.mark.xdist_group("tidy")
def test_every_object_arrives(tidy_export, by_hugging_face):
    rows = rows_of(by_hugging_face(tidy_export))
    assert sum(len(row["objects"]["id"]) for row in rows) == tidy_export.written("imagefolder", *DRAWN)
    assert sum(len(row["labels"]) for row in rows) == tidy_export.written("imagefolder", "classification")


@pytest.mark.xdist_group("tidy")
def test_the_boxes_are_those_that_were_drawn(tidy_export, by_hugging_face):
    drawn = {tidy_export.images()[name][0]: boxes for name, boxes in tidy_export.boxes().items()}
    for row in rows_of(by_hugging_face(tidy_export)):
        objects = row["objects"]
        columns = (objects[name] for name in ("category", "bbox", "segmentation", "mask"))
        boxes = sorted(
            (tidy_export.classes[category], *box)
            for category, box, segmentation, mask in zip(*columns, strict=True)
            if not segmentation and mask is None
        )
        assert [box[0] for box in boxes] == [box[0] for box in drawn[row["record_id"]]]
        assert [box[1:] for box in boxes] == [pytest.approx(box[1:]) for box in drawn[row["record_id"]]]
