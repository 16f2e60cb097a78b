"""Which pixels coordinates count, once the picture has been seen."""

import msgspec
import numpy as np
import pytest

from pipeline.formats.testing import samples
from pipeline.formats.testing.shapes import mask, ring
from pipeline.images.files import Header
from pipeline.images.masks import bitmap_from_runs
from pipeline.images.orientation import correct_size, is_drawn_as_stored, is_wrong_size
from pipeline.records import Annotation, Mask


@pytest.mark.parametrize(
    ("declared", "header", "wrong", "as_stored"),
    [
        ((64, 32), Header(64, 32), False, False),
        ((64, 32), Header(64, 32, 6), False, True),
        ((32, 64), Header(64, 32, 6), False, False),
        ((64, 32), Header(64, 32, 3), False, False),  # upside down: of the same size either way, and viewers turn it
        ((50, 50), Header(50, 50, 6), False, False),
        ((128, 64), Header(64, 32), True, False),
        ((65, 32), Header(64, 32, 6), True, False),
        ((64, 32), Header(64, 32, None), False, False),  # it has an orientation that was not read: readers know it
        ((32, 64), Header(64, 32, None), False, False),
        ((33, 64), Header(64, 32, None), True, False),
    ],
)
def test_the_declared_size_tells_what_the_annotator_saw(declared, header, wrong, as_stored):
    assert is_wrong_size(declared, header) is wrong
    assert is_drawn_as_stored(declared, header) is as_stored


@pytest.mark.parametrize("size", [(100, 50), (120, 60), (60, 30), (100, 20), (61, 50), (140, 12)])
def test_a_resized_sample_keeps_every_pixel_where_it_is(size):
    source = samples()[0].sample
    width, height = size
    other = correct_size(source, width, height)
    assert (other.width, other.height) == size
    canvas = np.zeros((max(height, 50), max(width, 100)), dtype=np.uint8)
    canvas[:50, :100] = ring(100, 50)
    for before, after in zip(source.annotations, other.annotations, strict=True):
        if before.tool == "segmentation":
            assert bitmap_from_runs(after.shape.runs, width, height).tolist() == canvas[:height, :width].tolist()
        else:
            assert after == before


def test_a_mask_outside_the_new_size_has_no_pixels_and_says_that_it_had():
    far = np.zeros((50, 100), dtype=np.uint8)
    far[40:, 90:] = 1
    source = samples()[0].sample
    annotation = Annotation("far", "segmentation", "road", mask(far))
    other = correct_size(msgspec.structs.replace(source, annotations=(annotation,)), 50, 20)
    assert other.annotations == (msgspec.structs.replace(annotation, shape=Mask(b"", is_cut=True)),)
