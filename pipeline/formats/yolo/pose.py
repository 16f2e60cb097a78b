"""Label rows of skeletons (task pose)."""

import msgspec

from pipeline.errors import ConfigError
from pipeline.formats import Loss
from pipeline.formats.images import TOLERANCE, Rectangle, Size, place
from pipeline.formats.keypoints import MISSING, Instance, Keypoint, object_rectangle, skeleton_instances
from pipeline.formats.yolo.rows import LAST_DECIMAL, Rows, changed
from pipeline.images.geometry import clip_box
from pipeline.model.catalog import Catalog, Skeleton
from pipeline.reasons import Reason
from pipeline.records import Box, Point, Sample

_BOX = b"0 %.6f %.6f %.6f %.6f"
_POINT = b" %.6f %.6f %d"


def chosen_skeleton(catalog: Catalog, name: str) -> Skeleton | None:
    """The skeleton called ``name``, or the first one; None when the export has no skeletons at all.

    Raises ConfigError when there are others, but none of this name.
    """
    if not catalog.skeletons:
        return None
    if not name:
        return catalog.skeletons[0]
    for skeleton in catalog.skeletons:
        if skeleton.name == name:
            return skeleton
    known = ", ".join(repr(skeleton.name) for skeleton in catalog.skeletons)
    raise ConfigError("formats.yolo.skeleton", f"there is no skeleton {name!r}; there are: {known}")


def pose_rows(sample: Sample, size: Size, catalog: Catalog, skeleton: str) -> Rows:
    """``0 x_center y_center width height (x y visibility)…`` for each object of one skeleton, in its order of points.

    Coordinates are fractions of the image's sides; a point that is missing is ``0 0 0``. Raises ConfigError as
    :func:`chosen_skeleton` does.
    """
    chosen = chosen_skeleton(catalog, skeleton)
    instances, losses = skeleton_instances(sample, catalog)
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
        row, found = _row(instance, sample, size)
        rows.append(row)
        losses += found
    return b"".join(rows), losses


def _row(instance: Instance, sample: Sample, size: Size) -> Rows:
    """The row of an object, empty when nothing of the object lies inside the image."""
    width, height = size
    annotations = sample.annotations
    losses: list[Loss] = []
    points = tuple(_inside(point, size) for point in instance.points)
    placed = place(instance.box, width, height) if instance.box else None
    if instance.box_annotation is not None:
        annotation = annotations[instance.box_annotation]
        losses += changed(annotation, placed[4]) if placed else [Loss(annotation.id, "skipped", Reason.OUTSIDE_IMAGE)]
    rectangle = placed[:4] if placed else _around(points, instance, size)
    if rectangle is None:
        outside = [Loss(annotations[position].id, "skipped", Reason.OUTSIDE_IMAGE) for position in instance.annotations]
        return b"", outside + losses
    for position in instance.annotations:
        point = annotations[position].shape
        is_gone = isinstance(point, Point) and point.visibility and not _inside((point.x, point.y, 1), size)[2]
        losses += changed(annotations[position], (Reason.CLIPPED_TO_IMAGE,) if is_gone else ())
    x, y, across, down = rectangle
    numbers = [(x + across / 2) / width, (y + down / 2) / height]
    numbers += [max(across / width, LAST_DECIMAL), max(down / height, LAST_DECIMAL)]
    for x, y, visibility in points:
        numbers += (x / width + 0.0, y / height + 0.0, visibility)  # there is no -0.000000
    return (_BOX + _POINT * len(points) + b"\n") % tuple(numbers), losses


def _around(points: tuple[Keypoint, ...], instance: Instance, size: Size) -> Rectangle | None:
    if not any(visibility for _, _, visibility in points):
        return None
    found = object_rectangle(msgspec.structs.replace(instance, points=points, box=None), *size)
    return found and clip_box(*found, *size)


def _inside(point: Keypoint, size: Size) -> Keypoint:
    """The point as a row can have it: inside the image, or missing."""
    x, y, visibility = point
    width, height = size
    if 0 <= x <= width and 0 <= y <= height:
        return point
    if min(x, width - x, y, height - y) >= -TOLERANCE:
        return min(max(x, 0.0), width), min(max(y, 0.0), height), visibility
    return MISSING
