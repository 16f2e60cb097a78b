"""COCO and VOC in torchvision's training: every image goes through transforms that flip, crop and resize."""

from pathlib import Path

import pytest

from consumers.conftest import made


def unreadable_of(export):
    return {Path(name).stem for name in export.names("truncated_image")}


def check(export, found):
    """Every image went in, and objects came out."""
    assert sum(part["images"] for part in found) == sum(export.splits().values())
    assert {stem for part in found for stem in part["unreadable"]} == unreadable_of(export)
    assert all(part["objects"] > 0 for part in found)


def test_every_image_is_transformed_with_its_objects(exported, ask):
    seen = ask("transforms", exported.path, "boxes,labels", "train", "val")
    for kind in ("instances", "person_keypoints"):
        check(exported, [seen[f"{kind}_{split}"] for split in ("train", "val", "test")])
    counts = exported.splits()
    for name in ("train", "val"):
        assert seen[f"VOCDetection {name}"]["images"] == counts[name]
        assert set(seen[f"VOCDetection {name}"]["unreadable"]) <= unreadable_of(exported)
        planes = seen[f"VOCSegmentation {name}"]
        assert 0 <= planes["planes"] - planes["images"] <= len(unreadable_of(exported))
        assert planes["images"] > 0


@pytest.mark.xdist_group("tidy")
def test_masks_are_transformed_when_every_object_has_an_outline(tidy, ask, tmp_path):
    export = made(tidy, tmp_path / "export", [{"coco": {"box_segmentation": "rectangle"}}])
    seen = ask("transforms", export.path, "boxes,labels,masks")
    check(export, [seen[f"instances_{split}"] for split in ("train", "val", "test")])
