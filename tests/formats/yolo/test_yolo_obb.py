"""YOLO, task obb: boxes by their four corners."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.testing.shapes import box, polygon
from pipeline.formats.yolo.format import Yolo
from pipeline.images.geometry import corners, polygon_area
from pipeline.records import Annotation, Box
from tests.formats.write_golden import golden
from tests.formats.yolo.cases import YoloCases, rows_and_losses

OBB = {"task": "obb"}
SQRT2 = 2**0.5


class TestYoloObb(YoloCases):
    format = Yolo(task="obb")


class TestYoloObbInAFolder(YoloCases):
    format = Yolo(task="obb", folder="obb", ndjson=True)

    def test_writes_the_golden_files(self):
        tree = {path: data for path, data in self.tree().items() if path != "obb/dataset.ndjson"}
        assert tree == golden("yolo_obb")


def obb(*annotations, **size):
    return rows_and_losses(*annotations, options=OBB, **size)


def in_pixels(row, width=100, height=50):
    return [number * side for number, side in zip(row[1:], (width, height) * 4, strict=True)]


def test_an_upright_box_is_its_corners_clockwise_from_the_top_left():
    rows, found = obb(box("b", "car", 10.0, 20.0, 30.0, 5.0))
    assert rows == [(0, 0.1, 0.4, 0.4, 0.4, 0.4, 0.5, 0.1, 0.5)]
    assert not found


def test_a_turned_box_keeps_its_corners():
    rows, found = obb(box("b", "car", 40.0, 20.0, 20.0, 10.0, rotation=math.pi / 4))
    long, short = 10 / SQRT2, 5 / SQRT2
    expected = (
        (50 - long + short, 25 - long - short),
        (50 + long + short, 25 + long - short),
        (50 + long - short, 25 + long + short),
        (50 - long - short, 25 - long + short),
    )
    assert in_pixels(rows[0]) == pytest.approx([number for corner in expected for number in corner], abs=1e-4)
    assert not found


def test_an_upright_box_over_the_edge_is_cut():
    rows, found = obb(box("b", "car", -10.0, 40.0, 30.0, 20.0))
    assert rows == [(0, 0.0, 0.8, 0.2, 0.8, 0.2, 1.0, 0.0, 1.0)]
    assert found == [("b", "lossy", "CLIPPED_TO_IMAGE")]


def test_a_box_turned_by_quarters_is_cut_as_an_upright_one():
    rows, found = obb(box("b", "car", -5.0, 35.0, 20.0, 30.0, rotation=math.pi / 2))
    assert polygon_area(in_pixels(rows[0])) == pytest.approx(20 * 10)
    assert sorted(in_pixels(rows[0])[0::2]) == pytest.approx([0, 0, 20, 20])
    assert found == [("b", "lossy", "CLIPPED_TO_IMAGE")]


def test_a_turned_box_over_the_edge_becomes_the_one_of_its_angle_around_what_is_inside():
    # A long box along the diagonal, of which the half beyond the left border is cut off: the other half stays as it is.
    rows, found = obb(box("b", "car", -20.0, 20.0, 40.0, 4.0, rotation=-math.pi / 4))
    numbers = in_pixels(rows[0])
    top_left, top_right, bottom_right, bottom_left = zip(numbers[0::2], numbers[1::2], strict=True)
    right = math.dist(top_right, bottom_right)
    assert right == pytest.approx(4, abs=1e-3)
    assert math.atan2(bottom_right[1] - bottom_left[1], bottom_right[0] - bottom_left[0]) == pytest.approx(
        -math.pi / 4, abs=1e-4
    )
    assert top_left[0] == 0
    assert found == [("b", "lossy", "CLIPPED_TO_IMAGE")]


def test_noise_at_the_edge_is_cut_but_not_reported():
    rows, found = obb(box("b", "car", -0.0005, 0.0, 20.0, 10.0, rotation=2 * math.pi))
    assert rows == [(0, 0.0, 0.0, 0.199995, 0.0, 0.199995, 0.2, 0.0, 0.2)]
    assert not found


@pytest.mark.parametrize("rotation", [0.0, 0.3])
def test_a_box_outside_is_reported(rotation):
    assert obb(box("b", "car", 120.0, 20.0, 10.0, 5.0, rotation=rotation)) == ([], [("b", "skipped", "OUTSIDE_IMAGE")])


def test_a_turned_box_whose_surrounding_rectangle_alone_is_in_the_image_is_outside():
    # Its lower right corner comes nearest, and its bounding box overlaps the image.
    assert obb(box("b", "car", -40.0, -5.0, 60.0, 2.0, rotation=-math.pi / 4))[1] == [("b", "skipped", "OUTSIDE_IMAGE")]


def test_an_upright_box_smaller_than_the_last_decimal_keeps_a_size():
    rows, found = obb(box("b", "car", 7999.9999, 20.0, 1e-9, 1e-9), width=8000, height=8000)
    assert rows == [(0, 0.999998, 0.0025, 1.0, 0.0025, 1.0, 0.002502, 0.999998, 0.002502)]
    assert not found


def test_a_turned_box_thinner_than_the_last_decimal_is_no_box():
    found = obb(box("b", "car", 10.0, 20.0, 40.0, 1e-9, rotation=0.5))[1]
    assert found == [("b", "skipped", "INVALID_BOUNDING_BOX")]


def test_a_turned_box_that_is_no_number_is_not_written():
    found = obb(box("b", "car", float("nan"), 20.0, 40.0, 10.0, rotation=0.5))[1]
    assert found == [("b", "skipped", "INVALID_BOUNDING_BOX")]


def test_polygons_are_not_boxes():
    assert obb(polygon("p", "car", 1, 1, 20, 1, 20, 20, 1, 20))[1] == [("p", "skipped", "UNSUPPORTED_ANNOTATION_TYPE")]


def test_attributes_are_reported():
    assert obb(box("b", "car", 1.0, 2.0, 3.0, 4.0, color="red"))[1] == [("b", "lossy", "CUSTOM_ATTRIBUTES_DROPPED")]


_NUMBERS = st.floats(-1e4, 1e4)
_SIZES = st.floats(1e-9, 1e4)


@settings(deadline=None)
@given(st.lists(st.tuples(_NUMBERS, _NUMBERS, _SIZES, _SIZES, st.floats(-7, 7))), st.integers(1, 9000))
def test_whatever_the_box_the_row_is_valid_or_the_loss_is_reported(boxes, width):
    annotations = [
        Annotation(str(number), "bounding_box", "car", Box(*numbers)) for number, numbers in enumerate(boxes)
    ]
    rows, found = obb(*annotations, width=width, height=7)
    assert len(rows) + sum(outcome == "skipped" for _, outcome, _ in found) == len(boxes)


@settings(deadline=None)
@given(st.floats(30, 70), st.floats(30, 70), st.floats(0.01, 20), st.floats(0.01, 20), st.floats(-7, 7))
def test_a_box_inside_the_image_is_what_was_drawn(x, y, width, height, rotation):
    drawn = Box(x - width / 2, y - height / 2, width, height, rotation)
    rows, found = obb(Annotation("b", "bounding_box", "car", drawn), width=100, height=100)
    assert in_pixels(rows[0], 100, 100) == pytest.approx(corners(drawn), abs=1e-4)
    assert not found
