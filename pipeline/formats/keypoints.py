"""Objects made of keypoints: which annotations of a sample belong together, and to which skeleton."""

from collections.abc import Sequence

import msgspec

from pipeline.formats import Loss
from pipeline.formats.images import Rectangle, place_box
from pipeline.images.geometry import enclosing_box
from pipeline.model.catalog import Catalog
from pipeline.model.skeletons import Skeleton
from pipeline.reasons import Reason
from pipeline.records import Annotation, Box, Point, Sample

# MMDetection leaves out objects that are narrower or lower than a pixel, and OKS divides by the area.
SHORTEST_SIDE = 1.0

MISSING = (0.0, 0.0, 0)
"""A point of the skeleton that the object does not have, as COCO writes it."""

type Keypoint = tuple[float, float, int]
"""``x, y`` in pixels and the visibility (0 missing, 1 occluded, 2 visible)."""

type _Member = tuple[int, str, Point]
"""A keypoint's position among the sample's annotations, its class under its final name, and where it is."""


class Instance(msgspec.Struct, frozen=True, gc=False):
    """One object: a group of keypoints.

    ``skeleton`` is the position of its skeleton in ``Catalog.skeletons``. ``points`` has a point for each of the
    skeleton's, in its order; points of visibility 0 are :data:`MISSING`, wherever the annotator put them.
    ``annotations`` are the positions of its keypoints in ``Sample.annotations``, ascending, at least one. ``box`` is
    the one box of the same group and ``box_annotation`` its position; both are None for no box, or for several.
    ``label`` is the class of the object: that of its group, else that of its box, else the skeleton's name.
    """

    skeleton: int
    points: tuple[Keypoint, ...]
    annotations: tuple[int, ...]
    label: str = ""
    box: Box | None = None
    box_annotation: int | None = None

    @property
    def visible(self) -> int:
        """The number of points that are not missing, occluded ones included; at least one if there is no box."""
        return sum(visibility > 0 for _, _, visibility in self.points)


def find_instances(sample: Sample, catalog: Catalog) -> tuple[list[Instance], list[Loss]]:
    """Return the objects of a sample in the order of their first keypoints, and the losses of all other keypoints.

    A group belongs to the first skeleton that has all its classes, each at most once; points may be missing, but not
    all, unless a box says where the object is. Other annotations of the sample are in neither list.
    """
    losses: list[Loss] = []
    groups: dict[str, list[_Member]] = {}
    boxes: dict[str, list[tuple[Box, int]]] = {}
    labels: dict[str, str] = {}
    for position, annotation in enumerate(sample.annotations):
        shape = annotation.shape
        if isinstance(shape, Point):
            number = catalog.class_index(annotation.label)
            if number is None:
                losses.append(Loss(annotation.id, "skipped", Reason.CLASS_DROPPED))
            elif not annotation.group:
                losses.append(Loss(annotation.id, "skipped", Reason.KEYPOINT_GROUP_INVALID))
            else:
                groups.setdefault(annotation.group, []).append((position, catalog.classes[number], shape))
                labels[annotation.group] = annotation.group_label
        elif isinstance(shape, Box) and annotation.group and catalog.class_index(annotation.label) is not None:
            boxes.setdefault(annotation.group, []).append((shape, position))
    instances: list[Instance] = []
    for group, members in groups.items():
        instance = _make_instance(members, boxes.get(group, ()), catalog.skeletons)
        if isinstance(instance, Instance):
            own = object_label(labels[group], sample.annotations, instance.box_annotation)
            name = catalog.skeletons[instance.skeleton].name
            instances.append(msgspec.structs.replace(instance, label=(own and catalog.names.final(own)) or name))
        else:
            losses += [Loss(sample.annotations[position].id, "skipped", instance) for position, _, _ in members]
    return instances, losses


def object_label(group_label: str, annotations: Sequence[Annotation], box: int | None) -> str:
    """Return the class of an object: that of its group, else that of its one box, else ``""``."""
    return group_label or ("" if box is None else annotations[box].label)


def find_rectangle(instance: Instance, width: int, height: int) -> Rectangle | None:
    """Return where an object is in an image of ``width`` x ``height`` pixels; None when all of it lies outside.

    That is its box, cut to the image by :func:`place_box`. Without a box in the image it is the rectangle around the
    points that are not missing, not cut at the border, each side at least :data:`SHORTEST_SIDE`.
    """
    placed = place_box(instance.box, width, height) if instance.box else None
    if placed:
        return placed[:4]
    if not instance.visible:
        return None
    flat = [number for x, y, visibility in instance.points if visibility for number in (x, y)]
    left, top, across, down = enclosing_box(flat)
    left, across = _widen(left, across)
    top, down = _widen(top, down)
    if not (left < width and top < height and left + across > 0 and top + down > 0):
        return None
    return left, top, across, down


def _widen(start: float, length: float) -> tuple[float, float]:
    missing = SHORTEST_SIDE - length
    return (start - missing / 2, SHORTEST_SIDE) if missing > 0 else (start, length)


def _make_instance(
    members: Sequence[_Member], boxes: Sequence[tuple[Box, int]], skeletons: Sequence[Skeleton]
) -> Instance | Reason:
    points: dict[str, Keypoint] = {}
    for _, name, point in members:
        if name in points:
            return Reason.KEYPOINT_GROUP_INVALID
        points[name] = (point.x, point.y, point.visibility) if point.visibility else MISSING
    skeleton = next((number for number, known in enumerate(skeletons) if points.keys() <= set(known.points)), None)
    if skeleton is None:
        return Reason.KEYPOINT_PROFILE_UNSUPPORTED
    box, box_annotation = boxes[0] if len(boxes) == 1 else (None, None)
    if box is None and not any(visibility for _, _, visibility in points.values()):
        return Reason.KEYPOINT_GROUP_INVALID
    ordered = tuple(points.get(name, MISSING) for name in skeletons[skeleton].points)
    positions = tuple(position for position, _, _ in members)
    return Instance(skeleton, ordered, positions, box=box, box_annotation=box_annotation)
