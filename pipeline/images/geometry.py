"""Plane geometry of annotations: pure functions on pixel coordinates, y downwards, nothing rounded.

Points are flat, ``(x1, y1, x2, y2, …)``, as in the shapes of :mod:`pipeline.records`.
"""

import math
from collections.abc import Sequence

from pipeline.records import Box

# Assumption: a rotated box turns about its centre. Neither the Synapse SDK nor DM Schema says where the pivot is. The
# values are fractions of width and height: (0.5, 0.5) is the centre, (0.0, 0.0) would be the top left corner.
ROTATION_PIVOT = (0.5, 0.5)


def corners(box: Box) -> tuple[float, ...]:
    """Return the four corners as 8 floats, clockwise on the screen from the one that is top left without rotation.

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


def enclosing_box(points: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the smallest upright box ``(x, y, width, height)`` around one or more flat points."""
    across, down = points[0::2], points[1::2]
    left, top = min(across), min(down)
    return (left, top, max(across) - left, max(down) - top)


def polygon_area(points: Sequence[float]) -> float:
    """Return the area of a flat ring in square pixels (shoelace formula), never negative; 0.0 below three points.

    For a ring that crosses itself this is the absolute sum of its signed parts.
    """
    if len(points) < 6:
        return 0.0
    # Relative to the first point, because large coordinates would cancel badly.
    origin_x, origin_y = points[0], points[1]
    twice = 0.0
    previous_x = points[-2] - origin_x
    previous_y = points[-1] - origin_y
    numbers = iter(points)
    for x, y in zip(numbers, numbers, strict=True):
        across, down = x - origin_x, y - origin_y
        twice += previous_x * down - across * previous_y
        previous_x, previous_y = across, down
    return abs(twice) / 2


def clip_box(
    x: float, y: float, box_width: float, box_height: float, width: float, height: float
) -> tuple[float, float, float, float] | None:
    """Return the part of an upright box inside an image of ``width`` x ``height``, or None if nothing remains.

    The numbers of a box that lies inside are returned unchanged.
    """
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = x + box_width, y + box_height
    clipped_width = box_width if left == x and right <= width else min(right, width) - left
    clipped_height = box_height if top == y and bottom <= height else min(bottom, height) - top
    if not (clipped_width > 0 and clipped_height > 0):
        return None
    return (left, top, clipped_width, clipped_height)
