import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pipeline.formats.coco.annotations import describe_shape
from pipeline.formats.images import clip_ring, image_size, is_turned, place_box, place_outline, without_image
from pipeline.formats.testing import samples
from pipeline.formats.yolo.rows import centre_and_length, describe_plain_box
from pipeline.images.geometry import enclosing_box, polygon_area
from pipeline.images.painting import measured_together, painted_area
from pipeline.images.rings import fill_rings
from pipeline.reasons import Reason
from pipeline.records import Box
from pipeline.sandbox.bench import bench_pool


def test_a_box_inside_comes_back_with_its_very_numbers():
    assert place_box(Box(0.1, 0.2, 0.3, 0.4), 1, 1) == (0.1, 0.2, 0.3, 0.4, ())


def test_a_turned_box_that_leaves_the_image_is_enclosed_and_cut():
    x, y, width, height, changes = place_box(Box(-10.0, 0.0, 20.0, 20.0, math.pi / 4), 100, 100)
    half = 20 / math.sqrt(2)
    assert (x, y) == (0.0, 0.0)
    assert (width, height) == pytest.approx((half, 10 + half))
    assert changes == ("ROTATION_ENCLOSED", "CLIPPED_TO_IMAGE")


def test_a_box_on_the_border_is_inside():
    assert place_box(Box(90.0, 40.0, 10.0, 10.0), 100, 50) == (90.0, 40.0, 10.0, 10.0, ())


@pytest.mark.parametrize("box", [Box(100.0, 0.0, 5.0, 5.0), Box(-5.0, 0.0, 5.0, 5.0), Box(0.0, 99.0, 5.0, 5.0)])
def test_nothing_is_left_of_a_box_outside(box):
    assert place_box(box, 100, 50) is None


@pytest.mark.parametrize("rotation", [0.0, 1e-9, -1e-6, math.pi / 2, math.pi, -3 * math.pi / 2, 2 * math.pi, 1e-5])
def test_whole_quarters_and_noise_do_not_turn_a_box(rotation):
    assert not is_turned(Box(10.0, 20.0, 30.0, 40.0, rotation))


@pytest.mark.parametrize("rotation", [1e-4, 0.01, math.pi / 4, 1.5, math.pi - 0.01])
def test_anything_else_does(rotation):
    assert is_turned(Box(10.0, 20.0, 30.0, 40.0, rotation))


def test_a_square_turned_by_an_eighth_is_turned():
    assert is_turned(Box(10.0, 20.0, 30.0, 30.0, math.pi / 4))


def test_a_sample_is_usable_when_it_has_a_file_and_a_size():
    usable = {sample.stem for sample in samples() if image_size(sample.sample)}
    assert {"street", "empty", "pair_2", "도로 사진"} <= usable
    assert not usable & {"record_3", "clip", "unsized", "record_13"}


def test_zero_is_no_size():
    sample = msgspec.structs.replace(samples()[0].sample, width=0)
    assert image_size(sample) is None
    assert without_image(sample)[0].reason == "SOURCE_IMAGE_INVALID"


def test_a_turned_box_beside_the_corner_is_outside_although_the_rectangle_around_it_is_not():
    beside = Box(-18.0, -4.0, 30.0, 2.0, rotation=-math.pi / 4)
    assert place_box(msgspec.structs.replace(beside, rotation=0.0), 100, 50) is None
    assert place_box(beside, 100, 50) is None
    assert place_box(msgspec.structs.replace(beside, rotation=math.pi / 4), 100, 50) is not None


@pytest.mark.parametrize(
    ("ring", "outside"),
    [
        ((-30.5, -10, 5, -10, -30.5, 5), True),  # its enclosing rectangle holds the corner, the triangle does not
        ((10, 10, 20, 10, 20, 20), False),
        ((-10, 10, 20, 10, 20, 20), False),
        ((100, 0, 120, 0, 120, 40), True),
        ((-1e-4, 0, 10, 0, 10, 10), False),
    ],
)
def test_a_ring_is_outside_when_nothing_of_it_is_inside(ring, outside):
    assert (place_outline(ring, (100, 50)) == Reason.OUTSIDE_IMAGE) is outside


