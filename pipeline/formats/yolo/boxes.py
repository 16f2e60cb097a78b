"""Label rows of boxes: upright ones (task detect) and turned ones (task obb)."""

import math
from collections.abc import Collection
from typing import Literal

from pipeline.formats import Loss
from pipeline.formats.encoding import has_values
from pipeline.formats.images import PlacedBox, Ring, Size, check_mask, clip_ring, place_box, place_outline
from pipeline.formats.keypoints import find_instances, find_rectangle
from pipeline.formats.yolo.rows import (
    Rows,
    centre_and_length,
    describe_plain_box,
    format_ring,
    place_ring,
    report_changes,
)
from pipeline.images.geometry import clip_box, corners, enclosing_box
from pipeline.images.masks import box_around
from pipeline.model.catalog import Catalog
from pipeline.model.trees import KEYPOINTS, SHAPES, TreeClasses
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, Point, Polygon, Sample, Shape

Enclosed = Literal["polygon", "mask", "keypoints"]
"""What a box can be drawn around: a line is left out, because the box around one is hardly of it, or has no height."""

_DETECT_ROW = b"%d %.6f %.6f %.6f %.6f\n"


def render_detect(
    sample: Sample, size: Size, catalog: Catalog, classes: TreeClasses, boxes_from: Collection[Enclosed] = ()
) -> Rows:
    """Return ``class x_center y_center width height`` for each box, in fractions of the image's sides.

    ``classes`` are those of the tree. A shape in ``boxes_from`` has a row too, of the box around it.
    """
    width, height = size
    index_of, numbers = catalog.class_of_label.get, classes.numbers
    losses: list[Loss] = []
    rows: list[float] = []
    for annotation in sample.annotations:
        shape = annotation.shape
        if not isinstance(shape, Box) and SHAPES[type(shape)] not in boxes_from:
            if KEYPOINTS not in boxes_from or not isinstance(shape, Point):  # those of a skeleton have one box: below
                losses.append(Loss(annotation.id, "skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE))
            continue
        if index_of(annotation.label) is None:
            losses.append(Loss(annotation.id, "skipped", Reason.CLASS_DROPPED))
            continue
        plain = describe_plain_box(shape, width, height) if isinstance(shape, Box) else None
        if plain:
            across, share, down, part = plain
            rows += (numbers[annotation.label], across, down, share, part)
            if annotation.attributes and has_values(annotation.attributes):
                losses.append(Loss(annotation.id, "lossy", Reason.CUSTOM_ATTRIBUTES_DROPPED))
            continue
        placed = place_box(shape, width, height) if isinstance(shape, Box) else _enclose(shape, size, catalog.masks)
        if not isinstance(placed, tuple):
            losses.append(Loss(annotation.id, "skipped", placed or Reason.OUTSIDE_IMAGE))
            continue
        x, y, box_width, box_height, changes = placed
        across, share = centre_and_length(x, box_width, width)
        down, part = centre_and_length(y, box_height, height)
        rows += (numbers[annotation.label], across, down, share, part)
        if changes or annotation.attributes:
            losses += report_changes(annotation, changes)
    if KEYPOINTS in boxes_from:
        found, lost = _boxes_of_keypoints(sample, size, catalog, classes)
        rows += found
        losses += lost
    return _DETECT_ROW * (len(rows) // 5) % tuple(rows), losses


def _enclose(shape: Shape, size: Size, masks: str) -> PlacedBox | Reason:
    """Return the box around the part of a polygon or mask inside the image, or why there is none."""
    if isinstance(shape, Polygon):
        if not math.isfinite(sum(shape.points)):
            return Reason.INVALID_POLYGON
        placed = place_outline(shape.points, size)
        if isinstance(placed, Reason):
            return placed
        return (*placed.bbox, (Reason.SHAPE_ENCLOSED, *placed.changes))
    if not isinstance(shape, Mask):
        return Reason.UNSUPPORTED_ANNOTATION_TYPE
    if masks != "instance":
        return Reason.SEGMENTATION_EXCLUDED if masks == "exclude" else Reason.SEMANTIC_SEGMENTATION_UNSUPPORTED
    changes = check_mask(shape, size)
    return (
        (*box_around(shape.runs, size[0]), (Reason.SHAPE_ENCLOSED, *changes)) if isinstance(changes, tuple) else changes
    )


def _boxes_of_keypoints(
    sample: Sample, size: Size, catalog: Catalog, classes: TreeClasses
) -> tuple[list[float], list[Loss]]:
    """Return the numbers of the rows around objects made of keypoints, and the losses of all keypoints.

    An object whose group has a box has a row already.
    """
    instances, losses = find_instances(sample, catalog)
    annotations = sample.annotations
    boxed = {
        item.group
        for item in annotations
        if isinstance(item.shape, Box) and catalog.class_index(item.label) is not None
    }
    rows: list[float] = []
    for instance in instances:
        own = [annotations[position] for position in instance.annotations]
        found = find_rectangle(instance, *size)
        placed = found and clip_box(*found, *size)
        if own[0].group in boxed or placed is None or found is None:
            is_boxed = own[0].group in boxed
            reason = Reason.UNSUPPORTED_ANNOTATION_TYPE if is_boxed else Reason.OUTSIDE_IMAGE
            losses += [Loss(item.id, "skipped", reason) for item in own]
            continue
        (across, width), (down, height) = (
            centre_and_length(start, length, side)
            for start, length, side in zip(placed[:2], placed[2:], size, strict=True)
        )
        rows += (classes.names.index(instance.label), across, down, width, height)
        changes = (Reason.SHAPE_ENCLOSED, Reason.CLIPPED_TO_IMAGE) if placed != found else (Reason.SHAPE_ENCLOSED,)
        for item in own:
            losses += report_changes(item, changes)
    return rows, losses


def render_obb(sample: Sample, size: Size, catalog: Catalog, classes: TreeClasses) -> Rows:
    """Return ``class x1 y1 … x4 y4`` for each box: its corners, clockwise, in fractions of the image's sides."""
    losses: list[Loss] = []
    rows: list[bytes] = []
    for annotation in sample.annotations:
        box = annotation.shape
        if not isinstance(box, Box):
            losses.append(Loss(annotation.id, "skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE))
            continue
        if catalog.class_index(annotation.label) is None:
            losses.append(Loss(annotation.id, "skipped", Reason.CLASS_DROPPED))
            continue
        found = _place_corners(box, size)
        if isinstance(found, Reason):
            losses.append(Loss(annotation.id, "skipped", found))
            continue
        ring, changes = found
        row = format_ring(classes.numbers[annotation.label], ring, size)
        if row is None:
            losses.append(Loss(annotation.id, "skipped", Reason.INVALID_BOUNDING_BOX))
            continue
        rows.append(row)
        losses += report_changes(annotation, changes)
    return b"".join(rows), losses


def _place_corners(box: Box, size: Size) -> tuple[Ring, tuple[Reason, ...]] | Reason:
    if not box.rotation:
        return place_ring(box, size) or Reason.OUTSIDE_IMAGE
    ring = corners(box)
    if not math.isfinite(sum(ring)):
        return Reason.INVALID_BOUNDING_BOX
    clipped = clip_ring(ring, size)
    if clipped is None:
        return Reason.OUTSIDE_IMAGE
    inside, cut = clipped
    if not cut:
        return inside, ()
    # Ultralytics takes the smallest rectangle around the four points. Of all such rectangles inside the image, the
    # one of the same angle around the part inside comes closest to that part (docs/formats/yolo.md).
    sine, cosine = math.sin(box.rotation), math.cos(box.rotation)
    pairs = list(zip(inside[0::2], inside[1::2], strict=True))
    upright = [number for x, y in pairs for number in (x * cosine + y * sine, y * cosine - x * sine)]
    left, top, across, down = enclosing_box(upright)
    tight: list[float] = []
    for x, y in ((left, top), (left + across, top), (left + across, top + down), (left, top + down)):
        tight.append(min(max(x * cosine - y * sine, 0.0), size[0]))
        tight.append(min(max(x * sine + y * cosine, 0.0), size[1]))
    return tight, (Reason.CLIPPED_TO_IMAGE,)
