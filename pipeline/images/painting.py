"""The area that readers paint for an outline."""

from collections.abc import Callable, Sequence
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
    import shapely  # noqa: PLC0415  takes longer to import than a command that draws nothing takes to run

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
