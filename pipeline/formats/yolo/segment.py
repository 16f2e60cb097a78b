"""Label rows of outlines (task segment): polygons, masks and, with an option, boxes."""

import math
from collections.abc import Sequence
from typing import Literal

from pipeline.formats import Loss
from pipeline.formats.images import Ring, Size, check_mask, place_outline
from pipeline.formats.yolo.rows import Rows, format_ring, place_ring, report_changes
from pipeline.images.geometry import corners
from pipeline.images.masks import MaskError
from pipeline.images.outlines import Outline, trace_outlines
from pipeline.images.rings import join_outlines, simplify_ring
from pipeline.model.catalog import Catalog
from pipeline.model.trees import TreeClasses
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, Polygon, Sample

Outlines = Literal["bridge", "largest", "split", "skip"]
"""How a mask with holes or of several parts is written; a row is one ring without holes."""

Boxes = Literal["rectangle", "skip"]
"""How a box is written where rows are outlines."""

type _Found = tuple[Sequence[bytes], tuple[Reason, ...]] | Reason


def render_segments(
    sample: Sample,
    size: Size,
    catalog: Catalog,
    classes: TreeClasses,
    *,
    parts: Outlines,
    boxes: Boxes,
    tolerance: float,
) -> Rows:
    """Return ``class x1 y1 … xn yn`` for each outline, in fractions of the image's sides.

    ``classes`` are those of the tree; ``parts`` and ``boxes`` are the options; ``tolerance`` in pixels is how far the
    outline of a mask may move.
    """
    losses: list[Loss] = []
    rows: list[bytes] = []
    for annotation in sample.annotations:
        shape = annotation.shape
        found: _Found
        if not isinstance(shape, Polygon | Mask | Box):
            found = Reason.UNSUPPORTED_ANNOTATION_TYPE
        elif catalog.class_index(annotation.label) is None:
            found = Reason.CLASS_DROPPED
        elif isinstance(shape, Mask) and catalog.masks != "instance":
            is_excluded = catalog.masks == "exclude"
            found = Reason.SEGMENTATION_EXCLUDED if is_excluded else Reason.SEMANTIC_SEGMENTATION_UNSUPPORTED
        elif isinstance(shape, Box) and boxes == "skip":
            found = Reason.UNSUPPORTED_ANNOTATION_TYPE
        elif isinstance(shape, Polygon):
            found = _polygon_rows(classes.numbers[annotation.label], shape.points, size)
        elif isinstance(shape, Mask):
            found = _mask_rows(classes.numbers[annotation.label], shape, size, parts, tolerance)
        else:
            found = _box_rows(classes.numbers[annotation.label], shape, size)
        if isinstance(found, Reason):
            losses.append(Loss(annotation.id, "skipped", found))
            continue
        rows += found[0]
        losses += report_changes(annotation, found[1])
    return b"".join(rows), losses


def _polygon_rows(index: int, ring: Ring, size: Size) -> _Found:
    if not math.isfinite(sum(ring)):
        return Reason.INVALID_POLYGON
    placed = place_outline(ring, size)
    if isinstance(placed, Reason):
        return placed
    row = format_ring(index, placed.ring, size)
    return ((row,), placed.changes) if row else Reason.INVALID_POLYGON


def _box_rows(index: int, box: Box, size: Size) -> _Found:
    if box.rotation:
        return _polygon_rows(index, corners(box), size)
    found = place_ring(box, size)
    row = found and format_ring(index, found[0], size)
    return ((row,), found[1]) if found and row else Reason.OUTSIDE_IMAGE


def _mask_rows(index: int, mask: Mask, size: Size, mode: Outlines, tolerance: float) -> _Found:
    cut = check_mask(mask, size)
    if not isinstance(cut, tuple):
        return cut
    try:
        parts = trace_outlines(mask.runs, *size)
    except MaskError:  # the runs are valid, so the mask is noise with more corners than an outline may have
        return Reason.MASK_CONTOUR_UNREPRESENTABLE
    has_several, has_holes = len(parts) > 1, any(part.holes for part in parts)
    if mode == "skip" and (has_several or has_holes):
        return Reason.MASK_CONTOUR_UNREPRESENTABLE
    changes = list(cut)
    if mode == "largest" and has_several:
        parts = [max(parts, key=lambda part: part.area)]
        has_holes = bool(parts[0].holes)
        changes.append(Reason.MASK_PARTS_DROPPED)
    if mode == "bridge" and (has_several or has_holes):
        changes.append(Reason.MASK_BRIDGED)
    elif mode == "split" and has_several:
        changes.append(Reason.MASK_SPLIT)
    if mode != "bridge" and has_holes:
        parts = [part._replace(holes=()) for part in parts]
        changes.append(Reason.MASK_HOLE_DROPPED)
    if tolerance:
        smooth = [_simplify(part, tolerance) for part in parts]
        if smooth != parts:
            changes.append(Reason.MASK_SIMPLIFIED)
        parts = smooth
    rings = [join_outlines(parts)] if mode == "bridge" else [part.ring for part in parts]
    rows = [row for ring in rings if (row := format_ring(index, ring, size))]
    if len(rows) < len(rings):
        changes.append(Reason.MASK_PARTS_DROPPED)
    return (rows, tuple(changes)) if rows else Reason.MASK_CONTOUR_UNREPRESENTABLE


def _simplify(part: Outline, tolerance: float) -> Outline:
    holes = tuple(simplify_ring(hole, tolerance) for hole in part.holes)
    return part._replace(ring=simplify_ring(part.ring, tolerance), holes=holes)
