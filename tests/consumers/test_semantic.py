"""Planes of classes, read by Ultralytics as for training, and by torchvision in the layout of Cityscapes."""

import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from consumers.conftest import made


@pytest.fixture(scope="session")
def copied(tmp_path_factory):
    """Copies of trees by export: Ultralytics writes its cache beside masks, and mends pictures in place."""
    copies = {}

    def copy(export):
        if export.path not in copies:
            copies[export.path] = tmp_path_factory.mktemp("semantic") / "semantic"
            shutil.copytree(export.path / "semantic", copies[export.path])
        return copies[export.path]

    return copy


def written(folder, split, unreadable, suffix=".png"):
    """How many pixels of each class the planes of a split have, without those of images nobody can open."""
    found = Counter()
    stems = {name.rpartition(".")[0] for name in unreadable}
    planes = [path for path in (folder / split).rglob(f"*{suffix}") if path.name.removesuffix(suffix) not in stems]
    for path in planes:
        with Image.open(path) as picture:
            numbers, pixels = np.unique(np.asarray(picture), return_counts=True)
        found.update(dict(zip(map(str, numbers.tolist()), pixels.tolist(), strict=True)))
    return found, len(planes)


def test_ultralytics_trains_on_every_image(exported, ask, copied):
    seen = ask("semantic", copied(exported) / "data.yaml")
    unreadable = exported.names("truncated_image")
    assert list(seen) == ["train", "val", "test"]
    for name, split in seen.items():
        pixels, images = written(exported.path / "semantic/masks", name, unreadable)
        assert split["images"] == split["augmented"] == images
        assert split["missing"] == 0
        assert split["pixels"] == pixels
        assert split["classes"] == ["background", *exported.classes_of("semantic")]
    assert (
        sum(split["images"] for split in seen.values()) + len(unreadable)
        == (exported.summary["formats"]["semantic"]["samples"]["written"])
    )
    assert {number for split in seen.values() for number in split["pixels"]} > {"0"}


def test_torchvision_reads_the_layout_of_cityscapes(tidy, tmp_path, ask):
    export = made(tidy, tmp_path / "export", formats=[{"semantic": {"layout": "cityscapes"}}])
    seen = ask("cityscapes", export.path / "semantic")
    for name, split in seen.items():
        pixels, images = written(export.path / "semantic/gtFine", name, (), "_gtFine_labelIds.png")
        assert (split["images"], split["pixels"]) == (images, pixels)
    assert (
        sum(split["images"] for split in seen.values()) == export.summary["formats"]["semantic"]["samples"]["written"]
    )
