"""The pixels of masks and polygons, as windows of an image."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.images.masks import MAX_PIXELS, bitmap_from_runs, check_runs
from pipeline.images.rings import fill_rings


class Region(NamedTuple):
    """The pixels of an annotation: ``inside`` is a window of the image, shape (rows, columns), at ``left, top``."""

    left: int
    top: int
    inside: npt.NDArray[np.bool_]

    def of(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the same window of a plane of the whole image, shape (height, width), as a view."""
        rows, columns = self.inside.shape
        return plane[self.top : self.top + rows, self.left : self.left + columns]


def mask_region(runs: bytes, width: int, height: int) -> Region | None:
    """Return the pixels of a mask, or None when it has none.

    Raises MaskError as :func:`pipeline.images.masks.check_runs` does.
    """
    check_runs(runs, width, height)
    pairs = np.frombuffer(runs, dtype="<i8").reshape(-1, 2)
    if not pairs.size:
        return None
    top, bottom = int(pairs[0, 0]) // width, (int(pairs[-1].sum()) - 1) // width + 1
    return Region(0, top, bitmap_from_runs((pairs - (top * width, 0)).tobytes(), width, bottom - top).view(np.bool_))


def polygon_region(points: Sequence[float], width: int, height: int) -> Region | None:
    """Return the pixels whose centres a polygon encloses; None for no pixels, or an image too large to be painted."""
    if width * height > MAX_PIXELS:
        return None
    across, down = points[0::2], points[1::2]
    left, right = max(int(min(across)), 0), min(int(max(across)) + 1, width)
    top, bottom = max(int(min(down)), 0), min(int(max(down)) + 1, height)
    if left >= right or top >= bottom:
        return None
    moved = np.array(points) - np.tile((left, top), len(across))
    inside = fill_rings([moved.tolist()], right - left, bottom - top).view(np.bool_)
    return Region(left, top, inside) if inside.any() else None
