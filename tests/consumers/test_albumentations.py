"""Boxes of YOLO, COCO and VOC, given to Albumentations as they are: it refuses what is outside or of no size."""

import pytest

from consumers.conftest import PYTHON
from consumers.edges import PICTURES, SIZES

PACKAGES = {release: PYTHON.parents[1] / f"albumentations-{release}" for release in ("1", "2")}
"""Two releases with other rules; they cannot be in one environment."""


@pytest.fixture(params=PACKAGES)
def by_albumentations(request, ask):
    release = request.param
    if not PACKAGES[release].is_dir():
        pytest.skip(f"NOT RUN: Albumentations {release} could not be installed (scripts/test-consumers)")

    def seen(path):
        found = ask("albumentations", PACKAGES[release], path)
        assert found["version"].startswith(f"{release}.")
        return found["formats"]

    return seen


def test_no_box_is_refused(exported, by_albumentations):
    formats = by_albumentations(exported.path)
    assert {form: found["errors"] for form, found in formats.items()} == {"yolo": {}, "coco": {}, "pascal_voc": {}}
    assert formats["yolo"]["given"] == 3 * exported.written("yolo")
    assert formats["coco"]["given"] == 3 * exported.written("coco", "bounding_box", "polygon", "segmentation")
    assert all(found["left"] > found["given"] / 2 for found in formats.values())


def test_no_box_at_the_border_is_refused(edges_export, by_albumentations):
    formats = by_albumentations(edges_export)
    assert formats["yolo"]["errors"] == formats["coco"]["errors"] == {}
    # Pascal VOC counts pixels from 1 to the last one: a picture of one pixel has no room for two.
    one_pixel = {f"edges_{number}" for number in range(PICTURES) if SIZES[number % len(SIZES)] == (1, 1)}
    assert set(formats["pascal_voc"]["errors"]) == one_pixel
    assert all(found["left"] > found["given"] / 2 for found in formats.values())
