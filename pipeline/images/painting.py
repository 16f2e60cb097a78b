"""The area that readers paint for an outline."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.images.geometry import enclosing_box, polygon_area
from pipeline.images.rings import fill_rings

_TRIANGLE = 6
_MANY = 1000  # numbers of a ring that crosses itself; the faces of such a ring can be as many as their square
_RASTER = 1024.0

type _Floats = npt.NDArray[np.float64]

type Measured = tuple[tuple[float, float, float, float], float]
"""The box around a ring, ``x, y, width, height``, and its area."""


def painted_area(points: Sequence[float]) -> float:
    """Return the area in square pixels that a flat ring encloses, even-odd; 0.0 below three points.

    Where a ring crosses or retraces itself, what it goes around an even number of times is outside. That is how
    pycocotools (``frPyObjects``) and OpenCV (``fillPoly``) paint it. Of a ring that crosses itself and has very many
    points, the area is that of 1,024 x 1,024 samples.
    """
    if len(points) <= _TRIANGLE:
        return polygon_area(points)
    found = measured_outline(points)
    return _area_of_one(points) if found is None else found[1]


def measured_outline(points: Sequence[float]) -> Measured | None:
    """Return what a ring was found to be with others (:func:`measured_together`), None for one that is not measured."""
    together = _together.get()
    return None if together is None else together.find(points)


def crosses_itself(points: Sequence[float]) -> bool:
    """Return whether a flat ring crosses, touches or retraces itself; a triangle never does."""
    if len(points) <= _TRIANGLE:
        return False
    together = _together.get()
    found = together.find_crossing(points) if together is not None else None
    return not _is_simple(points) if found is None else found


@contextmanager
def measured_together(rings: Iterable[Sequence[float]]) -> Iterator[None]:
    """Let :func:`painted_area` measure these rings together, once it is asked for one of them inside the block.

    For rings of the usual size that takes half the time. Areas and boxes are the same to the last bit.
    """
    token = _together.set(_Together(rings))
    try:
        yield
    finally:
        _together.reset(token)


class _Together:
    """Rings by their identity, and what they are once they are measured."""

    def __init__(self, rings: Iterable[Sequence[float]]) -> None:
        # Holding the rings makes sure that nothing else gets the identity of one.
        self._rings = {id(ring): ring for ring in rings if _TRIANGLE < len(ring) <= _MANY}
        self._measured: dict[int, Measured] | None = None
        self._crossing: set[int] = set()

    def find(self, ring: Sequence[float]) -> Measured | None:
        """Return the box and the area of one of the rings, or None where it has to be measured alone."""
        return self._found().get(id(ring))

    def find_crossing(self, ring: Sequence[float]) -> bool | None:
        """Return whether one of the rings crosses itself, or None where it has to be looked at alone."""
        return id(ring) in self._crossing if id(ring) in self._found() else None

    def _found(self) -> dict[int, Measured]:
        if self._measured is None:
            measured, crossing = _measure_many(list(self._rings.values()))
            self._measured = dict(zip(self._rings, measured, strict=False))
            keys = list(self._rings)
            self._crossing = {keys[index] for index in crossing}
        return self._measured


_together: ContextVar[_Together | None] = ContextVar("rings measured together", default=None)


def _is_simple(points: Sequence[float]) -> bool:
    import shapely  # noqa: PLC0415  as below

    with np.errstate(all="ignore"):
        try:
            return bool(shapely.is_simple(shapely.linearrings(np.array(points, dtype=np.float64).reshape(-1, 2))))
        except shapely.GEOSException:  # no numbers that it can order
            return True


def _area_of_one(points: Sequence[float]) -> float:
    import shapely  # noqa: PLC0415  takes longer to import than a command that draws nothing takes to run

    corners = np.array(points, dtype=np.float64).reshape(-1, 2)
    with np.errstate(all="ignore"):  # numbers next to zero, whose differences cannot be divided by
        try:
            ring = shapely.linearrings(corners)
            if shapely.is_simple(ring):
                return polygon_area(points)
            return _sampled_area(points) if len(points) > _MANY else _areas_of_crossing([corners], [ring])[0]
        except shapely.GEOSException:  # no numbers that it can order
            return _sampled_area(points)


def _measure_many(points: Sequence[Sequence[float]]) -> tuple[Iterable[Measured], list[int]]:
    """Return the boxes and areas of rings, as ``enclosing_box`` and :func:`_area_of_one` find them for each.

    With them are the positions of the rings that cross themselves. Nothing when one has numbers that cannot be ordered:
    not finite, or zeros of both signs.
    """
    import shapely  # noqa: PLC0415  as above

    if not points:
        return [], []
    lengths = np.array([len(ring) // 2 for ring in points])
    starts = np.cumsum(lengths) - lengths
    ring_of = np.repeat(np.arange(len(points)), lengths)
    numbers = chain.from_iterable(points)
    corners = np.fromiter(numbers, dtype=np.float64, count=2 * int(lengths.sum())).reshape(-1, 2)
    if not np.isfinite(corners).all() or (np.signbit(corners) & (corners == 0)).any():
        return [], []
    low, high = np.minimum.reduceat(corners, starts), np.maximum.reduceat(corners, starts)
    with np.errstate(all="ignore"):
        try:
            rings: Any = shapely.linearrings(corners, indices=ring_of)
            crossing = np.flatnonzero(~shapely.is_simple(rings))
            parts = [corners[starts[index] :][: lengths[index]] for index in crossing.tolist()]
            crossing_areas = _areas_of_crossing(parts, rings[crossing])
        except shapely.GEOSException:
            return [], []
        # The steps of polygon_area, ring beside ring, in the same order: sums of fractions depend on it.
        x, y = (corners - corners[starts][ring_of]).T
        before = np.arange(-1, len(corners) - 1)
        before[starts] = starts + lengths - 1
        terms = np.zeros((len(points), int(lengths.max())))
        terms[ring_of, np.arange(len(corners)) - starts[ring_of]] = x[before] * y - x * y[before]
        areas = np.abs(np.add.accumulate(terms, axis=1)[:, -1]) / 2
        boxes = np.concatenate((low, high - low), axis=1)
    areas[crossing] = crossing_areas
    return zip(map(_as_box, boxes.tolist()), areas.tolist(), strict=True), crossing.tolist()


def _as_box(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = numbers
    return x, y, width, height


def _areas_of_crossing(corners: Sequence[_Floats], rings: Any) -> list[float]:
    """Return the areas of rings that cross or retrace themselves. Raises GEOSException."""
    import shapely  # noqa: PLC0415  as above

    areas = [0.0] * len(corners)
    if not areas:
        return areas
    faces, ring_of = shapely.get_parts(shapely.polygonize(shapely.node(rings)[:, np.newaxis]), return_index=True)
    inner = shapely.point_on_surface(faces)
    tests = [_even_odd(own) for own in corners]
    columns = (ring_of, shapely.get_x(inner), shapely.get_y(inner), shapely.area(faces))
    for index, x, y, area in zip(*(column.tolist() for column in columns), strict=True):
        if tests[index](x, y):
            areas[index] += area
    return areas


def _even_odd(corners: _Floats) -> Callable[[float, float], bool]:
    """Return a test whether a ray from a place to the right crosses the ring an odd number of times."""
    (x1, y1), (x2, y2) = corners.T, np.concatenate((corners[1:], corners[:1])).T

    def encloses(x: float, y: float) -> bool:
        edges = np.flatnonzero((y1 > y) != (y2 > y))
        left, top, bottom = x1[edges], y1[edges], y2[edges]
        return bool(np.count_nonzero(left + (y - top) * (x2[edges] - left) / (bottom - top) > x) % 2)

    return encloses


def _sampled_area(points: Sequence[float]) -> float:
    left, top, width, height = enclosing_box(points)
    if not (width > 0 and height > 0):
        return 0.0
    scaled = (np.array(points).reshape(-1, 2) - (left, top)) * (_RASTER / width, _RASTER / height)
    inside = fill_rings([scaled.ravel().tolist()], int(_RASTER), int(_RASTER))
    return float(inside.sum()) * width * height / _RASTER**2
