"""What COCO says of single annotations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pipeline.formats.coco.format import Coco
from pipeline.formats.testing import samples
from pipeline.formats.testing.shapes import box, mask, polygon
from pipeline.records import Annotation, Box, Mask
from tests.formats.coco.cases import rendered, results_of
from tests.formats.coco.grammar import annotations_of, check_annotation

# pycocotools 2.0.11 decodes through an old form of numpy's array protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_a_box_inside_the_image_keeps_its_numbers():
    (written,), found = rendered(box("b", "car", 0.1, 0.2, 0.30000000000000004, 1 / 3))
    assert written["bbox"] == [0.1, 0.2, 0.30000000000000004, 1 / 3]
    assert written["area"] == 0.30000000000000004 * (1 / 3)
    assert (written["segmentation"], written["iscrowd"]) == ([], 0)
    assert "attributes" not in written
    assert not found


def test_a_rectangle_goes_round_the_box_that_was_cut():
    (written,), found = rendered(box("b", "car", -5.0, 40.0, 20.0, 20.0), format_=Coco("rectangle"))
    assert written["bbox"] == [0.0, 40.0, 15.0, 10.0]
    assert written["segmentation"] == [[0.0, 40.0, 15.0, 40.0, 15.0, 50.0, 0.0, 50.0]]
    assert written["area"] == 150.0
    assert found == [("b", "lossy", "CLIPPED_TO_IMAGE")]


def test_a_turned_box_is_a_polygon_of_its_true_area():
    (written,), found = rendered(box("b", "car", 40.0, 20.0, 20.0, 10.0, rotation=math.pi / 6))
    assert written["area"] == 200.0
    (points,) = written["segmentation"]
    sides = [math.dist(points[i : i + 2], (points + points[:2])[i + 2 : i + 4]) for i in (0, 2, 4, 6)]
    assert sides == pytest.approx([20, 10, 20, 10])
    x, y, width, height = written["bbox"]
    assert (x + width / 2, y + height / 2) == pytest.approx((50, 25))
    assert (x, y, x + width, y + height) == (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
    assert found == [("b", "lossy", "ROTATION_ENCLOSED")]


def test_a_half_turn_gives_the_box_back():
    (written,), found = rendered(box("b", "car", 40.0, 20.0, 20.0, 10.0, rotation=-math.pi))
    assert written["bbox"] == [40.0, 20.0, 20.0, 10.0]
    assert written["segmentation"] == []
    assert not found


def test_a_polygon_over_the_edge_is_cut():
    (written,), found = rendered(polygon("p", "car", -10, 10, 20, 10, 20, 30))
    assert written["segmentation"] == [[0, pytest.approx(50 / 3), 0, 10, 20, 10, 20, 30]]
    assert written["bbox"] == [0, 10, 20, 20]
    assert written["area"] == pytest.approx(300 - 10 * (20 / 3) / 2)
    assert found == [("p", "lossy", "CLIPPED_TO_IMAGE")]


@pytest.mark.parametrize(("x", "y"), [(-10, 20), (100, 20), (20, -10), (20, 50)])
def test_a_polygon_that_only_touches_the_image_lies_outside(x, y):
    written, found = rendered(polygon("p", "car", x, y, x + 10, y, x + 10, y + 10, x, y + 10))
    assert not written
    assert found == [("p", "skipped", "OUTSIDE_IMAGE")]


@pytest.mark.parametrize(
    "points",
    [(-30.5, -10, 5, -10, -30.5, 5), (-9, -9, 109, -9, 109, 59, 101, 59, 101, -1, -9, -1)],
    ids=["across the corner", "around two sides"],
)
def test_a_polygon_lies_outside_when_only_the_box_around_it_is_in_the_image(points):
    written, found = rendered(polygon("p", "car", *points))
    assert not written
    assert found == [("p", "skipped", "OUTSIDE_IMAGE")]


def test_a_polygon_around_the_whole_image_is_inside():
    (written,), found = rendered(polygon("p", "car", -9, -9, 109, -9, 109, 59, -9, 59))
    assert written["bbox"] == [0, 0, 100, 50]
    assert found == [("p", "lossy", "CLIPPED_TO_IMAGE")]


@settings(deadline=None)
@given(st.lists(st.integers(-200, 400).map(lambda number: number / 4), min_size=6, max_size=6))
def test_a_triangle_with_a_pixel_in_the_image_is_written(points):
    written, found = rendered(polygon("p", "car", *points))
    painted = coco_mask.area(coco_mask.merge(coco_mask.frPyObjects([points], 50, 100)))
    # pycocotools paints a pixel for some triangles without an area or with less than one beside the border.
    assert written or painted <= 50 or found == [("p", "skipped", "INVALID_POLYGON")]
    for annotation in written:
        check_annotation(annotation, {"width": 100, "height": 50}, 2)


def test_a_turned_box_lies_outside_when_only_the_box_around_it_is_in_the_image():
    written, found = rendered(box("b", "car", -30.0, -18.0, 40.0, 10.0, rotation=-math.pi / 4))
    assert not written
    assert found == [("b", "skipped", "OUTSIDE_IMAGE")]


def test_masks_are_left_out_when_they_are_excluded():
    written, found = rendered(Annotation("m", "segmentation", "car", mask(np.ones((50, 100)))), masks="exclude")
    assert not written
    assert found == [("m", "skipped", "SEGMENTATION_EXCLUDED")]


@pytest.mark.parametrize("runs", [b"", np.array([[4999, 2]], "<i8").tobytes()])
def test_a_mask_that_is_empty_or_leaves_the_image_does_not_lose_its_neighbours(runs):
    written, found = rendered(Annotation("m", "segmentation", "car", Mask(runs)), box("b", "car", 1.0, 2.0, 3.0, 4.0))
    assert [annotation["id"] for annotation in written] == [samples()[1].annotation_id + 1]
    assert found == [("m", "skipped", "INVALID_MASK_ENCODING")]


def test_a_mask_of_a_dropped_class_is_dropped_for_its_class():
    written, found = rendered(Annotation("m", "segmentation", "tree", mask(np.ones((50, 100)))), drop=("tree",))
    assert not written
    assert found == [("m", "skipped", "CLASS_DROPPED")]


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", "true", "True"])
@pytest.mark.parametrize("name", ["iscrowd", "crowd"])
def test_a_crowd_is_what_the_annotator_marked_as_one(name, value):
    (written,), _ = rendered(box("b", "car", 1.0, 2.0, 3.0, 4.0, **{name: value}))
    assert written["iscrowd"] == 1
    assert written["attributes"] == {name: value}


@pytest.mark.parametrize("value", [False, 0, 2, "no", "", [1], {"a": 1}])
def test_anything_else_is_no_crowd(value):
    (written,), _ = rendered(box("b", "car", 1.0, 2.0, 3.0, 4.0, crowd=value))
    assert written["iscrowd"] == 0


def test_attributes_keep_their_values_but_not_their_nulls():
    (written,), found = rendered(box("b", "car", 1.0, 2.0, 3.0, 4.0, a=None, b={"c": [None, 1, {"d": None}]}, e=0))
    assert written["attributes"] == {"b": {"c": [1, {}]}, "e": 0}
    assert not found


def test_attributes_of_nothing_but_nulls_are_not_written():
    (written,), _ = rendered(box("b", "car", 1.0, 2.0, 3.0, 4.0, a=None))
    assert "attributes" not in written


def test_a_shape_that_is_no_number_is_not_written():
    nan = math.nan
    written, found = rendered(box("b", "car", nan, 0.0, 1.0, 1.0), polygon("p", "car", 0, 0, 9, nan, 9, 9))
    assert not written
    assert found == [("b", "skipped", "OUTSIDE_IMAGE"), ("p", "skipped", "INVALID_POLYGON")]


_NUMBERS = st.floats(-1e4, 1e4)
_SIZES = st.floats(1e-9, 1e4)


@settings(deadline=None)
@given(st.lists(st.tuples(_NUMBERS, _NUMBERS, _SIZES, _SIZES, st.floats(-7, 7))), st.integers(1, 9000))
def test_whatever_the_box_the_item_is_valid_or_the_loss_is_reported(boxes, width):
    shapes = [Annotation(str(number), "bounding_box", "car", Box(*numbers)) for number, numbers in enumerate(boxes)]
    written, found = rendered(*shapes, width=width, height=7)
    assert len(written) + sum(outcome == "skipped" for _, outcome, _ in found) == len(boxes)
    for annotation in written:
        check_annotation(annotation, {"width": width, "height": 7}, 2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.floats(0.01, 1))
def test_any_mask_is_read_back_exactly(width, height, seed, density):
    chance = np.random.default_rng(seed)
    bitmap = (chance.random((height, width)) < density).astype(np.uint8)
    bitmap[chance.integers(height), chance.integers(width)] = 1
    (written,), found = rendered(Annotation("m", "segmentation", "car", mask(bitmap)), width=width, height=height)
    assert not found
    assert (coco_mask.decode(written["segmentation"]) == bitmap).all()
    assert written["area"] == bitmap.sum()
    assert written["bbox"] == coco_mask.toBbox(written["segmentation"]).tolist()


def test_stuff_is_never_a_crowd():
    bitmap = np.ones((50, 100))
    annotation = Annotation("m", "segmentation", "car", mask(bitmap), {"iscrowd": True})
    results = results_of(annotation, masks="semantic")
    (written,) = annotations_of(results, "stuff")
    assert (written["iscrowd"], written["attributes"]) == (0, {"iscrowd": True})
