"""The area that readers paint for an outline."""

from collections.abc import Sequence

import numpy as np

from pipeline.images.geometry import polygon_area

_TRIANGLE = 6


def painted_area(points: Sequence[float]) -> float:
    """Return the area in square pixels that a flat ring encloses, even-odd; 0.0 below three points.

    Where a ring crosses or retraces itself, what it goes around an even number of times is outside. That is how
    pycocotools (``frPyObjects``) and OpenCV (``fillPoly``) paint it.
    """
    if len(points) <= _TRIANGLE:
        return polygon_area(points)
    import shapely  # noqa: PLC0415  takes longer to import than a command that draws nothing takes to run

    ring = shapely.linearrings(np.array(points, dtype=np.float64).reshape(-1, 2))
    if shapely.is_simple(ring):
        return polygon_area(points)
    return float(shapely.area(shapely.make_valid(shapely.polygons(ring))))
