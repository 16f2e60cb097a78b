"""YOLO, task segment: polygons, masks and, if wanted, boxes as outlines."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.testing.annotations import MASKS
from pipeline.formats.testing.shapes import box, mask, polygon, rectangles
from pipeline.formats.yolo.format import Yolo
from pipeline.images.geometry import corners, polygon_area
from pipeline.images.outlines import MAX_CORNERS
from pipeline.model.catalog import ShardSummary, build_catalog
from pipeline.records import Annotation, Box, Mask, Polygon
from tests.formats.write_golden import golden
from tests.formats.yolo.cases import CATALOG, YoloCases, rows_and_losses


class TestYoloSegment(YoloCases):
    format = Yolo(task="segment")


class TestYoloSegmentWithBoxes(YoloCases):
    format = Yolo(task="segment", boxes="rectangle", outlines="largest", simplify=1.0)


class TestYoloSegmentOfPlainMasks(YoloCases):
    format = Yolo(task="segment", outlines="skip")


class TestYoloSegmentOfParts(YoloCases):
    format = Yolo(task="segment", outlines="split")

    def annotations_in(self, sample, rows):
        # The parts of a mask: the ring has four of its own (two of them corners of the image), the other has two.
        parts = {"street": 4, "masks": 2}
        return len(rows) - parts.get(sample.stem, 1) + 1


class TestYoloSegmentInAFolder(YoloCases):
    format = Yolo(task="segment", folder="segment")

    def test_writes_the_golden_files(self):
        assert self.tree() == golden("yolo_segment")


def segment(*annotations, catalog=CATALOG, width=100, height=50, **options):
    chosen = {"task": "segment", **options}
    return rows_and_losses(*annotations, catalog=catalog, options=chosen, width=width, height=height)


def masked(bitmap, **options):
    height, width = bitmap.shape
    return segment(Annotation("m", "segmentation", "car", mask(bitmap)), width=width, height=height, **options)


def painted(rows, width, height):
    """The pixels whose centres are in any of the rows, each filled even-odd."""
    canvas = np.zeros((height, width), dtype=np.uint8)
    down, across = np.mgrid[0:height, 0:width] + 0.5
    for _, *numbers in rows:
        xs, ys = np.array(numbers[0::2]) * width, np.array(numbers[1::2]) * height
        odd = np.zeros((height, width), dtype=bool)
        for ax, ay, bx, by in zip(xs, ys, np.roll(xs, 1), np.roll(ys, 1), strict=True):
            if ay != by:
                odd ^= ((ay > down) != (by > down)) & (across < (bx - ax) * (down - ay) / (by - ay) + ax)
        canvas |= odd
    return canvas


def test_a_polygon_is_normalised_by_the_size_of_the_image():
    rows, found = segment(polygon("p", "car", 10, 10, 50, 10, 50, 45))
    assert rows == [(0, 0.1, 0.2, 0.5, 0.2, 0.5, 0.9)]
    assert not found


def test_a_polygon_over_the_edge_is_cut_and_reported():
    rows, found = segment(polygon("p", "car", -10, 10, 20, 10, 20, 30, -10, 30))
    assert polygon_area(rows[0][1:]) == pytest.approx(0.2 * 0.4)
    assert min(rows[0][1::2]) == 0
    assert found == [("p", "lossy", "CLIPPED_TO_IMAGE")]


def test_a_polygon_that_a_cut_breaks_in_two_stays_one_row_of_the_same_area():
    # A U whose bottom is below the image: its two legs remain.
    rows, found = segment(polygon("p", "car", 10, 30, 20, 30, 20, 55, 40, 55, 40, 30, 50, 30, 50, 60, 10, 60))
    assert len(rows) == 1
    assert polygon_area(rows[0][1:]) == pytest.approx(2 * 0.1 * 0.4)
    assert painted(rows, 100, 50).sum() == 2 * 10 * 20
    assert found == [("p", "lossy", "CLIPPED_TO_IMAGE")]


def test_noise_at_the_edge_is_cut_but_not_reported():
    rows, found = segment(polygon("p", "car", -0.0009, 0, 50, -1e-9, 100.0005, 50.0009))
    assert rows == [(0, 0.0, 0.0, 0.5, 0.0, 1.0, 1.0)]
    assert not found


def test_there_is_no_negative_zero():
    drawn = Annotation("p", "polygon", "car", Polygon((-0.0, 0.0, 50.0, -0.0, 50.0, 25.0)))
    assert segment(drawn)[0] == [(0, 0.0, 0.0, 0.5, 0.0, 0.5, 0.5)]


@pytest.mark.parametrize(
    "points",
    [
        (110, 10, 130, 10, 120, 30),
        (100, 10, 110, 10, 110, 20),
        (-30, -10, 5, -10, -30, 5),
        (99.9995, 10, 110, 10, 110, 20, 99.9995, 20),
    ],
    ids=["beside", "touching", "only its bounding box overlaps", "a sliver of half a thousandth pixel"],
)
def test_a_polygon_outside_is_reported(points):
    assert segment(polygon("p", "car", *points)) == ([], [("p", "skipped", "OUTSIDE_IMAGE")])


@pytest.mark.parametrize(
    "points",
    [
        (10, 10, 20, 20, 30, 30),
        (10, 10, 10.00001, 10, 10, 10.00001),
        (math.nan, 10, 20, 20, 30, 10),
        (10, 10, 20, math.inf, 30, 10),
    ],
    ids=["flat", "flat with six decimals", "no number", "no finite number"],
)
def test_a_polygon_without_an_area_is_reported(points):
    assert segment(polygon("p", "car", *points)) == ([], [("p", "skipped", "INVALID_POLYGON")])


def test_a_small_polygon_that_has_an_area_is_kept():
    rows, found = segment(polygon("p", "car", 10, 10, 10.001, 10, 10, 10.001))
    assert len(rows) == 1
    assert not found


@pytest.mark.parametrize("annotation", MASKS, ids=[annotation.id for annotation in MASKS])
def test_a_bridged_mask_paints_exactly_its_pixels(annotation):
    catalog = build_catalog(ShardSummary(labels={annotation.label: 1}), name="x")
    rows, found = segment(annotation, catalog=catalog, width=60, height=40)
    assert (painted(rows, 60, 40) == _bitmap(annotation.shape, 60, 40)).all()
    is_lossy = {"holed": "MASK_BRIDGED", "parted": "MASK_BRIDGED", "covered": "CUSTOM_ATTRIBUTES_DROPPED"}
    assert [reason for _, _, reason in found] == [reason for name, reason in is_lossy.items() if name == annotation.id]


def _bitmap(shape, width, height):
    flat = np.zeros(width * height, dtype=np.uint8)
    for start, length in np.frombuffer(shape.runs, "<i8").reshape(-1, 2).tolist():
        flat[start : start + length] = 1
    return flat.reshape(height, width)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_any_mask_paints_exactly_its_pixels_whether_bridged_or_split_without_holes(width, height, data):
    bits = data.draw(st.lists(st.booleans(), min_size=width * height, max_size=width * height).filter(any))
    bitmap = np.array(bits, dtype=np.uint8).reshape(height, width)
    assert (painted(masked(bitmap)[0], width, height) == bitmap).all()
    rows, found = masked(bitmap, outlines="split")
    if "MASK_HOLE_DROPPED" not in {reason for _, _, reason in found}:
        assert (painted(rows, width, height) == bitmap).all()
    assert ("m", "lossy", "MASK_SPLIT") in found or len(rows) == 1


def test_a_bridge_over_the_corners_of_pixels_paints_no_centre():
    """A straight bridge met centres, which readers computed differently on the way there and on the way back."""
    drawn = ("......###", ".#......#", "..#....#.")
    bitmap = np.array([[mark == "#" for mark in line] for line in drawn], dtype=np.uint8)
    assert (painted(masked(bitmap)[0], 9, 3) == bitmap).all()


TWO_PARTS = rectangles((2, 2, 22, 22, 1), (8, 8, 14, 14, 0), (30, 10, 35, 15, 1))
HOLED = rectangles((2, 2, 22, 22, 1), (8, 8, 14, 14, 0))
PLAIN = rectangles((2, 2, 22, 22, 1))


@pytest.mark.parametrize(
    ("outlines", "bitmap", "rows", "outcome", "reasons"),
    [
        ("bridge", PLAIN, 1, "", []),
        ("bridge", HOLED, 1, "lossy", ["MASK_BRIDGED"]),
        ("bridge", TWO_PARTS, 1, "lossy", ["MASK_BRIDGED"]),
        ("largest", PLAIN, 1, "", []),
        ("largest", HOLED, 1, "lossy", ["MASK_HOLE_DROPPED"]),
        ("largest", TWO_PARTS, 1, "lossy", ["MASK_PARTS_DROPPED", "MASK_HOLE_DROPPED"]),
        ("split", PLAIN, 1, "", []),
        ("split", HOLED, 1, "lossy", ["MASK_HOLE_DROPPED"]),
        ("split", TWO_PARTS, 2, "lossy", ["MASK_SPLIT", "MASK_HOLE_DROPPED"]),
        ("skip", PLAIN, 1, "", []),
        ("skip", HOLED, 0, "skipped", ["MASK_CONTOUR_UNREPRESENTABLE"]),
        ("skip", TWO_PARTS, 0, "skipped", ["MASK_CONTOUR_UNREPRESENTABLE"]),
    ],
)
def test_what_a_mask_becomes(outlines, bitmap, rows, outcome, reasons):
    written, found = masked(bitmap, outlines=outlines)
    assert len(written) == rows
    assert found == [("m", outcome, reason) for reason in reasons]


def test_the_largest_part_is_the_one_of_most_pixels_and_has_its_hole_filled():
    rows, _ = masked(TWO_PARTS, outlines="largest")
    assert (painted(rows, 60, 40) == PLAIN).all()


def test_a_hole_in_a_part_that_is_dropped_is_not_reported():
    ring_and_more = rectangles((2, 2, 8, 8, 1), (4, 4, 6, 6, 0), (10, 2, 30, 22, 1))
    assert masked(ring_and_more, outlines="largest")[1] == [("m", "lossy", "MASK_PARTS_DROPPED")]


def test_a_smooth_outline_has_fewer_points_and_says_so():
    down, across = np.mgrid[0:40, 0:60]
    disc = ((across - 30) ** 2 + (down - 20) ** 2 < 15**2).astype(np.uint8)
    ragged, _ = masked(disc)
    smooth, found = masked(disc, simplify=1.0)
    assert len(smooth[0]) < len(ragged[0]) / 2
    difference = painted(smooth, 60, 40) != disc
    assert difference.sum() < disc.sum() * 0.05
    assert found == [("m", "lossy", "MASK_SIMPLIFIED")]


def test_an_outline_that_is_simple_already_is_no_loss():
    assert masked(PLAIN, simplify=1.0)[1] == []


def test_holes_are_smoothed_before_they_are_bridged():
    assert masked(HOLED, simplify=0.5) == masked(HOLED)


def test_a_mask_that_leaves_the_image_or_is_empty_is_reported():
    beyond = Mask(np.array([[4990, 20]], dtype="<i8").tobytes())
    for shape in (beyond, Mask(b"")):
        found = segment(Annotation("m", "segmentation", "car", shape))[1]
        assert found == [("m", "skipped", "INVALID_MASK_ENCODING")]


def test_noise_is_no_outline():
    side = math.isqrt(MAX_CORNERS)
    starts = np.arange(0, side * side, 2) + np.arange(0, side * side, 2) // side % 2
    runs = np.stack((starts, np.ones_like(starts)), axis=1).astype("<i8").tobytes()
    found = segment(Annotation("m", "segmentation", "car", Mask(runs)), width=side, height=side)[1]
    assert found == [("m", "skipped", "MASK_CONTOUR_UNREPRESENTABLE")]


def test_a_part_too_small_for_six_decimals_is_reported():
    runs = Mask(np.array([[0, 10_000], [50_000_000, 1]], dtype="<i8").tobytes())
    rows, found = segment(Annotation("m", "segmentation", "car", runs), width=100_000_000, height=1, outlines="split")
    assert len(rows) == 1
    assert found == [("m", "lossy", "MASK_SPLIT"), ("m", "lossy", "MASK_PARTS_DROPPED")]


@pytest.mark.parametrize(
    ("masks", "reason"), [("exclude", "SEGMENTATION_EXCLUDED"), ("semantic", "SEMANTIC_SEGMENTATION_UNSUPPORTED")]
)
def test_masks_are_left_out_as_the_export_says(masks, reason):
    catalog = build_catalog(ShardSummary(labels={"car": 1}), name="x", masks=masks)
    rows, found = masked(PLAIN, catalog=catalog)
    assert (rows, found) == ([], [("m", "skipped", reason)])


def test_a_box_is_left_out_unless_rectangles_are_wanted():
    drawn = box("b", "car", 10.0, 20.0, 30.0, 5.0)
    assert segment(drawn) == ([], [("b", "skipped", "UNSUPPORTED_ANNOTATION_TYPE")])
    assert segment(drawn, boxes="rectangle") == ([(0, 0.1, 0.4, 0.4, 0.4, 0.4, 0.5, 0.1, 0.5)], [])


def test_a_turned_box_keeps_its_corners():
    drawn = box("b", "car", 40.0, 20.0, 20.0, 10.0, rotation=0.5)
    rows, found = segment(drawn, boxes="rectangle")
    in_pixels = [number * side for number, side in zip(rows[0][1:], (100, 50) * 4, strict=True)]
    assert in_pixels == pytest.approx(corners(drawn.shape), abs=1e-4)
    assert not found


@pytest.mark.parametrize("rotation", [0.0, 0.3])
def test_a_box_over_the_edge_is_cut_and_one_outside_is_left_out(rotation):
    over = segment(box("b", "car", -10.0, 20.0, 30.0, 10.0, rotation=rotation), boxes="rectangle")
    assert min(over[0][0][1::2]) == 0
    assert over[1] == [("b", "lossy", "CLIPPED_TO_IMAGE")]
    outside = segment(box("b", "car", 200.0, 20.0, 30.0, 10.0, rotation=rotation), boxes="rectangle")
    assert outside == ([], [("b", "skipped", "OUTSIDE_IMAGE")])


def test_a_dropped_class_is_the_reason_whatever_was_drawn():
    for drawn in (box("x", "bus", 1, 2, 3, 4), polygon("x", "bus", 1, 2, 3, 4, 5, 7)):
        assert segment(drawn)[1] == [("x", "skipped", "CLASS_DROPPED")]


_NUMBERS = st.one_of(st.floats(-50, 150), st.floats(-1e6, 1e6), st.sampled_from([0.0, 50.0, 100.0, -1e-7, 100.0005]))
_RINGS = st.lists(st.tuples(_NUMBERS, _NUMBERS), min_size=3, max_size=12)


@settings(deadline=None)
@given(st.lists(_RINGS, max_size=4), st.integers(1, 9000))
def test_whatever_the_polygon_the_row_is_valid_or_the_loss_is_reported(rings, width):
    annotations = [
        Annotation(str(number), "polygon", "car", Polygon(tuple(value for point in ring for value in point)))
        for number, ring in enumerate(rings)
    ]
    rows, found = segment(*annotations, width=width, height=50)
    assert len(rows) + sum(outcome == "skipped" for _, outcome, _ in found) == len(rings)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-20, 80), st.integers(-20, 60)), min_size=3, max_size=9))
def test_a_cut_polygon_paints_what_the_whole_one_paints_inside_the_image(ring):
    # Off the grid, so that no centre of a pixel is on an edge.
    points = tuple(value + shift for x, y in ring for value, shift in ((x, 0.1037), (y, 0.2071)))
    rows, _ = segment(Annotation("p", "polygon", "car", Polygon(points)), width=60, height=40)
    whole = [(0, *(value / side for value, side in zip(points, (60, 40) * len(ring), strict=True)))]
    if rows:
        assert (painted(rows, 60, 40) == painted(whole, 60, 40)).mean() > 0.999


_SIZES = st.floats(1e-9, 1e4)


@settings(deadline=None)
@given(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), _SIZES, _SIZES, st.floats(-7, 7)), st.integers(1, 9000))
def test_whatever_the_box_its_rectangle_is_valid_or_the_loss_is_reported(numbers, width):
    rows, found = segment(
        Annotation("b", "bounding_box", "car", Box(*numbers)), width=width, height=7, boxes="rectangle"
    )
    assert len(rows) + sum(outcome == "skipped" for _, outcome, _ in found) == 1
