"""Label rows of skeletons (task pose)."""

from collections.abc import Sequence

import msgspec

from pipeline.errors import ConfigError
from pipeline.formats import Loss
from pipeline.formats.images import TOLERANCE, Rectangle, Size, place_box
from pipeline.formats.keypoints import MISSING, Instance, Keypoint, find_instances, find_rectangle
from pipeline.formats.yolo.rows import Rows, centre_and_length, report_changes
from pipeline.images.geometry import clip_box
from pipeline.model.catalog import Catalog
from pipeline.model.skeletons import Skeleton
from pipeline.reasons import Reason
from pipeline.records import Box, Point, Sample

_BOX = b"%d %.6f %.6f %.6f %.6f"
_POINT = b" %.6f %.6f %d"


def choose_skeleton(catalog: Catalog, name: str) -> Skeleton | None:
    """Return the skeleton called ``name``, or the first one; None when the export has no skeletons at all.

    Raises ConfigError when the export has skeletons, but none of this name.
    """
    if not catalog.skeletons:
        return None
    if not name:
        return catalog.skeletons[0]
    for skeleton in catalog.skeletons:
        if skeleton.name == name:
            return skeleton
    known = ", ".join(repr(skeleton.name) for skeleton in catalog.skeletons)
    raise ConfigError("formats.yolo.skeleton", f"unknown skeleton {name!r}; known: {known}")


def render_pose(sample: Sample, size: Size, catalog: Catalog, skeleton: str) -> Rows:
    """Return ``class x_center y_center width height (x y visibility)…`` for each object of one skeleton.

    Points are in the skeleton's order, coordinates are fractions of the image's sides, and a missing point is
    ``0 0 0``. Raises ConfigError as
    :func:`choose_skeleton` does.
    """
    chosen = choose_skeleton(catalog, skeleton)
    instances, losses = find_instances(sample, catalog)
    annotations = sample.annotations
    boxes = {item.box_annotation for item in instances if catalog.skeletons[item.skeleton] == chosen}
    for position, annotation in enumerate(annotations):
        if not isinstance(annotation.shape, Point) and position not in boxes:
            is_dropped = isinstance(annotation.shape, Box) and catalog.class_index(annotation.label) is None
            reason = Reason.CLASS_DROPPED if is_dropped else Reason.UNSUPPORTED_ANNOTATION_TYPE
            losses.append(Loss(annotation.id, "skipped", reason))
    rows: list[bytes] = []
    for instance in instances:
        if catalog.skeletons[instance.skeleton] != chosen:
            reason = Reason.KEYPOINT_PROFILE_UNSUPPORTED
            losses += [Loss(annotations[position].id, "skipped", reason) for position in instance.annotations]
            continue
        row, found = _make_row(instance, sample, size, catalog.classes_of_objects(instance.skeleton))
        rows.append(row)
        losses += found
    return b"".join(rows), losses


def _make_row(instance: Instance, sample: Sample, size: Size, classes: Sequence[str]) -> Rows:
    """Return the row of an object; empty when no part of it lies inside the image."""
    width, height = size
    annotations = sample.annotations
    losses: list[Loss] = []
    points = tuple(_place_point(point, size) for point in instance.points)
    placed = place_box(instance.box, width, height) if instance.box else None
    if instance.box_annotation is not None:
        annotation = annotations[instance.box_annotation]
        losses += (
            report_changes(annotation, placed[4]) if placed else [Loss(annotation.id, "skipped", Reason.OUTSIDE_IMAGE)]
        )
    rectangle = placed[:4] if placed else _enclose_points(points, instance, size)
    if rectangle is None:
        outside = [Loss(annotations[position].id, "skipped", Reason.OUTSIDE_IMAGE) for position in instance.annotations]
        return b"", outside + losses
    for position in instance.annotations:
        point = annotations[position].shape
        is_gone = isinstance(point, Point) and point.visibility and not _place_point((point.x, point.y, 1), size)[2]
        losses += report_changes(annotations[position], (Reason.CLIPPED_TO_IMAGE,) if is_gone else ())
    x, y, across, down = rectangle
    (centre_x, share_x), (centre_y, share_y) = (
        centre_and_length(x, across, width),
        centre_and_length(y, down, height),
    )
    numbers: list[float] = [classes.index(instance.label), centre_x, centre_y, share_x, share_y]
    for x, y, visibility in points:
        numbers += (x / width + 0.0, y / height + 0.0, visibility)  # never -0.000000
    return (_BOX + _POINT * len(points) + b"\n") % tuple(numbers), losses


def _enclose_points(points: tuple[Keypoint, ...], instance: Instance, size: Size) -> Rectangle | None:
    if not any(visibility for _, _, visibility in points):
        return None
    found = find_rectangle(msgspec.structs.replace(instance, points=points, box=None), *size)
    return found and clip_box(*found, *size)


def _place_point(point: Keypoint, size: Size) -> Keypoint:
    """Return the point as a row can hold it: inside the image, or missing."""
    x, y, visibility = point
    width, height = size
    if 0 <= x <= width and 0 <= y <= height:
        return point
    if min(x, width - x, y, height - y) >= -TOLERANCE:
        return min(max(x, 0.0), width), min(max(y, 0.0), height), visibility
    return MISSING