def test_a_ring_is_cut_at_the_border_and_says_so():
    assert clip_ring((10, 10, 20, 10, 20, 20), (100, 50)) == ((10, 10, 20, 10, 20, 20), False)
    ring, cut = clip_ring((-10, 10, 10, 10, 10, 30, -10, 30), (100, 50))
    assert cut
    assert polygon_area(ring) == 200


WIDE, HIGH = 40, 30
# Off the grid of pixel centres: a centre that lies on an edge may be painted or not.
ANY_RING = st.lists(
    st.tuples(st.integers(-60, 100).map(lambda n: n / 2 + 0.13), st.integers(-60, 90).map(lambda n: n / 2 + 0.19)),
    min_size=3,
    max_size=9,
).map(lambda points: tuple(number for point in points for number in point))


@given(ANY_RING)
def test_what_is_left_of_an_outline_is_what_is_painted_of_it_inside_the_image(ring):
    """Also where it crosses, repeats or retraces itself; the area is that of the even-odd rule."""
    placed = place_outline(ring, (WIDE, HIGH))
    far = [number + 60 for number in ring]
    whole = fill_rings([far], WIDE + 160, HIGH + 160)[60 : 60 + HIGH, 60 : 60 + WIDE]
    if isinstance(placed, Reason):
        assert np.count_nonzero(whole) <= 3
        return
    x, y, width, height = placed.bbox
    assert (x, y) >= (0, 0)
    assert x + width <= WIDE
    assert y + height <= HIGH
    assert placed.bbox == enclosing_box(placed.ring)
    inside = fill_rings([placed.ring], WIDE, HIGH)
    assert np.count_nonzero(inside != whole) <= 3, "centres of pixels that an edge goes through"
    # Each edge can add or take away half a pixel along its length.
    edge = sum(
        math.dist(placed.ring[i : i + 2], (*placed.ring, *placed.ring[:2])[i + 2 : i + 4])
        for i in range(0, len(placed.ring), 2)
    )
    assert abs(placed.area - inside.sum()) <= 1.5 * edge + 2


def test_the_area_of_a_scribble_of_very_many_points_is_sampled():
    """As pycocotools counts its pixels, to one in a hundred."""
    chance = random.Random(7)
    scribble = [chance.uniform(0, 200) for _ in range(4000)]
    counted = coco_mask.area(coco_mask.frPyObjects([scribble], 200, 200))[0]
    assert painted_area(scribble) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize(
    ("ring", "area"),
    [
        ((20, 10, 120, 90, 120, 10, 20, 90), 4000),  # two halves
        ((0, 0, 10, 0, 10, 10, 0, 10), 100),
        ((0, 10, 10, 10, 10, 0, 0, 0), 100),  # the other way round
        ((0, 0, 10, 0, 10, 0, 10, 10, 0, 10), 100),  # a point twice
        ((0, 0, 5, 0, 10, 0, 10, 10, 0, 10), 100),  # a point on a side
        ((0, 0, 10, 0, 20, 0, 10, 0, 10, 10, 0, 10), 100),  # there and back
        ((0, 0, 10, 0, 10, 10, 0, 10, 0, 0, 10, 0, 10, 10, 0, 10), 0),  # twice around is outside
        ((0, 0, 10, 10, 20, 20), 0),
    ],
)
def test_the_area_of_an_outline_is_what_readers_paint(ring, area):
    assert painted_area(ring) == pytest.approx(area)


def test_a_cut_leaves_no_spur_along_the_border():
    """Outside, this triangle goes past the corner; the part inside does not reach it."""
    placed = place_outline((90, 10, 120, 10, 120, 80), (100, 50))
    x, y, width, height = placed.bbox
    assert (x, y, width) == (90, 10, 10)
    assert y + height == pytest.approx(10 + 70 / 3)


@given(st.integers(1, 4000), st.floats(0, 1), st.floats(0, 1))
def test_decimals_of_a_span_never_leave_the_image(side, one, other):
    start, end = sorted((one * side, other * side))
    centre, length = (round(number * 10**6) for number in centre_and_length(start, min(end, side) - start, side))
    assert length >= 1
    assert length <= 2 * centre <= 2 * 10**6 - length
    assert abs(centre - length / 2 - start / side * 10**6) <= 2
    assert abs(centre + length / 2 - end / side * 10**6) <= 2


