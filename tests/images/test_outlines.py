"""Outlines: masks become rings and rings masks, and no pixel is lost on the way."""

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images import outlines as tracing
from pipeline.images import rings as filling
from pipeline.images.masks import MaskError, runs_from_indices, runs_from_pairs
from pipeline.images.outlines import Outline, trace_outlines
from pipeline.images.rings import bridge_holes, fill_rings, join_outlines, simplify_ring

sizes = st.integers(1, 40)


@st.composite
def noise(draw):
    width, height = draw(sizes), draw(sizes)
    count = (width * height + 7) // 8
    bits = np.unpackbits(np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8))
    return bits[: width * height].reshape(height, width)


@st.composite
def nested(draw):
    """Rectangles over each other, each turning what it covers: holes, islands in them, corners that touch."""
    width, height = draw(sizes), draw(sizes)
    picture = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(1, 8))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
        picture[top:bottom, left:right] ^= 1
    return picture


pictures = noise() | nested()


def runs_of(picture):
    return runs_from_indices(np.flatnonzero(picture))


def parts_of(picture):
    height, width = picture.shape
    return trace_outlines(runs_of(picture), width, height)


def drawn(text):
    return np.array([[pixel == "#" for pixel in row] for row in text.split()], dtype=np.uint8)


def rings_of(parts):
    return [ring for part in parts for ring in (part.ring, *part.holes)]


def edges_of(ring):
    points = list(zip(ring[0::2], ring[1::2], strict=True))
    return list(pairwise([*points, points[0]]))


def meets_a_centre(start, end):
    """Whether the line between two points of the grid goes through the centre of a pixel; in whole halves of pixels."""
    across, down = int(end[0] - start[0]), int(end[1] - start[1])
    shared = math.gcd(across, down)
    return bool(across // shared % 2 and down // shared % 2)


def windings(rings, width, height):
    """How often the rings pass each pixel's centre on its left, and with which sign: (crossings, winding number)."""
    crossings, winding = np.zeros((2, height, width), dtype=int)
    across = np.arange(width) + 0.5
    for (x, y), (to_x, to_y) in (edge for ring in rings for edge in edges_of(ring)):
        for row in range(height):
            if (y <= row + 0.5) != (to_y <= row + 0.5):
                # crossing <= centre, without a division: the numbers here are exact
                passed = (row + 0.5 - y) * (to_x - x) * np.sign(to_y - y) <= (across - x) * abs(to_y - y)
                crossings[row] += passed
                winding[row] += passed * int(np.sign(to_y - y))
    return crossings, winding


def flooded(picture, *, diagonally):
    """The sizes of the connected parts, by their first pixel."""
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)] + [(1, 1), (1, -1), (-1, 1), (-1, -1)] * diagonally
    left = {tuple(pixel) for pixel in np.argwhere(picture).tolist()}
    found = []
    for first in sorted(left):
        waiting, before = [first] if first in left else [], len(left)
        left.discard(first)
        while waiting:
            y, x = waiting.pop()
            beside = {(y + down, x + across) for down, across in steps} & left
            left -= beside
            waiting += beside
        if len(left) < before:
            found.append(before - len(left))
    return found


@settings(max_examples=150)
@given(pictures)
def test_the_rings_filled_even_odd_or_non_zero_are_the_mask(picture):
    height, width = picture.shape
    crossings, winding = windings(rings_of(parts_of(picture)), width, height)
    assert (crossings % 2 == picture).all()
    assert (abs(winding) == picture).all()


@given(pictures)
def test_parts_are_those_a_flood_finds_and_holes_too(picture):
    parts = parts_of(picture)
    assert [part.area for part in parts] == flooded(picture, diagonally=False)
    outside = len(flooded(np.pad(1 - picture, 1, constant_values=1), diagonally=True))
    assert sum(len(part.holes) for part in parts) == outside - 1


@given(pictures)
def test_each_part_alone_is_its_own_pixels(picture):
    height, width = picture.shape
    together = np.zeros((height, width), dtype=int)
    for part in parts_of(picture):
        own = fill_rings((part.ring, *part.holes), width, height)
        assert own.sum() == part.area
        together += own
    assert (together == picture).all()


