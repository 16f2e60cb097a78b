"""Outlines of masks as rings, in numpy.

Coordinates are those of :mod:`pipeline.records`: a mask of the one pixel ``(x, y)`` is the square from ``(x, y)`` to
``(x + 1, y + 1)``. Rings are flat, ``(x1, y1, x2, y2, …)``, the first point is not repeated. Seen on the screen,
outer rings turn clockwise and holes counter-clockwise, so that even-odd and non-zero filling both restore the mask.

Outlines are traced from the ends of runs, not pixel by pixel, so the cost grows with the number of corners.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.images.masks import MaskError, check_runs

# A mask with more corners is noise: one drawn by hand in full HD has a few thousand, a threshold on noise smoothed over
# 4 pixels 135,000. Up to this limit tracing takes a fifth of a second and joining two seconds.
MAX_CORNERS = 1 << 18
# More pieces of rows than this (140 MB while they are processed) are refused before anything of that size is allocated.
MAX_PIECES = 1 << 20

type _Integers = npt.NDArray[np.int64]


class Outline(NamedTuple):
    """One connected part of a mask.

    ``ring`` is its outer boundary, ``holes`` are the boundaries of its holes. A ring has corners only and begins at its
    topmost vertex, the leftmost if there are several. ``area`` is the number of pixels of the part, without holes.
    """

    ring: tuple[float, ...]
    holes: tuple[tuple[float, ...], ...]
    area: int


class _Pieces(NamedTuple):
    """A mask row by row: each piece is the pixels ``left`` to ``right - 1`` of a row, in row-major order."""

    rows: _Integers
    left: _Integers
    right: _Integers


class _Corners(NamedTuple):
    """The corners of all rings, in row-major order.

    Where two pixels touch only diagonally, there are two corners at one point, the western one first. ``following`` is
    the next corner of the same ring, ``by_column`` has the indices in column-major order. ``is_outer`` tells whether a
    ring that begins at this corner is an outer ring.
    """

    xs: _Integers
    ys: _Integers
    following: _Integers
    by_column: _Integers
    is_outer: npt.NDArray[np.bool_]


def trace_outlines(runs: bytes, width: int, height: int) -> list[Outline]:
    """Return the parts of a mask (``runs`` as in :class:`pipeline.records.Mask`), in the order of their first pixels.

    Pixels that touch only diagonally belong to different parts, and a gap that touches the outside diagonally is not a
    hole, so a ring may touch itself in a vertex but never crosses itself. The rings of all parts, filled even-odd, are
    exactly the mask. Raises MaskError as :func:`pipeline.images.masks.check_runs` does, and for a mask of more than
    :data:`MAX_PIECES` pieces of rows or :data:`MAX_CORNERS` corners.
    """
    check_runs(runs, width, height)
    if not runs:
        return []
    pieces = _pieces(runs, width)
    corners = _corners(pieces, width)
    order, firsts = _cycles(corners.following)
    owners = _owners(pieces, corners, order, firsts, height)
    xs, ys, following = corners.xs, corners.ys, corners.following
    twice = np.add.reduceat((xs * ys[following] - xs[following] * ys)[order], firsts[:-1])
    areas = np.zeros(len(owners), dtype=np.int64)
    np.add.at(areas, owners, twice // 2)
    points = np.stack((xs[order], ys[order]), axis=1).ravel().astype(np.float64).tolist()
    parts: dict[int, list[tuple[float, ...]]] = {}
    for owner, (first, last) in zip(owners, pairwise(firsts), strict=True):
        parts.setdefault(owner, []).append(tuple(points[2 * first : 2 * last]))
    return [Outline(rings[0], tuple(rings[1:]), int(areas[owner])) for owner, rings in parts.items()]


def _pieces(runs: bytes, width: int) -> _Pieces:
    pairs = np.frombuffer(runs, dtype="<i8").reshape(-1, 2)
    starts, ends = pairs[:, 0], pairs[:, 0] + pairs[:, 1]
    apart = starts[1:] > ends[:-1]
    starts, ends = starts[np.concatenate(([True], apart))], ends[np.concatenate((apart, [True]))]
    first = starts // width
    counts = (ends - 1) // width - first + 1
    total = int(counts.sum())
    if total > MAX_PIECES:
        raise MaskError(f"the mask has {total} pieces of rows, more than {MAX_PIECES}")
    rows = np.arange(total) + np.repeat(first - np.cumsum(counts) + counts, counts)
    left = np.maximum(np.repeat(starts, counts) - rows * width, 0)
    right = np.minimum(np.repeat(ends, counts) - rows * width, width)
    return _Pieces(rows, left, right)


def _corners(pieces: _Pieces, width: int) -> _Corners:
    # Each side of a piece is an edge one pixel high between two points. Where the edges above and below a point are on
    # the same side, the boundary goes straight on; every other end of an edge is a corner.
    # The code of an end is the point, then the side (left 1, right 0), then whether the edge is below the point.
    stride = width + 1
    left = (pieces.rows * stride + pieces.left) * 4 + 2
    right = (pieces.rows * stride + pieces.right) * 4
    codes = np.sort(np.concatenate((left + 1, right + 1, left + 4 * stride, right + 4 * stride)))
    straight = codes[1:] >> 1 == codes[:-1] >> 1
    keep = np.ones(codes.size, dtype=bool)
    keep[1:] &= ~straight
    keep[:-1] &= ~straight
    codes = codes[keep]
    if codes.size > MAX_CORNERS:
        raise MaskError(f"the outline has {codes.size} corners, more than {MAX_CORNERS}")
    ys, xs = np.divmod(codes >> 2, stride)
    is_left, is_below = codes >> 1 & 1, codes & 1
    # Edges of the boundary join neighbouring corners of a row, and of a column, in pairs.
    indices = np.arange(codes.size)
    by_column = np.lexsort((is_below, ys, xs))
    down = np.empty_like(indices)
    down[by_column[0::2]], down[by_column[1::2]] = by_column[1::2], by_column[0::2]
    # Following the boundary, the mask is on the right: left sides are walked upwards, right sides downwards.
    following = np.where(is_left == is_below, indices ^ 1, down)
    return _Corners(xs, ys, following, by_column, is_left == 1)


def _cycles(following: _Integers) -> tuple[_Integers, list[int]]:
    """Return the indices ring after ring, and where each ring begins in them, followed by the end of the last.

    Rings are ordered by their lowest index and begin with it.
    """
    successors = following.tolist()
    seen = bytearray(len(successors))
    order: list[int] = []
    firsts: list[int] = []
    start = 0
    while start >= 0:
        firsts.append(len(order))
        index = start
        while not seen[index]:
            seen[index] = 1
            order.append(index)
            index = successors[index]
        start = seen.find(0, start)
    return np.array(order), [*firsts, len(order)]


def _owners(pieces: _Pieces, corners: _Corners, order: _Integers, firsts: list[int], height: int) -> list[int]:
    """Return for each ring the outer ring of its part.

    The piece that ends at the first corner of a hole has its left side on an outer ring or on an earlier hole.
    """
    starts = order[firsts[:-1]]
    ring_of = np.empty(order.size, dtype=np.int64)
    ring_of[order] = np.repeat(np.arange(starts.size), np.diff(firsts))
    holes = starts[~corners.is_outer[starts]]
    stride = int(pieces.right.max()) + 1
    before = np.searchsorted(pieces.rows * stride + pieces.right, corners.ys[holes] * stride + corners.xs[holes])
    columns = corners.xs[corners.by_column] * (height + 1) + corners.ys[corners.by_column]
    edges = np.searchsorted(columns, pieces.left[before] * (height + 1) + corners.ys[holes], side="right") - 1
    owners = list(range(starts.size))
    for hole, beside in zip(ring_of[holes].tolist(), ring_of[corners.by_column[edges]].tolist(), strict=True):
        owners[hole] = owners[beside]
    return owners
