"""Label rows of boxes: upright ones (task detect) and turned ones (task obb)."""

import math

from pipeline.formats import Loss
from pipeline.formats.images import Ring, Size, clip_ring, place_box
from pipeline.formats.yolo.rows import Rows, centre_and_length, format_ring, place_ring, report_changes
from pipeline.images.geometry import corners, enclosing_box
from pipeline.model.catalog import Catalog
from pipeline.reasons import Reason
from pipeline.records import Box, Sample

_DETECT_ROW = b"%d %.6f %.6f %.6f %.6f\n"


def render_detect(sample: Sample, size: Size, catalog: Catalog) -> Rows:
    """Return ``class x_center y_center width height`` for each box, in fractions of the image's sides."""
    width, height = size
    index_of = catalog.class_of_label.get
    losses: list[Loss] = []
    rows: list[float] = []
    for annotation in sample.annotations:
        box = annotation.shape
        if not isinstance(box, Box):
            losses.append(Loss(annotation.id, "skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE))
            continue
        index = index_of(annotation.label)
        if index is None:
            losses.append(Loss(annotation.id, "skipped", Reason.CLASS_DROPPED))
            continue
        placed = place_box(box, width, height)
        if placed is None:
            losses.append(Loss(annotation.id, "skipped", Reason.OUTSIDE_IMAGE))
            continue
        x, y, box_width, box_height, changes = placed
        across, share = centre_and_length(x, box_width, width)
        down, part = centre_and_length(y, box_height, height)
        rows += (index, across, down, share, part)
        if changes or annotation.attributes:
            losses += report_changes(annotation, changes)
    return _DETECT_ROW * (len(rows) // 5) % tuple(rows), losses


def render_obb(sample: Sample, size: Size, catalog: Catalog) -> Rows:
    """Return ``class x1 y1 … x4 y4`` for each box: its corners, clockwise, in fractions of the image's sides."""
    losses: list[Loss] = []
    rows: list[bytes] = []
    for annotation in sample.annotations:
        box = annotation.shape
        if not isinstance(box, Box):
            losses.append(Loss(annotation.id, "skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE))
            continue
        index = catalog.class_index(annotation.label)
        if index is None:
            losses.append(Loss(annotation.id, "skipped", Reason.CLASS_DROPPED))
            continue
        found = _place_corners(box, size)
        if isinstance(found, Reason):
            losses.append(Loss(annotation.id, "skipped", found))
            continue
        ring, changes = found
        row = format_ring(index, ring, size)
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