def test_the_left_edge_of_a_box_at_the_border_is_not_left_of_it():
    assert [f"{number:.6f}" for number in centre_and_length(0, 80, 1920)] == ["0.020833", "0.041666"]


@given(
    st.lists(
        st.tuples(ODD_NUMBER := st.floats(-1e7, 1e7) | st.sampled_from([0.0, 5e-324, 1e-300]), ODD_NUMBER), min_size=3
    )
)
def test_any_outline_has_an_area_and_none_is_a_warning(points):
    ring = [number for point in points for number in point]
    assert 0 <= painted_area(ring) < math.inf


@given(
    st.lists(ANY_RING | st.lists(ODD_NUMBER, min_size=6).map(lambda numbers: tuple(numbers[: len(numbers) // 2 * 2]))),
    st.lists(ANY_RING, max_size=2),
)
def test_outlines_measured_together_have_the_areas_that_each_has_alone(rings, others):
    """To the last bit, whatever their neighbours are; also outlines that were not named beforehand."""
    alone = [painted_area(ring) for ring in (*rings, *others)]
    with measured_together(rings):
        assert [painted_area(ring) for ring in (*rings, *others)] == alone


NEAR_THE_BORDER = st.floats(-60, 160) | st.sampled_from([0.0, -0.0, 100.0])


@given(st.lists(st.lists(NEAR_THE_BORDER, min_size=8, max_size=8), max_size=5))
def test_outlines_measured_together_are_placed_like_each_alone(rings):
    """To the last bit, the sign of zeros included: the box that is measured too is the one of the general way."""
    alone = [repr(place_outline(ring, (100, 80))) for ring in rings]
    with measured_together(rings):
        assert [repr(place_outline(ring, (100, 80))) for ring in rings] == alone


SIDE = st.floats(1e-9, 200) | st.sampled_from([5e-324, 1e-6, 2e-6, 100.0])
ANY_BOX = st.builds(Box, NEAR_THE_BORDER, NEAR_THE_BORDER, SIDE, SIDE, st.sampled_from([0.0, 0.0, math.pi, 0.3]))


@given(ANY_BOX)
def test_the_quick_way_of_yolo_gives_a_box_the_numbers_of_the_general_way(box):
    plain = describe_plain_box(box, 100, 80)
    placed = place_box(box, 100, 80)
    if plain is None:
        inside = placed is not None and not placed[4] and not box.rotation
        assert not inside or min(box.width / 100, box.height / 80) < 1e-5 or min(placed[:2]) < 1e-3 or box_ends(box)
        return
    x, y, width, height, changes = placed
    assert changes == ()
    assert repr(plain) == repr((*centre_and_length(x, width, 100), *centre_and_length(y, height, 80)))


def box_ends(box):
    """Whether it ends at the border, where rounding has to be looked at."""
    return box.x + box.width > 99.99 or box.y + box.height > 79.99


@given(ANY_BOX)
def test_the_quick_way_of_coco_gives_a_box_the_numbers_of_the_general_way(box):
    """With ``rectangle`` every box goes the general way."""
    quick = describe_shape(box, (100, 80), "instance", "empty")
    general = describe_shape(box, (100, 80), "instance", "rectangle")
    if not isinstance(general, tuple) or Reason.ROTATION_ENCLOSED in general[3]:
        assert repr(quick) == repr(general)
    else:
        bbox, area, _, changes = general
        assert repr(quick) == repr((bbox, area, (), changes))


def test_outlines_of_bench_records_are_measured_together_to_the_last_bit():
    scenes = [document.scene for document in bench_pool(0)]
    rings = [sum(thing.geometry, ()) for scene in scenes for thing in scene.things if thing.tool == "polygon"]
    alone = [painted_area(ring) for ring in rings]
    assert sum(area != polygon_area(ring) for area, ring in zip(alone, rings, strict=True)) > 20, "none crosses itself"
    with measured_together(rings):
        assert [painted_area(ring) for ring in rings] == alone