@given(pictures)
def test_rings_have_only_corners_and_begin_at_the_topmost(picture):
    for part in parts_of(picture):
        for ring in (part.ring, *part.holes):
            edges = edges_of(ring)
            level = [start[1] == end[1] for start, end in edges]
            assert all(one != other for one, other in pairwise([*level, level[0]]))
            assert all(start != end for start, end in edges)
            points = [start for start, _ in edges]
            assert points[0] == min(points, key=lambda point: (point[1], point[0]))
            turned = sum(x * to_y - to_x * y for (x, y), (to_x, to_y) in edges)
            assert turned > 0 if ring is part.ring else turned < 0


@settings(max_examples=150)
@given(pictures.filter(np.any))
def test_one_ring_for_all_parts_is_the_mask(picture):
    height, width = picture.shape
    parts = parts_of(picture)
    ring = join_outlines(parts)
    crossings, winding = windings([ring], width, height)
    assert (crossings % 2 == picture).all()
    assert (abs(winding) == picture).all()
    assert ring[:2] == parts[0].ring[:2]
    assert all(start != end for start, end in edges_of(ring))
    rings = rings_of(parts)
    assert len(ring) <= sum(map(len, rings)) + 8 * (len(rings) - 1)
    corners = {point for own in rings for point in zip(own[0::2], own[1::2], strict=True)}
    assert set(zip(ring[0::2], ring[1::2], strict=True)) >= corners
    assert not any(meets_a_centre(start, end) for start, end in edges_of(ring))


@given(pictures)
def test_one_ring_for_a_part_is_the_part_without_its_holes(picture):
    height, width = picture.shape
    together = np.zeros((height, width), dtype=int)
    for part in parts_of(picture):
        crossings, winding = windings([bridge_holes(part)], width, height)
        assert (crossings % 2 == abs(winding)).all()
        together += abs(winding)
    assert (together == picture).all()


def test_one_pixel_is_a_square():
    assert trace_outlines(runs_from_pairs(np.array([[7, 1]])), 5, 3) == [Outline((2, 1, 3, 1, 3, 2, 2, 2), (), 1)]


def test_the_whole_image_and_none_of_it():
    assert trace_outlines(runs_from_pairs(np.array([[0, 15]])), 5, 3) == [Outline((0, 0, 5, 0, 5, 3, 0, 3), (), 15)]
    assert trace_outlines(b"", 5, 3) == []


def test_runs_of_one_row_do_not_continue_in_the_next():
    wrapped = trace_outlines(runs_from_pairs(np.array([[4, 2]])), 5, 3)
    assert wrapped == [Outline((4, 0, 5, 0, 5, 1, 4, 1), (), 1), Outline((0, 1, 1, 1, 1, 2, 0, 2), (), 1)]


def test_touching_runs_that_were_never_merged_are_the_same_mask():
    apart = np.array([[0, 3], [3, 4], [7, 5]], dtype="<i8").tobytes()
    assert trace_outlines(apart, 4, 3) == [Outline((0, 0, 4, 0, 4, 3, 0, 3), (), 12)]


def test_a_hole_turns_the_other_way():
    assert parts_of(drawn("### #.# ###")) == [Outline((0, 0, 3, 0, 3, 3, 0, 3), ((1, 1, 1, 2, 2, 2, 2, 1),), 8)]


def test_an_island_in_a_hole_is_a_part_and_may_have_a_hole_of_its_own():
    target = np.zeros((9, 9), np.uint8)
    for inset in range(4):
        target[inset : 9 - inset, inset : 9 - inset] ^= 1
    target[4, 4] = 1
    areas = [(part.area, len(part.holes), part.ring[0]) for part in parts_of(target)]
    assert areas == [(32, 1, 0), (16, 1, 2), (1, 0, 4)]


def test_a_hole_behind_another_hole_of_the_same_part_belongs_to_it():
    (part,) = parts_of(drawn("####### #.#.#.# #######"))
    assert (part.area, [hole[0] for hole in part.holes]) == (18, [1, 3, 5])


def test_pixels_that_touch_diagonally_are_two_parts():
    assert [part.area for part in parts_of(drawn("#. .#"))] == [1, 1]
    assert [part.area for part in parts_of(drawn(".# #."))] == [1, 1]


