"""What formats for images share: which samples they can use, and how shapes are cut at the border of the image."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.formats import Loss
from pipeline.images.geometry import clip_box, corners, enclosing_box
from pipeline.images.masks import MaskError, Rle, check_runs, coco_rle
from pipeline.images.painting import measured_outline, painted_area
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, NumberedSample, Point, Sample

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
    if sample.left_out:
        return skip_sample(sample, sample.left_out)
    if sample.kind == "image":
        reason = Reason.SOURCE_IMAGE_INVALID
    elif sample.kind == "document":
        reason = Reason.UNSUPPORTED_DOCUMENT
    else:
        reason = Reason.UNSUPPORTED_MEDIA
    return skip_sample(sample, reason)


def skip_sample(sample: Sample, reason: str) -> list[Loss]:
    """Return the losses of a sample that a format leaves out: one for the sample, one for each annotation."""
    return [Loss(identity, "skipped", reason) for identity in ("", *(item.id for item in sample.annotations))]


def missing_original(sample: NumberedSample) -> list[Loss]:
    """Return the loss of a format that writes a sample although readers will miss its image, none for other samples."""
    return [Loss("", "lossy", Reason.ORIGINAL_MISSING)] if sample.is_original_missing else []


def check_mask(mask: Mask, size: Size) -> tuple[Reason, ...] | Reason:
    """Return how a mask was changed for an image of this size, or the reason why nothing of it can be drawn there."""
    try:
        check_runs(mask.runs, *size)
    except MaskError:
        return Reason.INVALID_MASK_ENCODING
    if not mask.runs:
        return Reason.OUTSIDE_IMAGE if mask.is_cut else Reason.INVALID_MASK_ENCODING
    return (Reason.CLIPPED_TO_IMAGE,) if mask.is_cut else ()


def encode_mask(mask: Mask, size: Size) -> tuple[Rle, tuple[Reason, ...]] | Reason:
    """Return a mask as COCO writes it and how it was changed, or the reason why it cannot be written."""
    changes = check_mask(mask, size)
    if not isinstance(changes, tuple):
        return changes
    try:
        return coco_rle(mask.runs, *size), changes
    except MaskError:  # noise with more changes than an encoding may have
        return Reason.INVALID_MASK_ENCODING


def dropped_groups(sample: Sample, losses: Iterable[Loss]) -> list[Loss]:
    """Return the losses of a format that cannot say that several shapes belong together.

    One for each shape whose group has another one in the sample. ``losses`` are those of the format itself: what it
    skips is not reported again. The points of a skeleton are not counted, because they are one object or none.
    """
    groups = Counter(item.group for item in sample.annotations if item.group and not isinstance(item.shape, Point))
    if not any(number > 1 for number in groups.values()):
        return []
    skipped = {loss.annotation_id for loss in losses if loss.outcome == "skipped"}
    return [
        Loss(item.id, "lossy", Reason.GROUP_DROPPED)
        for item in sample.annotations
        if groups[item.group] > 1 and not isinstance(item.shape, Point) and item.id not in skipped
    ]


def count_files(images: int, images_per_file: int) -> int:
    """Return how many files hold ``images`` images, ``images_per_file`` in each: at least one."""
    return max(1, -(-images // images_per_file))


def place_box(box: Box, width: int, height: int) -> PlacedBox | None:
    """Return the upright rectangle that stands for a box in an image of ``width`` x ``height`` pixels.

    The part outside the image is cut off, and a turned box becomes the rectangle around what is left. None when nothing
    is left, or a sliver no thicker than :data:`TOLERANCE`. A cut of up to that much is not reported as a change.
    """
    x, y, box_width, box_height = box.x, box.y, box.width, box.height
    if box.rotation:
        (x, y, box_width, box_height), turned = _enclose(box)
        if turned:
            placed = place_turned_box(box, (width, height))
            return None if isinstance(placed, Reason) else (*placed.bbox, placed.changes)
    if x >= 0 and y >= 0 and x + box_width <= width and y + box_height <= height:
        return x, y, box_width, box_height, ()
    cut = max(-x, -y, x + box_width - width, y + box_height - height)
    clipped = clip_box(x, y, box_width, box_height, width, height)
    if clipped is None or (cut > TOLERANCE and min(clipped[2], clipped[3]) <= TOLERANCE):
        return None
    return (*clipped, (Reason.CLIPPED_TO_IMAGE,) if cut > TOLERANCE else ())


class PlacedOutline(NamedTuple):
    """The part of an outline inside an image: its ring, the box around it, and the area that readers paint for it."""

    ring: Ring
    bbox: Rectangle
    area: float
    changes: tuple[Reason, ...]


def place_outline(points: Ring, size: Size) -> PlacedOutline | Reason:
    """Return the part of an outline inside an image of this size, or the reason why nothing of it can be drawn.

    An outline may cross itself: what counts is what readers paint (:func:`pipeline.images.painting.painted_area`).
    """
    measured = measured_outline(points)
    if measured and measured[1] > 0 and _reach_outside(measured[0], size) <= 0:
        return PlacedOutline(points, *measured, ())
    bbox = enclosing_box(points)
    if _reach_outside(bbox, size) <= 0:
        ring, is_cut = points, False
    else:
        clipped = clip_ring(points, size)
        if clipped is None:
            return Reason.OUTSIDE_IMAGE if painted_area(points) > 0 else Reason.INVALID_POLYGON
        ring, is_cut = clipped
        bbox = enclosing_box(ring)
    area = painted_area(ring)
    if not area > 0:
        return Reason.OUTSIDE_IMAGE if is_cut and painted_area(points) > 0 else Reason.INVALID_POLYGON
    return PlacedOutline(ring, bbox, area, (Reason.CLIPPED_TO_IMAGE,) if is_cut else ())


def place_turned_box(box: Box, size: Size) -> PlacedOutline | Reason:
    """Return what :func:`place_outline` does for the corners of a box; the rectangle around them is a change of it."""
    placed = place_outline(corners(box), size)
    if isinstance(placed, Reason):
        return placed
    area = placed.area if placed.changes else box.width * box.height
    return placed._replace(area=area, changes=(Reason.ROTATION_ENCLOSED, *placed.changes))


def clip_ring(ring: Ring, size: Size) -> tuple[Ring, bool] | None:
    """Return the part of a ring inside the image, and whether more than :data:`TOLERANCE` was cut off.

    This is the algorithm of Sutherland and Hodgman: parts that a cut separates stay joined by edges along the border,
    so the result is one ring. Edges along the border that lead to no part are left out. None when nothing is left, or a
    sliver no thicker than the tolerance.
    """
    width, height = map(float, size)
    cut = _reach_outside(enclosing_box(ring), size)
    if cut <= 0:
        return ring, False
    if cut > TOLERANCE:
        points = list(zip(ring[0::2], ring[1::2], strict=True))
        for axis, limit, sign in ((0, 0.0, 1), (1, 0.0, 1), (0, width, -1), (1, height, -1)):
            points = _cut(points, axis, limit, sign)
        points = _without_spurs(points, size)
        ring = [number for point in points for number in point]
        if not ring or min(enclosing_box(ring)[2:]) <= TOLERANCE:
            return None
    inside = [0.0] * len(ring)
    inside[0::2] = [min(max(x, 0.0), width) for x in ring[0::2]]
    inside[1::2] = [min(max(y, 0.0), height) for y in ring[1::2]]
    return inside, cut > TOLERANCE


def is_turned(box: Box) -> bool:
    """Tell whether the box covers another area than the upright rectangle around it.

    It covers the same area after a turn by a multiple of 90 degrees, or by so little that no side moves by more than
    :data:`TOLERANCE`: tools store full turns, and rotations of 1e-9 for boxes that were never turned on purpose.
    """
    return bool(box.rotation) and _enclose(box)[1]


def _reach_outside(box: Rectangle, size: Size) -> float:
    """Return how many pixels a box reaches over the border of an image; not positive for one inside."""
    left, top, across, down = box
    return max(-left, -top, left + across - size[0], top + down - size[1])


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


def _without_spurs(points: list[tuple[float, float]], size: Size) -> list[tuple[float, float]]:
    """Return a ring without points at the border from which it goes straight back along the border."""
    position = checked = 0
    while checked < len(points) > 2:
        position %= len(points)
        following = (position + 1) % len(points)
        if not _goes_back(points[position - 1], points[position], points[following], size):
            position, checked = position + 1, checked + 1
            continue
        is_same = points[position - 1] == points[following]
        for index in sorted((position, following) if is_same else (position,), reverse=True):
            del points[index]
        position, checked = position - 1, max(checked - 1, 0)
    return points if len(points) > 2 else []


def _goes_back(before: tuple[float, float], here: tuple[float, float], after: tuple[float, float], size: Size) -> bool:
    for axis in (0, 1):
        if before[axis] == here[axis] == after[axis] and here[axis] in (0, size[axis]):
            return (here[1 - axis] - before[1 - axis]) * (after[1 - axis] - here[1 - axis]) < 0
    return False
