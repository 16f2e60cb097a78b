"""Masks as polygons and polygons as masks, in numpy.

Coordinates are those of :mod:`pipeline.records`: a mask of the one pixel ``(x, y)`` is the square from ``(x, y)`` to
``(x + 1, y + 1)``. Rings are flat, ``(x1, y1, x2, y2, …)``, the first point is not repeated. Seen on the screen,
outer rings turn clockwise and holes counter-clockwise, so that even-odd and non-zero filling both give the mask back.

Outlines are made from the ends of runs and never look at single pixels: the cost grows with the number of corners.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.images.masks import MAX_PIECES, MaskError, check_runs

# A mask of more corners is noise and nobody's outline: one drawn by hand in full HD has a few thousand, a threshold on
# noise smoothed over 4 pixels 135,000. Up to here outlines take a fifth of a second and joining them two.
MAX_CORNERS = 1 << 18

# Sweeps over the plane, by the normal of their lines. With these eight, bridges of noise masks were 1 to 10 % longer in
# total than the shortest possible; with the first four, 4 to 21 %.
_SWEEPS = ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (1, -2), (2, 1), (2, -1))
# How many crossings of edges and rows, or possible bridges, are worked on at once.
_AT_ONCE = 1 << 18
# Coordinates further out than this are moved here, so that no difference of two overflows.
_FAR = 2.0**60

type _Integers = npt.NDArray[np.int64]
type _Floats = npt.NDArray[np.float64]


class Outline(NamedTuple):
    """One connected part of a mask.

    ``ring`` is its outer boundary and ``holes`` those of its holes: only corners, each ring from its topmost vertex,
    the leftmost if there are several. ``area`` counts the pixels of the part, without holes.
    """

    ring: tuple[float, ...]
    holes: tuple[tuple[float, ...], ...]
    area: int


class _Pieces(NamedTuple):
    """A mask row by row: each piece is the pixels ``left`` to ``right - 1`` of a row; in row-major order."""

    rows: _Integers
    left: _Integers
    right: _Integers


class _Corners(NamedTuple):
    """The corners of all rings, in row-major order.

    Where two pixels touch only diagonally, two corners are at the same place, the one to the west first.
    ``following`` is the next corner of the same ring, ``by_column`` the indices in column-major order. ``is_outer``
    says whether a ring that has this corner for its first is an outer one.
    """

    xs: _Integers
    ys: _Integers
    following: _Integers
    by_column: _Integers
    is_outer: npt.NDArray[np.bool_]


def outlines(runs: bytes, width: int, height: int) -> list[Outline]:
    """The parts of a mask (``runs`` as in :class:`pipeline.records.Mask`), in the order of their first pixels.

    Pixels that touch only diagonally are different parts, and a hole that touches the outside diagonally is none: then
    no ring crosses itself, although it may touch itself in a vertex. The rings of all parts, filled even-odd, are
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


def bridged(outline: Outline) -> tuple[float, ...]:
    """One ring around the part that goes to each hole and back over a bridge of no width.

    Filled even-odd or non-zero it is the part without its holes, for formats that have one ring for an object. Bridges
    are short, between vertices of any two of the rings, but not the shortest there could be.
    """
    return joined((outline,))