def test_holes_that_touch_diagonally_are_one():
    (part,) = parts_of(drawn("#### #.## ##.# ####"))
    assert part.holes == ((1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 2, 2, 2, 2, 1),)


def test_a_gap_that_touches_the_outside_diagonally_is_no_hole():
    (part,) = parts_of(drawn(".## #.# ###"))
    assert part == Outline((1, 0, 3, 0, 3, 3, 0, 3, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1), (), 7)


def test_a_bridge_goes_to_the_hole_and_back_around_the_centres_of_pixels():
    (part,) = parts_of(drawn("##### ##### ###.# #####"))
    assert bridge_holes(part) == (0, 0, 5, 0, 5, 4, 5, 3, 4, 3, 4, 2, 3, 2, 3, 3, 4, 3, 5, 3, 5, 4, 0, 4)


def test_a_bridge_is_straight_where_it_meets_no_centre():
    (part,) = parts_of(drawn("###### ###### ###.## ######"))
    assert bridge_holes(part) == (0, 0, 6, 0, 6, 4, 4, 3, 4, 2, 3, 2, 3, 3, 4, 3, 6, 4, 0, 4)


def test_parts_are_joined_by_short_bridges():
    ring = join_outlines(parts_of(drawn("#....#...#")))
    across = sorted(abs(x - to_x) for (x, y), (to_x, to_y) in edges_of(ring) if y == to_y)
    assert across == [1] * 6 + [3, 3, 4, 4]


def test_parts_that_touch_need_no_bridge():
    assert join_outlines(parts_of(drawn("#. .#"))) == (0, 0, 1, 0, 1, 1, 2, 1, 2, 2, 1, 2, 1, 1, 0, 1)


def test_a_part_without_holes_is_its_own_ring():
    (part,) = parts_of(drawn("##. ###"))
    assert bridge_holes(part) == join_outlines([part]) == part.ring


def test_bridges_are_hardly_longer_than_they_need_be():
    """The shortest bridges are known: a grid of squares two pixels apart has neighbours two pixels away."""
    picture = np.zeros((40, 40), np.uint8)
    for y in range(0, 40, 5):
        for x in range(0, 40, 5):
            picture[y : y + 3, x : x + 3] = 1
    ring = join_outlines(parts_of(picture))
    length = sum(math.dist(start, end) for start, end in edges_of(ring))
    assert length == 64 * 12 + 63 * 2 * 2


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 4), (1 << 15, 1 << 15)])
def test_what_is_no_mask_of_the_image_is_refused(width, height):
    with pytest.raises(MaskError):
        trace_outlines(runs_from_pairs(np.array([[0, 2], [20, 5]])), width, height)


def test_a_mask_with_too_many_corners_is_refused(monkeypatch):
    corners = runs_of(drawn("#.#.# .#.#. #.#.#"))
    monkeypatch.setattr(tracing, "MAX_CORNERS", 32)
    assert len(trace_outlines(corners, 5, 3)) == 8
    monkeypatch.setattr(tracing, "MAX_CORNERS", 31)
    with pytest.raises(MaskError, match="32 corners"):
        trace_outlines(corners, 5, 3)


def test_noise_and_absurd_images_are_refused_before_they_take_memory():
    checkerboard = np.flatnonzero(np.indices((2160, 3840)).sum(axis=0) % 2)
    noisy = runs_from_pairs(np.stack((checkerboard, np.ones_like(checkerboard)), axis=1))
    tall = runs_from_pairs(np.array([[0, 1 << 28]]))
    tracemalloc.start()
    try:
        with pytest.raises(MaskError, match="4147200 pieces"):
            trace_outlines(noisy, 3840, 2160)
        with pytest.raises(MaskError, match="268435456 pieces"):
            trace_outlines(tall, 1, 1 << 28)
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


@given(st.lists(st.integers(-40, 200), min_size=6, max_size=40).filter(lambda points: len(points) % 2 == 0))
def test_a_tolerance_of_nothing_changes_nothing(points):
    assert simplify_ring(points, 0.0) == tuple(points)


