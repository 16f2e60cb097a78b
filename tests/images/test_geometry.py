"""Plane geometry: corners, enclosing boxes, areas, clipping."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.images.geometry import clip_box, corners, enclosing_box, polygon_area
from pipeline.records import Box

coordinate = st.floats(-1e5, 1e5)
length = st.floats(1e-3, 1e5)


def test_corners_go_clockwise_from_the_top_left():
    assert corners(Box(10, 20, 30, 40)) == (10, 20, 40, 20, 40, 60, 10, 60)


def test_a_quarter_turn_is_clockwise_on_the_screen_about_the_centre():
    turned = corners(Box(0, 0, 4, 2, rotation=math.pi / 2))
    assert turned == pytest.approx((3, -1, 3, 3, 1, 3, 1, -1))


@given(x=coordinate, y=coordinate, width=length, height=length, rotation=st.floats(-10, 10))
def test_turning_keeps_the_centre_the_area_and_the_side_lengths(x, y, width, height, rotation):
    points = corners(Box(x, y, width, height, rotation))
    tolerance = 1e-9 * (abs(x) + abs(y) + width + height + 1)
    assert sum(points[0::2]) / 4 == pytest.approx(x + width / 2, abs=tolerance)
    assert sum(points[1::2]) / 4 == pytest.approx(y + height / 2, abs=tolerance)
    assert math.dist(points[0:2], points[2:4]) == pytest.approx(width, abs=2 * tolerance)
    assert math.dist(points[2:4], points[4:6]) == pytest.approx(height, abs=2 * tolerance)


def test_the_enclosing_box_is_tight():
    assert enclosing_box((3, 8, -1, 2, 5, 4)) == (-1, 2, 6, 6)
    assert enclosing_box((7, 9)) == (7, 9, 0, 0)


def test_the_area_of_known_shapes():
    assert polygon_area((0, 0, 4, 0, 4, 3, 0, 3)) == 12
    assert polygon_area((0, 0, 4, 0, 0, 3)) == 6
    assert polygon_area((0, 3, 4, 3, 4, 0, 0, 0)) == 12, "the direction does not matter"
    assert polygon_area((0, 0, 4, 0)) == 0


@given(x=coordinate, y=coordinate, width=length, height=length, rotation=st.floats(-4, 4))
def test_the_area_of_a_box_does_not_depend_on_where_it_is_or_how_it_is_turned(x, y, width, height, rotation):
    area = polygon_area(corners(Box(x, y, width, height, rotation)))
    assert area == pytest.approx(width * height, rel=1e-6, abs=1e-4)


def test_clipping_keeps_what_is_inside():
    assert clip_box(10, 10, 20, 20, 100, 50) == (10, 10, 20, 20)
    assert clip_box(-5, 40, 20, 20, 100, 50) == (0, 40, 15, 10)
    assert clip_box(-5, -5, 200, 200, 100, 50) == (0, 0, 100, 50)


@pytest.mark.parametrize("box", [(100, 0, 5, 5), (-5, 0, 5, 5), (0, 50, 5, 5), (0, -9, 5, 5), (0, 0, 0, 5)])
def test_clipping_leaves_nothing_of_a_box_outside_or_without_area(box):
    assert clip_box(*box, 100, 50) is None


@given(x=coordinate, y=coordinate, width=length, height=length)
def test_a_clipped_box_lies_inside_and_clipping_again_changes_nothing(x, y, width, height):
    clipped = clip_box(x, y, width, height, 640, 480)
    if clipped is None:
        assert x >= 640 or y >= 480 or x + width <= 0 or y + height <= 0
    else:
        left, top, clipped_width, clipped_height = clipped
        assert left >= 0
        assert top >= 0
        assert left + clipped_width <= 640 + 1e-9
        assert top + clipped_height <= 480 + 1e-9
        assert clip_box(*clipped, 640, 480) == pytest.approx(clipped)


def test_a_box_that_needs_no_cut_keeps_its_very_numbers():
    assert clip_box(0.1, 0.2, 0.7, 0.1, 1, 1) == (0.1, 0.2, 0.7, 0.1)
