"""Annotations and masks by hand, for tests of formats."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.records import Annotation, Box, Mask, Point, Polygon

type Bitmap = npt.NDArray[np.uint8]
"""Pixels of shape (height, width): 0 outside, another number inside."""


def ring(width: int, height: int) -> Bitmap:
    """Return a bitmap with a rectangle that has a hole, a second rectangle, and two corner pixels."""
    bitmap = np.zeros((height, width), dtype=np.uint8)
    bitmap[10:30, 20:60] = 1
    bitmap[15:20, 30:50] = 0
    bitmap[35:40, 5:9] = 1
    bitmap[0, 0] = bitmap[-1, -1] = 1
    return bitmap


def mask(bitmap: Bitmap) -> Mask:
    """Return the mask of a bitmap; its runs are found pixel by pixel."""
    runs: list[list[int]] = []
    for index in np.flatnonzero(bitmap).tolist():
        if runs and sum(runs[-1]) == index:
            runs[-1][1] += 1
        else:
            runs.append([index, 1])
    return Mask(np.array(runs, dtype="<i8").tobytes())


def bitmap_of(shape: Mask, width: int, height: int) -> Bitmap:
    """Return the bitmap of a mask, painted run by run."""
    bitmap = np.zeros(width * height, dtype=np.uint8)
    for start, length in np.frombuffer(shape.runs, "<i8").reshape(-1, 2).tolist():
        bitmap[start : start + length] = 1
    return bitmap.reshape(height, width)


def rectangles(*boxes: tuple[int, int, int, int, int]) -> Bitmap:
    """Return a bitmap of 60 x 40 pixels with rectangles of ``left, top, right, bottom, value``, painted in order."""
    bitmap = np.zeros((40, 60), dtype=np.uint8)
    for left, top, right, bottom, value in boxes:
        bitmap[top:bottom, left:right] = value
    return bitmap


def box(
    identity: str, label: str, x: float, y: float, width: float, height: float, rotation: float = 0.0, **attributes: Any
) -> Annotation:
    """Return an annotation with a box, and with these attributes."""
    return Annotation(identity, "bounding_box", label, Box(x, y, width, height, rotation), attributes)


def polygon(identity: str, label: str, *points: float) -> Annotation:
    """Return an annotation with a polygon of ``x1, y1, x2, y2, …``."""
    return Annotation(identity, "polygon", label, Polygon(tuple(map(float, points))))


def point(identity: str, label: str, x: float, y: float, visibility: int = 2, group: str = "") -> Annotation:
    """Return an annotation with a keypoint of a group."""
    return Annotation(identity, "keypoint", label, Point(float(x), float(y), visibility), group=group)
