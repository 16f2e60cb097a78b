import math

import msgspec
import pytest

from pipeline.formats.images import clip_ring, image_size, is_turned, place_box, place_outline, without_image
from pipeline.formats.testing import samples
from pipeline.images.geometry import polygon_area
from pipeline.reasons import Reason
from pipeline.records import Box


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
