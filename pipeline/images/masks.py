"""Conversions of masks: pixel indices, DM Schema's row-major runs, COCO's column-major encoding, bitmaps; in numpy.

Except for :func:`bitmap_from_runs`, everything works on the ends of runs and not on single pixels, so the cost grows
with the length of a mask's outline and not with the size of the image.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

# An image larger than this (16,384 x 16,384) is refused before anything of its size is allocated.
MAX_PIXELS = 1 << 28
# More changes between rows than this (every pixel of an 8K frame) are refused, because COCO's encoding of them would
# take all of a worker's memory.
MAX_TRANSITIONS = 1 << 25
# Room for ``start + length`` in int64.
_LIMIT = 1 << 62

type _Integers = npt.NDArray[np.signedinteger]


class MaskError(ValueError):
    """Runs or indices that are not a mask of the image: not integers, negative, overlapping or outside."""


class Rle(NamedTuple):
    """A mask as COCO writes it.

    ``counts`` is the compressed encoding (ASCII), ``size`` is ``(height, width)``, ``area`` the number of pixels and
    ``bbox`` the smallest box ``(x, y, width, height)``, all zeros for an empty mask.
    """

    counts: bytes
    size: tuple[int, int]
    area: int
    bbox: tuple[float, float, float, float]


def runs_from_indices(indices: np.ndarray) -> bytes:
    """Return the runs (:class:`pipeline.records.Mask`) of pixel indices ``y * width + x``, in any order.

    Raises MaskError unless they are distinct non-negative integers.
    """
    values = _integers(indices, 1)
    steps = np.diff(values)
    if values.size > 1 and steps.min() < 0:
        values = np.sort(values)
        steps = np.diff(values)
    if values.size > 1 and steps.min() == 0:
        raise MaskError("the same pixel is listed twice")
    breaks = np.flatnonzero(steps != 1)
    starts = values[np.concatenate(([0], breaks + 1))] if values.size else values
    ends = values[np.concatenate((breaks, [values.size - 1]))] + 1 if values.size else values
    return _pack(starts, ends)


def runs_from_pairs(pairs: np.ndarray) -> bytes:
    """Return the runs of ``(start, length)`` pairs, shape (n, 2), in any order; touching runs are merged.

    Raises MaskError unless they are integers, starts are not negative, lengths are positive, and no two runs overlap.
    """
    values = _integers(pairs, 2)
    starts, lengths = values[:, 0], values[:, 1]
    if lengths.size and lengths.min() == 0:
        raise MaskError("the length of a run is 0")
    order = None
    if starts.size > 1 and (starts[1:] < starts[:-1]).any():
        order = np.argsort(starts, kind="stable")
        starts, lengths = starts[order], lengths[order]
    ends = starts + lengths
    gaps = starts[1:] - ends[:-1]
    if (gaps < 0).any():
        raise MaskError("runs overlap")
    apart = gaps > 0
    if order is None and apart.all():
        return values.astype("<i8", copy=False).tobytes()
    if not apart.all():
        starts = starts[np.concatenate(([True], apart))]
        ends = ends[np.concatenate((apart, [True]))]
    return _pack(starts, ends)


def check_runs(runs: bytes, width: int, height: int) -> None:
    """Raise MaskError if the image is empty or too large (:data:`MAX_PIXELS`) or a run lies outside it."""
    if width <= 0 or height <= 0:
        raise MaskError(f"an image of {width} x {height} has no pixels")
    if width * height > MAX_PIXELS:
        raise MaskError(f"an image of {width} x {height} is larger than {MAX_PIXELS} pixels")
    if runs:
        start, length = np.frombuffer(runs, dtype="<i8")[-2:].tolist()
        if start + length > width * height:
            raise MaskError(f"pixel {start + length - 1} is outside an image of {width} x {height}")


def coco_rle(runs: bytes, width: int, height: int) -> Rle:
    """Return the mask in COCO's compressed column-major encoding: the same bytes as ``pycocotools.mask.encode``.

    Raises MaskError as :func:`check_runs` does, and for a mask with more than :data:`MAX_TRANSITIONS` changes.
    """
    check_runs(runs, width, height)
    size = (height, width)
    if not runs:
        return Rle(_compress(np.array([width * height], dtype=np.uint32), size), size, 0, (0.0, 0.0, 0.0, 0.0))
    starts, ends = _ends(runs)
    area = int((ends - starts).sum())
    # A pixel differs from the one above it exactly where the mask differs from the mask moved down by one row. The ends
    # of that difference are the ends of both masks, without those that they share.
    own = _unshared(np.frombuffer(runs, dtype="<i8").reshape(-1, 2).cumsum(axis=1).ravel().astype(np.int32))
    both = np.concatenate((own, own + width))
    both.sort()
    changes = _unshared(both)
    del own, both
    columns = _expand(changes[0::2], changes[1::2])
    # Column-major: the change below the last row of a column is the one above the first row of the next column. In
    # place, because a mask of noise changes at every other pixel.
    rows = columns // width
    columns %= width
    columns *= height
    columns += rows
    del changes, rows
    columns.sort()
    columns = _unshared(columns)
    total = width * height
    bounds = columns if columns[-1] == total else np.append(columns, total)
    left, right = int(columns[0]) // height, (int(columns[-1]) - 1) // height
    top, bottom = int(starts[0]) // width, (int(ends[-1]) - 1) // width
    bbox = (float(left), float(top), float(right - left + 1), float(bottom - top + 1))
    return Rle(_compress(np.diff(bounds, prepend=0).astype(np.uint32), size), size, area, bbox)


def box_around(runs: bytes, width: int) -> tuple[float, float, float, float]:
    """Return the smallest box ``(x, y, width, height)`` around the pixels of a mask that has some, of checked runs."""
    starts, ends = _ends(runs)
    lasts = ends - 1
    top, bottom = int(starts[0]) // width, int(lasts[-1]) // width
    left, right = int((starts % width).min()), int((lasts % width).max())
    if (
        starts // width != lasts // width
    ).any():  # a run that goes on in the next row has the last and the first column
        left, right = 0, width - 1
    return float(left), float(top), float(right - left + 1), float(bottom - top + 1)


def bitmap_from_runs(runs: bytes, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return the mask as a uint8 array of shape (height, width), 1 inside.

    Raises MaskError as :func:`check_runs` does.
    """
    check_runs(runs, width, height)
    starts, ends = _ends(runs)
    # A zero run before each run and one after the last, so that the values alternate.
    lengths = np.empty(2 * starts.size + 1, dtype=np.int64)
    lengths[1::2] = ends - starts
    lengths[0:-1:2] = np.diff(starts, prepend=0)
    lengths[2:-1:2] -= lengths[1:-2:2]
    lengths[-1] = width * height - (ends[-1] if ends.size else 0)
    values = np.zeros(lengths.size, dtype=np.uint8)
    values[1::2] = 1
    return np.repeat(values, lengths).reshape(height, width)


