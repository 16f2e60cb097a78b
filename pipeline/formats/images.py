"""What formats for images share: which samples they can use, and how shapes are cut at the border of the image."""

from collections.abc import Sequence

from pipeline.formats import Loss
from pipeline.images.geometry import clip_box, corners, enclosing_box, polygon_area
from pipeline.images.masks import MaskError, Rle, coco_rle
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, Sample

TOLERANCE = 1e-3
"""Pixels. Smaller differences are floating-point noise of the annotation tool: corrected, but not reported."""

type Size = tuple[int, int]
"""Width and height of an image in pixels."""

type Ring = Sequence[float]
"""A flat ring in pixels, ``(x1, y1, x2, y2, …)``, the first point not repeated."""

type Rectangle = tuple[float, float, float, float]
"""An upright rectangle in pixels: ``x, y, width, height``."""

type PlacedBox = tuple[float, float, float, float, tuple[Reason, ...]]
"""An upright rectangle inside an image, ``x, y, width, height`` in pixels, and how the box was changed for it."""


def image_size(sample: Sample) -> tuple[int, int] | None:
    """Return width and height in pixels of the sample's image; None when formats for images cannot use the sample."""
    if sample.has_image and sample.width and sample.height:
        return sample.width, sample.height
    return None


def without_image(sample: Sample) -> list[Loss]:
    """Return the losses of a sample that formats for images cannot use: one for the sample, one for each annotation."""
    if sample.kind == "image":
        reason = Reason.SOURCE_IMAGE_INVALID
    elif sample.kind == "document":
        reason = Reason.UNSUPPORTED_DOCUMENT
    else:
        reason = Reason.UNSUPPORTED_MEDIA
    return [Loss(identity, "skipped", reason) for identity in ("", *(item.id for item in sample.annotations))]


def encode_mask(mask: Mask, size: Size) -> Rle | None:
    """Return a mask as COCO writes it; None when it is empty or does not fit an image of this size."""
    try:
        rle = coco_rle(mask.runs, *size)
    except MaskError:
        return None
    return rle if rle.area else None


def count_files(images: int, images_per_file: int) -> int:
    """Return how many files hold ``images`` images, ``images_per_file`` in each: at least one."""
    return max(1, -(-images // images_per_file))


def place_box(box: Box, width: int, height: int) -> PlacedBox | None:
    """Return the upright rectangle that stands for a box in an image of ``width`` x ``height`` pixels.

    A turned box becomes its enclosing rectangle, and the part outside the image is cut off. None when nothing is left,
    or a sliver no thicker than :data:`TOLERANCE`. A cut of up to that much is not reported as a change.
    """
    x, y, box_width, box_height = box.x, box.y, box.width, box.height
    changes: tuple[Reason, ...] = ()
    if box.rotation:
        (x, y, box_width, box_height), turned = _enclose(box)
        changes = (Reason.ROTATION_ENCLOSED,) if turned else ()
    if x >= 0 and y >= 0 and x + box_width <= width and y + box_height <= height:
        return x, y, box_width, box_height, changes
    cut = max(-x, -y, x + box_width - width, y + box_height - height)
    clipped = clip_box(x, y, box_width, box_height, width, height)
    if clipped is None or (cut > TOLERANCE and min(clipped[2], clipped[3]) <= TOLERANCE):
        return None
    if changes and is_outside(corners(box), (width, height)):  # only the corner of the rectangle around it is inside
        return None
    return (*clipped, (*changes, Reason.CLIPPED_TO_IMAGE) if cut > TOLERANCE else changes)


def clip_ring(ring: Ring, size: Size) -> tuple[Ring, bool] | None:
    """Return the part of a ring inside the image, and whether more than :data:`TOLERANCE` was cut off.

    This is the algorithm of Sutherland and Hodgman: parts that a cut separates stay joined by edges along the border,
    so the result is one ring. None when nothing is left, or a sliver no thicker than the tolerance.
    """
    width, height = size
    left, top, across, down = enclosing_box(ring)
    cut = max(-left, -top, left + across - width, top + down - height)
    if cut <= 0:
        return ring, False
    if cut > TOLERANCE:
        points = list(zip(ring[0::2], ring[1::2], strict=True))
        for axis, limit, sign in ((0, 0, 1), (1, 0, 1), (0, width, -1), (1, height, -1)):
            points = _cut(points, axis, limit, sign)
        ring = [number for point in points for number in point]
        if not ring or min(enclosing_box(ring)[2:]) <= TOLERANCE:
            return None
    inside = [0.0] * len(ring)
    inside[0::2] = [min(max(x, 0.0), width) for x in ring[0::2]]
    inside[1::2] = [min(max(y, 0.0), height) for y in ring[1::2]]
    return inside, cut > TOLERANCE


def is_outside(ring: Ring, size: Size) -> bool:
    """Tell whether no part of a ring lies inside the image, or only a sliver of :data:`TOLERANCE`."""
    clipped = clip_ring(ring, size)
    return clipped is None or not polygon_area(clipped[0]) > 0


def is_turned(box: Box) -> bool:
    """Tell whether the box covers another area than the upright rectangle around it.

    It covers the same area after a turn by a multiple of 90 degrees, or by so little that no side moves by more than
    :data:`TOLERANCE`: tools store full turns, and rotations of 1e-9 for boxes that were never turned on purpose.
    """
    return bool(box.rotation) and _enclose(box)[1]


def _enclose(box: Box) -> tuple[Rectangle, bool]:
    """Return the rectangle around a box, and whether it covers another area; after a half turn it is the box itself."""
    rectangle = enclosing_box(corners(box))
    _, _, width, height = rectangle
    if abs(width - box.width) <= TOLERANCE and abs(height - box.height) <= TOLERANCE:
        return (box.x, box.y, box.width, box.height), False
    return rectangle, abs(width - box.height) > TOLERANCE or abs(height - box.width) > TOLERANCE


def _cut(points: list[tuple[float, float]], axis: int, limit: float, sign: int) -> list[tuple[float, float]]:
    """Return the part of a ring on one side of a line: where ``sign * (point[axis] - limit)`` is not negative."""
    kept: list[tuple[float, float]] = []
    for before, here in zip(points[-1:] + points[:-1], points, strict=True):
        from_before, from_here = sign * (before[axis] - limit), sign * (here[axis] - limit)
        if (from_before < 0) != (from_here < 0):
            share = from_before / (from_before - from_here)
            across = before[1 - axis] + (here[1 - axis] - before[1 - axis]) * share
            kept.append((across, limit) if axis else (limit, across))
        if from_here >= 0:
            kept.append(here)
    return kept