def joined(parts: Sequence[Outline]) -> tuple[float, ...]:
    """One ring around all of at least one parts and their holes, as :func:`bridged`; it begins where the first does.

    Between parts, bridges lie outside of the mask.
    """
    rings = [ring for part in parts for ring in (part.ring, *part.holes)]
    if len(rings) == 1:
        return rings[0]
    points = np.array(list(chain.from_iterable(rings)), dtype=np.float64).reshape(-1, 2)
    sizes = np.array([len(ring) // 2 for ring in rings])
    lasts = np.cumsum(sizes) - 1
    following = np.arange(1, len(points) + 1)
    following[lasts] = lasts - sizes + 1
    path = following.tolist()
    places = list(range(len(points)))
    for here, there in _bridges(points, np.repeat(np.arange(len(rings)), sizes)):
        after_here, after_there = path[here], path[there]
        if (points[here] == points[there]).all():
            path[here], path[there] = after_there, after_here
            continue
        # Over the bridge to a copy of `there`, around, and from `there` back to a copy of `here`.
        path[here], path[there] = len(path), len(path) + 1
        path += (after_there, after_here)
        places += (there, here)
    walk, vertex = [0], path[0]
    while vertex:
        walk.append(places[vertex])
        vertex = path[vertex]
    return tuple(points[walk].ravel().tolist())


def simplified(ring: Sequence[float], tolerance: float) -> tuple[float, ...]:
    """The ring with fewer vertices, none of those left out further than ``tolerance`` pixels from what is left.

    Ramer-Douglas-Peucker on both halves of the ring, cut at its first vertex and the one furthest from it. At least
    three vertices stay. A tolerance of 0 gives the ring back unchanged. Holes are simplified before they are bridged.
    """
    if tolerance <= 0 or len(ring) <= 6:
        return tuple(ring)
    points = np.array(ring, dtype=np.float64).reshape(-1, 2)
    count = len(points)
    far = 1 + int(np.argmax(((points[1:] - points[0]) ** 2).sum(axis=1)))
    closed = np.concatenate((points, points[:1]))
    kept = {0, far}
    halves = [(0, far), (far, count)]
    waiting = list(halves)
    while waiting:
        first, last = waiting.pop()
        middle, distance = _furthest(closed, first, last)
        if distance > tolerance:
            kept.add(middle)
            waiting += ((first, middle), (middle, last))
    if len(kept) < 3:
        found = [_furthest(closed, first, last) for first, last in halves]
        kept.add(max(found, key=lambda middle: middle[1])[0])
    return tuple(points[sorted(kept)].ravel().tolist())


def fill(rings: Sequence[Sequence[float]], width: int, height: int) -> npt.NDArray[np.uint8]:
    """What the rings enclose as a uint8 array of shape (height, width), 1 inside.

    A pixel is inside when its centre is, even-odd over all rings together; a centre on an edge belongs to what is right
    of it or below it. Points may lie outside the image. Raises MaskError when the image is empty or too large.
    """
    check_runs(b"", width, height)
    canvas = np.zeros((height, width), dtype=np.uint8)
    flat = canvas.reshape(-1)
    left, right, top, bottom = width, 0, height, 0
    for rows, columns in _crossings(_edges(rings), width, height):
        left, right = min(left, int(columns.min())), max(right, int(columns.max()) + 1)
        top, bottom = min(top, int(rows.min())), max(bottom, int(rows.max()) + 1)
        inside = columns < width
        places, times = np.unique(rows[inside] * width + columns[inside], return_counts=True)
        flat[places[times % 2 == 1]] ^= 1
    # So far 1 where the row changes; beyond the outermost changes it is 0 and stays so.
    box = canvas[top:bottom, left:right]
    np.bitwise_xor.accumulate(box, axis=1, out=box)
    return canvas


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
    # Each side of a piece is an edge one pixel high between two points. Where the edge above a point and the one below
    # it are of the same side, the boundary goes straight on; every other end of an edge is a corner.
    # The code of an end: point, then side (left 1, right 0), then whether the edge is below the point.
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
    # Edges of the boundary join neighbouring corners of a row, and of a column, two by two.
    indices = np.arange(codes.size)
    by_column = np.lexsort((is_below, ys, xs))
    down = np.empty_like(indices)
    down[by_column[0::2]], down[by_column[1::2]] = by_column[1::2], by_column[0::2]
    # The mask is on the right of who follows the boundary: left sides are walked upwards, right sides downwards.
    following = np.where(is_left == is_below, indices ^ 1, down)
    return _Corners(xs, ys, following, by_column, is_left == 1)


def _cycles(following: _Integers) -> tuple[_Integers, list[int]]:
    """The indices ring after ring, and where each ring begins in them, with the end of the last one.

    Rings come in the order of their lowest index and begin with it.
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
    """For each ring, the outer ring of its part.

    The piece that ends at the first corner of a hole has its left side on an outer ring, or on a hole that is earlier.
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


def _bridges(points: _Floats, ring_of: _Integers) -> list[tuple[int, int]]:
    """Pairs of indices of points, one less than there are rings, that connect them all.

    The shortest first (Kruskal's algorithm), of the pairs of points that one of the sweeps visits one after the other.
    A sweep visits all the points, so its pairs connect all the rings.
    """
    xs, ys = points.T
    orders = [np.lexsort((down * xs - across * ys, across * xs + down * ys)) for across, down in _SWEEPS]
    pairs = np.concatenate([np.stack((order[:-1], order[1:]), axis=1) for order in orders])
    pairs = pairs[ring_of[pairs[:, 0]] != ring_of[pairs[:, 1]]]
    lengths = ((points[pairs[:, 0]] - points[pairs[:, 1]]) ** 2).sum(axis=1)
    leaders = list(range(int(ring_of[-1]) + 1))
    bridges = []
    for here, there in _listed(pairs[np.argsort(lengths, kind="stable")]):
        one, other = _leader(leaders, int(ring_of[here])), _leader(leaders, int(ring_of[there]))
        if one != other:
            leaders[other] = one
            bridges.append((here, there))
    return bridges


def _listed(pairs: _Integers) -> Iterator[list[int]]:
    """The rows as Python integers, which take four times the memory, a few at a time."""
    for begin in range(0, len(pairs), _AT_ONCE):
        yield from pairs[begin : begin + _AT_ONCE].tolist()


def _leader(leaders: list[int], member: int) -> int:
    while leaders[member] != member:
        leaders[member] = leaders[leaders[member]]
        member = leaders[member]
    return member


def _furthest(points: _Floats, first: int, last: int) -> tuple[int, float]:
    """Of the points between two, the one furthest from the straight line between them that ends there, and how far."""
    between = points[first + 1 : last] - points[first]
    if not len(between):
        return first, -1.0
    across, down = points[last] - points[first]
    squared = across * across + down * down
    along = (between[:, 0] * across + between[:, 1] * down) / squared if squared else np.zeros(len(between))
    along = np.clip(along, 0.0, 1.0)
    distances = np.hypot(between[:, 0] - along * across, between[:, 1] - along * down)
    middle = int(np.argmax(distances))
    return first + 1 + middle, float(distances[middle])


def _edges(rings: Sequence[Sequence[float]]) -> _Floats:
    """The edges that are not horizontal, from their upper to their lower end: x, y, x, y; shape (n, 4)."""
    edges = [np.empty((0, 4))]
    for ring in rings:
        points = np.clip(np.array(ring, dtype=np.float64).reshape(-1, 2), -_FAR, _FAR)
        edges.append(np.concatenate((points, np.roll(points, -1, axis=0)), axis=1))
    joint = np.concatenate(edges)
    upwards = joint[:, 1] > joint[:, 3]
    joint[upwards] = joint[upwards][:, [2, 3, 0, 1]]
    return joint[joint[:, 1] < joint[:, 3]]


def _crossings(edges: _Floats, width: int, height: int) -> Iterator[tuple[_Integers, _Integers]]:
    """Rows whose centre line an edge crosses, and the first column whose centre is not left of it (0 to ``width``).

    At most :data:`_AT_ONCE` at a time.
    """
    first = np.ceil(np.clip(edges[:, 1] - 0.5, 0, height)).astype(np.int64)
    last = np.ceil(np.clip(edges[:, 3] - 0.5, 0, height)).astype(np.int64)
    ends = np.cumsum(last - first)
    total = int(ends[-1]) if ends.size else 0
    for begin in range(0, total, _AT_ONCE):
        index = np.arange(begin, min(begin + _AT_ONCE, total))
        edge = np.searchsorted(ends, index, side="right")
        rows = index - ends[edge] + last[edge]
        x, y, lower_x, lower_y = edges[edge].T
        crossing = x + (rows + 0.5 - y) * (lower_x - x) / (lower_y - y)
        yield rows, np.ceil(np.clip(crossing - 0.5, 0, width)).astype(np.int64)
