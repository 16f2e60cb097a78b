"""Label rows of boxes, upright (task detect) and turned (task obb), and what rows of all tasks share."""

import math
from collections.abc import Sequence

from pipeline.formats import Loss
from pipeline.formats.encoding import without_nulls
from pipeline.formats.images import Ring, Size, clip_ring, place
from pipeline.images.geometry import corners, enclosing, polygon_area
from pipeline.model.catalog import Catalog
from pipeline.reasons import Reason
from pipeline.records import Annotation, Box, Sample

LAST_DECIMAL = 1e-6
"""The last decimal of a row, as a fraction of the image's side: less would be an object of no size."""

_DETECT_ROW = b"%d %.6f %.6f %.6f %.6f\n"

type Rows = tuple[bytes, list[Loss]]
"""The text of a label file, each row with its line end, and what is not in it or not as it was."""


def detect_rows(sample: Sample, size: Size, catalog: Catalog) -> Rows:
    """``class x_center y_center width height`` for each box, in fractions of the image's sides."""
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
        placed = place(box, width, height)
        if placed is None:
            losses.append(Loss(annotation.id, "skipped", Reason.OUTSIDE_IMAGE))
            continue
        x, y, box_width, box_height, changes = placed
        across, down = box_width / width, box_height / height
        if across < LAST_DECIMAL or down < LAST_DECIMAL:
            across, down = max(across, LAST_DECIMAL), max(down, LAST_DECIMAL)
        rows += (index, (x + box_width / 2) / width, (y + box_height / 2) / height, across, down)
        if changes or annotation.attributes:
            losses += changed(annotation, changes)
    return _DETECT_ROW * (len(rows) // 5) % tuple(rows), losses


def obb_rows(sample: Sample, size: Size, catalog: Catalog) -> Rows:
    """``class x1 y1 x2 y2 x3 y3 x4 y4`` for each box: its corners, clockwise, in fractions of the image's sides."""
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
        found = _four_corners(box, size)
        if isinstance(found, Reason):
            losses.append(Loss(annotation.id, "skipped", found))
            continue
        ring, changes = found
        row = ring_row(index, ring, size)
        if row is None:
            losses.append(Loss(annotation.id, "skipped", Reason.INVALID_BOUNDING_BOX))
            continue
        rows.append(row)
        losses += changed(annotation, changes)
    return b"".join(rows), losses


def changed(annotation: Annotation, changes: Sequence[Reason]) -> list[Loss]:
    """The losses of an annotation that is written: no row has room for attributes."""
    dropped = annotation.attributes and without_nulls(annotation.attributes)
    reasons = (*changes, Reason.CUSTOM_ATTRIBUTES_DROPPED) if dropped else changes
    return [Loss(annotation.id, "lossy", reason) for reason in reasons]


def ring_row(index: int, ring: Ring, size: Size) -> bytes | None:
    """``index x1 y1 … xn yn`` of a ring inside the image; None when it has no area with the decimals a row has."""
    width, height = size
    fractions = [0.0] * len(ring)
    fractions[0::2] = [x / width + 0.0 for x in ring[0::2]]  # there is no -0.000000
    fractions[1::2] = [y / height + 0.0 for y in ring[1::2]]
    row = (b"%d" + b" %.6f" * len(fractions) + b"\n") % (index, *fractions)
    # Rounding moves no edge further than half a decimal, so only a ring with less than one decimal's area for each
    # number needs the exact answer.
    if polygon_area(fractions) > len(fractions) * LAST_DECIMAL:
        return row
    decimals = [round(float(number) / LAST_DECIMAL) for number in row.split()[1:]]
    return row if polygon_area(decimals) > 0 else None


def upright_ring(box: Box, size: Size) -> tuple[Ring, tuple[Reason, ...]] | None:
    """The corners of an upright box inside the image, clockwise from the top left, and what was changed.

    Each side is at least two decimals long, so that none is lost in rounding. None when the box lies outside.
    """
    placed = place(box, *size)
    if placed is None:
        return None
    x, y, width, height, changes = placed
    width, height = max(width, 2 * LAST_DECIMAL * size[0]), max(height, 2 * LAST_DECIMAL * size[1])
    x, y = min(x, size[0] - width), min(y, size[1] - height)
    right, bottom = min(x + width, size[0]), min(y + height, size[1])
    return (x, y, right, y, right, bottom, x, bottom), changes


def _four_corners(box: Box, size: Size) -> tuple[Ring, tuple[Reason, ...]] | Reason:
    if not box.rotation:
        return upright_ring(box, size) or Reason.OUTSIDE_IMAGE
    ring = corners(box)
    if not math.isfinite(sum(ring)):
        return Reason.INVALID_BOUNDING_BOX
    clipped = clip_ring(ring, size)
    if clipped is None:
        return Reason.OUTSIDE_IMAGE
    inside, cut = clipped
    if not cut:
        return inside, ()
    # Ultralytics takes the smallest rectangle around the four points. Of what four points inside the image can say,
    # the rectangle of the same angle around the part inside comes closest to that part (docs/formats/yolo.md).
    sine, cosine = math.sin(box.rotation), math.cos(box.rotation)
    pairs = list(zip(inside[0::2], inside[1::2], strict=True))
    upright = [number for x, y in pairs for number in (x * cosine + y * sine, y * cosine - x * sine)]
    left, top, across, down = enclosing(upright)
    tight: list[float] = []
    for x, y in ((left, top), (left + across, top), (left + across, top + down), (left, top + down)):
        tight.append(min(max(x * cosine - y * sine, 0.0), size[0]))
        tight.append(min(max(x * sine + y * cosine, 0.0), size[1]))
    return tight, (Reason.CLIPPED_TO_IMAGE,)