def test_points_on_a_line_go_first():
    assert simplify_ring((0, 0, 2, 0, 4, 0, 4, 3, 4, 6, 0, 6), 0.01) == (0, 0, 4, 0, 4, 6, 0, 6)


def test_a_staircase_becomes_a_slope():
    steps = [value for step in range(20) for value in (step, step, step + 1, step)]
    assert simplify_ring((*steps, 20, 20, 0, 20), 1.0) == (0, 0, 20, 20, 0, 20)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=60),
    st.floats(0.1, 100, allow_nan=False),
)
def test_no_vertex_is_further_from_the_simplified_ring_than_the_tolerance(points, tolerance):
    ring = tuple(float(value) for point in points for value in point)
    left = simplify_ring(ring, tolerance)
    assert len(left) >= 6
    kept = iter(zip(ring[0::2], ring[1::2], strict=True))
    assert all(vertex in kept for vertex in zip(left[0::2], left[1::2], strict=True)), "the order stays"
    assert left[:2] == ring[:2]
    for x, y in points:
        assert min(distance_to(edge, x, y) for edge in edges_of(left)) <= tolerance + 1e-9


def distance_to(edge, x, y):
    (from_x, from_y), (to_x, to_y) = edge
    squared = (to_x - from_x) ** 2 + (to_y - from_y) ** 2
    along = ((x - from_x) * (to_x - from_x) + (y - from_y) * (to_y - from_y)) / squared if squared else 0.0
    along = min(max(along, 0.0), 1.0)
    return math.hypot(x - from_x - along * (to_x - from_x), y - from_y - along * (to_y - from_y))


@pytest.mark.parametrize("ring", [(5, 5) * 4, (0, 0, 9, 0, 0, 0, 9, 0), (0, 0, 1, 0, 1, 1, 0, 1)])
def test_three_points_always_stay(ring):
    assert len(simplify_ring(ring, 1000.0)) == 6


quarters = st.integers(-60, 220).map(lambda value: value / 4)
polygons = st.lists(quarters, min_size=6, max_size=24).filter(lambda points: len(points) % 2 == 0)


@settings(max_examples=200)
@given(st.lists(polygons, max_size=3), sizes, sizes)
def test_filling_takes_the_pixels_whose_centre_is_inside(rings, width, height):
    crossings, _ = windings(rings, width, height)
    filled = fill_rings(rings, width, height)
    assert filled.dtype == np.uint8
    assert filled.tolist() == (crossings % 2).tolist()


def test_neighbours_share_no_pixel_and_leave_none():
    left, right = (0.5, 0.5, 3.5, 0.5, 1.5, 4.5, 0.5, 4.5), (3.5, 0.5, 5.5, 0.5, 5.5, 4.5, 1.5, 4.5)
    both = fill_rings([left], 6, 5) + fill_rings([right], 6, 5)
    assert both.tolist() == fill_rings([(0.5, 0.5, 5.5, 0.5, 5.5, 4.5, 0.5, 4.5)], 6, 5).tolist()
    assert both.max() == 1


def test_filling_in_portions_gives_the_same(monkeypatch):
    star = (20, 0, 31, 39, 0, 13, 39, 12, 8, 38)
    whole = fill_rings([star], 40, 40)
    monkeypatch.setattr(filling, "AT_ONCE", 7)
    assert fill_rings([star], 40, 40).tolist() == whole.tolist()
    assert whole.sum() > 100


def test_filling_takes_no_more_memory_for_more_edges():
    zigzag = [value for tooth in range(3000) for value in (tooth % 7, 0.0, tooth % 11, 1000.0)]
    tracemalloc.start()
    try:
        fill_rings([zigzag], 64, 1000)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_points_far_outside_are_no_trouble():
    assert fill_rings([(-1e308, -1e308, 1e308, -1e308, 1e308, 1e308, -1e308, 1e308)], 4, 3).all()
    assert not fill_rings([(50, 0, 60, 0, 60, 9)], 4, 3).any()
    assert not fill_rings([], 4, 3).any()


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, -1), (1 << 15, 1 << 15)])
def test_filling_an_absurd_image_is_refused(width, height):
    with pytest.raises(MaskError):
        fill_rings([(0, 0, 1, 0, 1, 1)], width, height)
