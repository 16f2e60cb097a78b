"""Operations on rings: join them over bridges, simplify them, and fill them.

Coordinates and rings are those of :mod:`pipeline.images.outlines`.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from math import gcd

import numpy as np
import numpy.typing as npt

from pipeline.images.masks import check_runs
from pipeline.images.outlines import Outline

# Sweeps over the plane, by the normal of their lines. With these eight, bridges of noise masks were 1 to 10 % longer in
# total than the shortest possible; with the first four, 4 to 21 %.
_SWEEPS = ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (1, -2), (2, 1), (2, -1))
# How many crossings of edges and rows, or possible bridges, are processed at once.
AT_ONCE = 1 << 18
# Coordinates further out than this are moved here, so that no difference of two overflows.
_FAR = 2.0**60

type _Integers = npt.NDArray[np.int64]
type _Floats = npt.NDArray[np.float64]


def bridge_holes(outline: Outline) -> tuple[float, ...]:
    """Return one ring around the part that goes to each hole and back over a bridge of zero width.

    Even-odd and non-zero filling both give the part without its holes. This is for formats with one ring per object.
    Bridges join vertices of any two rings; they are short, but not the shortest possible. None meets the centre of a
    pixel, so painters agree on every pixel, whatever they make of a centre on an edge.
    """
    return join_outlines((outline,))


def join_outlines(parts: Sequence[Outline]) -> tuple[float, ...]:
    """Return one ring around one or more parts and their holes, as :func:`bridge_holes` does.

    It begins where the ring of the first part does. A bridge is one straight line, or two lines along the borders of
    pixels where the straight one would meet the centre of a pixel.
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
    bends: list[tuple[float, float]] = []
    for here, there in _bridges(points, np.repeat(np.arange(len(rings)), sizes)):
        after_here, after_there = path[here], path[there]
        if (points[here] == points[there]).all():
            path[here], path[there] = after_there, after_here
            continue
        # Over the bridge to a copy of `there`, around, and from `there` back to a copy of `here`.
        over, back = len(path), len(path) + 1
        path += (after_there, after_here)
        places += (there, here)
        if _meets_centres(*(points[there] - points[here]).tolist()):
            # Both ways bend at the same point. A straight bridge would paint a centre where a painter computes its
            # place on the way there and on the way back with different last bits.
            bends.append((float(points[there][0]), float(points[here][1])))
            path += (over, back)
            places += (len(points) + len(bends) - 1,) * 2
            over, back = len(path) - 2, len(path) - 1
        path[here], path[there] = over, back
    walk, vertex = [0], path[0]
    while vertex:
        walk.append(places[vertex])
        vertex = path[vertex]
    every = np.concatenate((points, np.array(bends, dtype=np.float64).reshape(-1, 2)))
    return tuple(every[walk].ravel().tolist())


def simplify_ring(ring: Sequence[float], tolerance: float) -> tuple[float, ...]:
    """Return the ring with fewer vertices; removed ones are at most ``tolerance`` pixels from the simplified ring.

    Ramer-Douglas-Peucker on both halves of the ring, cut at its first vertex and the one furthest from it. At least
    three vertices stay. A tolerance of 0 returns the ring unchanged. Simplify holes before bridging them.
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


def fill_rings(rings: Sequence[Sequence[float]], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return the area that the rings enclose as a uint8 array of shape (height, width), 1 inside.

    A pixel is inside if its centre is, even-odd over all rings together; a centre on an edge belongs to the area to the
    right of it or below it. Points may lie outside the image. Raises MaskError if the image is empty or too large.
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
    # The canvas is now 1 where a row changes; beyond the outermost changes it is 0 and stays 0.
    box = canvas[top:bottom, left:right]
    np.bitwise_xor.accumulate(box, axis=1, out=box)
    return canvas


def _bridges(points: _Floats, ring_of: _Integers) -> list[tuple[int, int]]:
    """Return pairs of point indices, one fewer than there are rings, that connect all rings.

    Kruskal's algorithm takes the shortest pairs first, of those that a sweep visits one after the other. A sweep visits
    all points, so its pairs connect all rings.
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


def _meets_centres(across: float, down: float) -> bool:
    """Return whether a line between two corners of pixels goes through the centre of one."""
    shared = gcd(int(across), int(down))
    return bool(int(across) // shared % 2 and int(down) // shared % 2)


def _listed(pairs: _Integers) -> Iterator[list[int]]:
    """Yield the rows as Python integers, converted in batches because those take four times the memory."""
    for begin in range(0, len(pairs), AT_ONCE):
        yield from pairs[begin : begin + AT_ONCE].tolist()


def _leader(leaders: list[int], member: int) -> int:
    while leaders[member] != member:
        leaders[member] = leaders[leaders[member]]
        member = leaders[member]
    return member


def _furthest(points: _Floats, first: int, last: int) -> tuple[int, float]:
    """Return the index of the point between two points that is furthest from their segment, and its distance."""
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
    """Return the edges that are not horizontal, from their upper to their lower end: x, y, x, y; shape (n, 4)."""
    edges = [np.empty((0, 4))]
    for ring in rings:
        points = np.clip(np.array(ring, dtype=np.float64).reshape(-1, 2), -_FAR, _FAR)
        edges.append(np.concatenate((points, np.roll(points, -1, axis=0)), axis=1))
    joint = np.concatenate(edges)
    upwards = joint[:, 1] > joint[:, 3]
    joint[upwards] = joint[upwards][:, [2, 3, 0, 1]]
    return joint[joint[:, 1] < joint[:, 3]]


def _crossings(edges: _Floats, width: int, height: int) -> Iterator[tuple[_Integers, _Integers]]:
    """Yield rows whose centre line an edge crosses, and the first column whose centre is not left of the crossing.

    Columns are 0 to ``width``. Each batch has at most :data:`AT_ONCE` crossings.
    """
    first = np.ceil(np.clip(edges[:, 1] - 0.5, 0, height)).astype(np.int64)
    last = np.ceil(np.clip(edges[:, 3] - 0.5, 0, height)).astype(np.int64)
    ends = np.cumsum(last - first)
    total = int(ends[-1]) if ends.size else 0
    for begin in range(0, total, AT_ONCE):
        index = np.arange(begin, min(begin + AT_ONCE, total))
        edge = np.searchsorted(ends, index, side="right")
        rows = index - ends[edge] + last[edge]
        x, y, lower_x, lower_y = edges[edge].T
        crossing = x + (rows + 0.5 - y) * (lower_x - x) / (lower_y - y)
        yield rows, np.ceil(np.clip(crossing - 0.5, 0, width)).astype(np.int64)