def rebase_runs(runs: bytes, width: int, new_width: int, new_height: int) -> tuple[bytes, bool]:
    """Return the same pixels, by column and row, as runs of an image of another size, and whether some lie outside it.

    ``width`` is the width of the image that ``runs`` belong to. Pixels outside the new one are cut off.
    """
    starts, ends = _ends(runs)
    first, last = starts // width, np.minimum((ends - 1) // width, new_height - 1)
    counts = np.maximum(last - first + 1, 0)  # runs share no pixel, so these are at most as many as runs and rows
    of_run = np.repeat(np.arange(starts.size), counts)
    rows = np.arange(of_run.size) - np.repeat(np.cumsum(counts) - counts, counts) + first[of_run]
    left = np.maximum(starts[of_run] - rows * width, 0)
    right = np.minimum(np.minimum(ends[of_run] - rows * width, width), new_width)
    inside = left < right
    left, right, rows = left[inside], right[inside], rows[inside]
    rebased = runs_from_pairs(np.stack((rows * new_width + left, right - left), axis=1))
    return rebased, _count_pixels(rebased) < _count_pixels(runs)


def _count_pixels(runs: bytes) -> int:
    return int(np.frombuffer(runs, dtype="<i8")[1::2].sum())


def _integers(values: np.ndarray, dimensions: int) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if not array.size:
        return np.empty((0, 2) if dimensions == 2 else 0, dtype=np.int64)
    if array.ndim != dimensions or (dimensions == 2 and array.shape[1] != 2):
        raise MaskError(f"expected {'pairs' if dimensions == 2 else 'a flat list'}, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise MaskError("pixels must be whole numbers")
    if array.min() < 0:
        raise MaskError("pixels must not be negative")
    if array.max() >= _LIMIT:
        raise MaskError("pixels are outside any image")
    return array.astype(np.int64, copy=False)


def _pack(starts: _Integers, ends: _Integers) -> bytes:
    return np.stack((starts, ends - starts), axis=1).astype("<i8", copy=False).tobytes()


def _ends(runs: bytes) -> tuple[_Integers, _Integers]:
    pairs = np.frombuffer(runs, dtype="<i8").reshape(-1, 2)
    return pairs[:, 0], pairs[:, 0] + pairs[:, 1]


def _unshared(ordered: _Integers) -> _Integers:
    """Return sorted values without those that occur twice; no value may occur more often."""
    equal = ordered[1:] == ordered[:-1]
    if not equal.any():
        return ordered
    keep = np.ones(ordered.size, dtype=bool)
    keep[1:] &= ~equal
    keep[:-1] &= ~equal
    return ordered[keep]


def _expand(starts: _Integers, ends: _Integers) -> _Integers:
    """Return every integer of the half-open intervals, in order."""
    lengths = ends - starts
    total = int(lengths.sum(dtype=np.int64))
    if total > MAX_TRANSITIONS:
        raise MaskError(f"the mask changes {total} times from row to row, more than {MAX_TRANSITIONS}")
    before: _Integers = np.cumsum(lengths, dtype=np.int32) - lengths
    every = np.repeat(starts - before, lengths)
    every += np.arange(total, dtype=np.int32)
    return every


def _compress(counts: npt.NDArray[np.uint32], size: tuple[int, int]) -> bytes:
    encoded: bytes = coco_mask.frPyObjects({"counts": counts, "size": list(size)}, *size)["counts"]
    return encoded
