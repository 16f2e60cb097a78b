"""Plane geometry of annotations: pure functions on pixels, y downwards, nothing rounded.

Points are flat, ``(x1, y1, x2, y2, …)``, as the shapes of :mod:`pipeline.records` hold them.
"""

import math
from collections.abc import Sequence

from pipeline.records import Box

# Assumption: a rotated box turns about its centre. Neither the Synapse SDK nor DM Schema says where the pivot is;
# (0.5, 0.5) is the centre, (0.0, 0.0) would be the top left corner, both as fractions of width and height.
ROTATION_PIVOT = (0.5, 0.5)


def corners(box: Box) -> tuple[float, ...]:
    """The four corners, 8 floats, clockwise on the screen from the corner that is top left without rotation.

    A positive ``rotation`` (radians) turns clockwise on the screen, because y grows downwards; the pivot is
    :data:`ROTATION_PIVOT`.
    """
    left, top, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    if not box.rotation:
        return (left, top, right, top, right, bottom, left, bottom)
    pivot_x = box.x + box.width * ROTATION_PIVOT[0]
    pivot_y = box.y + box.height * ROTATION_PIVOT[1]
    sine, cosine = math.sin(box.rotation), math.cos(box.rotation)
    turned: list[float] = []
    for x, y in ((left, top), (right, top), (right, bottom), (left, bottom)):
        across, down = x - pivot_x, y - pivot_y
        turned += (pivot_x + across * cosine - down * sine, pivot_y + across * sine + down * cosine)
    return tuple(turned)


def enclosing(points: Sequence[float]) -> tuple[float, float, float, float]:
    """The smallest upright ``(x, y, width, height)`` around at least one flat point."""
    across, down = points[0::2], points[1::2]
    left, top = min(across), min(down)
    return (left, top, max(across) - left, max(down) - top)


def polygon_area(points: Sequence[float]) -> float:
    """The area of a flat ring in square pixels (shoelace formula), never negative; 0.0 below three points.

    A ring that crosses itself gives the absolute sum of its signed parts.
    """
    if len(points) < 6:
        return 0.0
    # Relative to the first point: large coordinates would otherwise cancel badly.
    origin_x, origin_y = points[0], points[1]
    twice = 0.0
    previous_x = points[-2] - origin_x
    previous_y = points[-1] - origin_y
    for x, y in zip(points[0::2], points[1::2], strict=True):
        across, down = x - origin_x, y - origin_y
        twice += previous_x * down - across * previous_y
        previous_x, previous_y = across, down
    return abs(twice) / 2


def clip_box(
    x: float, y: float, box_width: float, box_height: float, width: float, height: float
) -> tuple[float, float, float, float] | None:
    """The part of an upright box inside an image of ``width`` x ``height``, or None when nothing remains.

    A box that needs no cut comes back with the very same numbers.
    """
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = x + box_width, y + box_height
    clipped_width = box_width if left == x and right <= width else min(right, width) - left
    clipped_height = box_height if top == y and bottom <= height else min(bottom, height) - top
    if not (clipped_width > 0 and clipped_height > 0):
        return None
    return (left, top, clipped_width, clipped_height)
