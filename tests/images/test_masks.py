"""Masks: DM runs, bitmaps and COCO's run-length encoding agree with pycocotools and with the Synapse SDK."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from synapse_sdk.utils.converters.coco.from_dm import mask_geometry

from pipeline.images import masks
from pipeline.images.masks import (
    MaskError,
    bitmap_from_runs,
    check_runs,
    coco_rle,
    rebase_runs,
    runs_from_indices,
    runs_from_pairs,
)

pictures = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


def runs_of(picture):
    return runs_from_indices(np.flatnonzero(picture))


def pairs_of(runs):
    return np.frombuffer(runs, "<i8").reshape(-1, 2).tolist()


def test_indices_become_sorted_runs():
    assert pairs_of(runs_from_indices(np.array([12, 1, 0, 2, 14]))) == [[0, 3], [12, 1], [14, 1]]
    assert runs_from_indices(np.array([], dtype=np.int64)) == b""


def test_pairs_are_sorted_and_touching_runs_merged():
    assert pairs_of(runs_from_pairs(np.array([[100, 3], [0, 3], [3, 2]]))) == [[0, 5], [100, 3]]
    assert runs_from_pairs(np.empty((0, 2), dtype=np.int64)) == b""


@given(pictures)
def test_indices_and_pairs_of_the_same_pixels_are_the_same_bytes(picture):
    indices = np.flatnonzero(picture)
    one_by_one = np.stack((indices, np.ones_like(indices)), axis=1)
    assert runs_from_pairs(one_by_one[::-1]) == runs_from_indices(indices)


@pytest.mark.parametrize(
    "pairs",
    [[[0, 3], [2, 1]], [[5, 1], [5, 1]], [[0, 0]], [[0, -1]], [[-1, 3]], [[0.5, 1.0]], [[2**63, 1]], [[1, 2**63 - 1]],
     [[1, 2, 3]], [1, 2], [["a", "b"]], [[True, True]]],
)  # fmt: skip
def test_pairs_that_are_no_mask_are_refused(pairs):
    with pytest.raises(MaskError):
        runs_from_pairs(np.array(pairs))


@pytest.mark.parametrize("indices", [[1, 1], [3, 2, 3], [-1], [0.0, 1.0], [2**63], [[1, 2]], ["1"], [True]])
def test_indices_that_are_no_mask_are_refused(indices):
    with pytest.raises(MaskError):
        runs_from_indices(np.array(indices))


@pytest.mark.parametrize(
    ("width", "height"), [(0, 5), (5, 0), (-1, -25), (5, 4), (1 << 15, 1 << 15), (10**6, 10**6), (10**12, 1)]
)
def test_runs_that_leave_the_image_and_absurd_images_are_refused_before_anything_is_allocated(width, height):
    runs = runs_from_pairs(np.array([[0, 2], [20, 5]]))
    for refuse in (check_runs, coco_rle, bitmap_from_runs):
        with pytest.raises(MaskError):
            refuse(runs, width, height)


def test_runs_may_reach_the_very_last_pixel():
    check_runs(runs_from_pairs(np.array([[20, 5]])), 5, 5)


def test_the_encoding_of_the_reference_example():
    rle = coco_rle(runs_from_pairs(np.array([[0, 3], [100, 3]])), 100, 50)
    assert rle == (b"02`1000bg4", (50, 100), 6, (0.0, 0.0, 3.0, 2.0))


@settings(max_examples=300)
@given(pictures)
def test_the_encoding_is_that_of_pycocotools(picture):
    height, width = picture.shape
    expected = coco_mask.encode(np.asfortranarray(picture))
    rle = coco_rle(runs_of(picture), width, height)
    assert rle.counts == expected["counts"]
    assert list(rle.size) == expected["size"]
    assert rle.area == coco_mask.area(expected)
    assert list(rle.bbox) == coco_mask.toBbox(expected).tolist()


@settings(max_examples=100)
@given(pictures.filter(np.any))
def test_the_encoding_is_that_of_the_synapse_sdk(picture):
    height, width = picture.shape
    runs = runs_of(picture)
    segmentation, bbox, area = mask_geometry(dm_annotation(runs), width, height)
    rle = coco_rle(runs, width, height)
    assert {"size": list(rle.size), "counts": rle.counts.decode()} == segmentation
    assert (list(rle.bbox), rle.area) == (bbox, area)


def test_touching_runs_that_were_never_merged_encode_alike():
    apart = np.array([[0, 3], [3, 2], [7, 1]], dtype="<i8").tobytes()
    merged = runs_from_pairs(np.array([[0, 5], [7, 1]]))
    assert coco_rle(apart, 4, 3) == coco_rle(merged, 4, 3)


@given(pictures)
def test_a_bitmap_gives_its_pixels_back(picture):
    height, width = picture.shape
    restored = bitmap_from_runs(runs_of(picture), width, height)
    assert restored.dtype == np.uint8
    assert np.array_equal(restored, picture)


def test_a_mask_with_too_many_changes_is_refused(monkeypatch):
    monkeypatch.setattr(masks, "MAX_TRANSITIONS", 1000)
    stripes = np.stack((np.arange(0, 100, 2) * 100, np.full(50, 100)), axis=1)
    with pytest.raises(MaskError, match="changes 10000 times"):
        coco_rle(runs_from_pairs(stripes), 100, 100)


def dm_annotation(runs):
    return {"data": pairs_of(runs), "encoding": "dm_rle", "isCompressed": True, "compressionFormat": "rle"}


def ellipse(width, height):
    y, x = np.mgrid[0:height, 0:width]
    return ((x / width - 0.5) ** 2 * 9 + (y / height - 0.5) ** 2 * 5 < 1).astype(np.uint8)


def test_a_full_hd_mask_is_encoded_as_the_sdk_does():
    runs = runs_of(ellipse(1920, 1080))
    segmentation, _, _ = mask_geometry(dm_annotation(runs), 1920, 1080)
    assert coco_rle(runs, 1920, 1080).counts.decode() == segmentation["counts"]


@given(pictures, st.integers(1, 14), st.integers(1, 14))
def test_rebased_runs_are_the_same_pixels_in_another_canvas(pixels, width, height):
    canvas = np.zeros((max(height, pixels.shape[0]), max(width, pixels.shape[1])), dtype=np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    expected = canvas[:height, :width]
    runs, is_cut = rebase_runs(runs_of(pixels), pixels.shape[1], width, height)
    assert bitmap_from_runs(runs, width, height).tolist() == expected.tolist()
    assert is_cut == (expected.sum() < pixels.sum())
