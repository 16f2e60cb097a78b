"""The area that readers paint for an outline."""

import math
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


def painted_area(points: Sequence[float]) -> float:
    """Return the area in square pixels that a flat ring encloses, even-odd; 0.0 below three points.

    Where a ring crosses or retraces itself, what it goes around an even number of times is outside. That is how
    pycocotools (``frPyObjects``) and OpenCV (``fillPoly``) paint it. Of a ring that crosses itself and has very many
    points, the area is that of 1,024 x 1,024 samples.
    """
    if len(points) <= _TRIANGLE:
        return polygon_area(points)
    together = _together.get()
    found = together.find(points) if together is not None else None
    return _area_of_one(points) if found is None else found


@contextmanager
def measured_together(rings: Iterable[Sequence[float]]) -> Iterator[None]:
    """Let :func:`painted_area` measure these rings together, once it is asked for one of them inside the block.

    For rings of the usual size that takes half the time. The areas are the same, to the last bit.
    """
    token = _together.set(_Together(rings))
    try:
        yield
    finally:
        _together.reset(token)


class _Together:
    """Rings by their identity, and the areas of those that do not cross themselves."""

    def __init__(self, rings: Iterable[Sequence[float]]) -> None:
        # Holding the rings makes sure that nothing else gets the identity of one.
        self._rings = {id(ring): ring for ring in rings if _TRIANGLE < len(ring) <= _MANY}
        self._areas: dict[int, float] | None = None

    def find(self, ring: Sequence[float]) -> float | None:
        """Return the area of one of the rings, or None where it has to be measured alone."""
        if self._areas is None:
            areas = zip(self._rings, _areas_of_simple(list(self._rings.values())), strict=True)
            self._areas = {identity: area for identity, area in areas if not math.isnan(area)}
        return self._areas.get(id(ring))


_together: ContextVar[_Together | None] = ContextVar("rings measured together", default=None)


def _areas_of_simple(rings: Sequence[Sequence[float]]) -> list[float]:
    """Return :func:`polygon_area` of each ring, and NaN for rings that cross themselves; all have three points."""
    import shapely  # noqa: PLC0415  takes longer to import than a command that draws nothing takes to run

    if not rings:
        return []
    lengths = np.array([len(ring) // 2 for ring in rings])
    ends = np.cumsum(lengths)
    starts = ends - lengths
    ring_of = np.repeat(np.arange(len(rings)), lengths)
    corners = np.array(list(chain.from_iterable(rings)), dtype=np.float64).reshape(-1, 2)
    with np.errstate(all="ignore"):
        try:
            is_simple = shapely.is_simple(shapely.linearrings(corners, indices=ring_of))
        except shapely.GEOSException:  # numbers that it cannot order in one of them
            return [math.nan] * len(rings)
        # The steps of polygon_area, ring beside ring, in the same order: sums of fractions depend on it.
        x, y = (corners - corners[starts][ring_of]).T
        before = np.arange(-1, len(corners) - 1)
        before[starts] = ends - 1
        terms = np.zeros((len(rings), int(lengths.max())))
        terms[ring_of, np.arange(len(corners)) - starts[ring_of]] = x[before] * y - x * y[before]
        twice = np.add.accumulate(terms, axis=1)[:, -1]
        areas: list[float] = np.where(is_simple, np.abs(twice) / 2, math.nan).tolist()
        return areas


def _area_of_one(points: Sequence[float]) -> float:
    import shapely  # noqa: PLC0415  as above

    corners = np.array(points, dtype=np.float64).reshape(-1, 2)
    with np.errstate(all="ignore"):  # numbers next to zero, whose differences cannot be divided by
        try:
            ring = shapely.linearrings(corners)
            if shapely.is_simple(ring):
                return polygon_area(points)
            if len(points) > _MANY:
                return _sampled_area(points)
            edges: Any = shapely.node(ring)
            faces = shapely.get_parts(shapely.polygonize([edges]))
            inner = shapely.point_on_surface(faces)
        except shapely.GEOSException:  # no numbers that it can order
            return _sampled_area(points)
        encloses = _even_odd(corners)
        areas = zip(shapely.area(faces), shapely.get_coordinates(inner).tolist(), strict=True)
        return float(sum(area for area, place in areas if encloses(*place)))


def _even_odd(corners: npt.NDArray[np.float64]) -> Callable[[float, float], bool]:
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
