"""COCO keypoints: one file per skeleton, because COCOeval needs the same number of points in every object of a file."""

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from pipeline.formats import Loss
from pipeline.formats.encoding import without_nulls
from pipeline.formats.images import Rectangle
from pipeline.formats.keypoints import find_instances, find_rectangle
from pipeline.model.catalog import Catalog
from pipeline.model.naming import fold, safe_leaf
from pipeline.model.skeletons import Skeleton
from pipeline.reasons import Reason
from pipeline.records import NumberedSample

# A file name has at most 255 bytes, and a character at most four of them.
_LONGEST_NAME = 32


class KeypointObject(msgspec.Struct, gc=False):
    """An object made of keypoints, as COCO writes it; ``keypoints`` are ``x, y, visibility`` of each point."""

    id: int
    image_id: int
    category_id: int
    keypoints: tuple[float, ...]
    num_keypoints: int
    bbox: Rectangle
    area: float
    segmentation: tuple[()] = ()
    iscrowd: int = 0


class SkeletonCategory(msgspec.Struct, gc=False):
    """A category of a skeleton's file; ``skeleton`` holds the lines between points, counted from 1."""

    id: int
    name: str
    supercategory: str
    keypoints: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]


def make_categories(skeleton: Skeleton, classes: Sequence[str]) -> list[SkeletonCategory]:
    """Return the categories of a skeleton: one for each class that its objects can have."""
    lines = tuple((start + 1, end + 1) for start, end in skeleton.edges)
    return [
        SkeletonCategory(number, name, skeleton.name, skeleton.points, lines)
        for number, name in enumerate(classes, start=1)
    ]


def make_objects(
    sample: NumberedSample, catalog: Catalog, size: tuple[int, int]
) -> tuple[list[list[KeypointObject]], list[Loss]]:
    """Return the objects of a sample for each skeleton of the catalog, and the losses of its keypoints.

    An object has the id of its first keypoint, which no other annotation of the export has.
    """
    objects: list[list[KeypointObject]] = [[] for _ in catalog.skeletons]
    annotations = sample.sample.annotations
    instances, losses = find_instances(sample.sample, catalog)
    for instance in instances:
        rectangle = find_rectangle(instance, *size)
        if rectangle is None:
            losses += [
                Loss(annotations[position].id, "skipped", Reason.OUTSIDE_IMAGE) for position in instance.annotations
            ]
            continue
        number = sample.annotation_id + instance.annotations[0]
        points = tuple(itertools.chain.from_iterable(instance.points))
        area = rectangle[2] * rectangle[3]
        category = catalog.classes_of_objects(instance.skeleton).index(instance.label) + 1
        found = KeypointObject(number, sample.image_id, category, points, instance.visible, rectangle, area)
        objects[instance.skeleton].append(found)
        losses += [
            Loss(annotations[position].id, "lossy", Reason.CUSTOM_ATTRIBUTES_DROPPED)
            for position in instance.annotations
            if annotations[position].attributes and without_nulls(annotations[position].attributes)
        ]
    return objects, losses


def name_files(catalog: Catalog) -> Sequence[str]:
    """Return the start of each skeleton's file names, in the catalog's order: ``person_keypoints`` for ``person``.

    The names are safe on any disk, and different from each other and from those of ``instances`` and ``stuff``.
    """
    return _name_files(tuple(skeleton.name for skeleton in catalog.skeletons), tuple(catalog.splits))


@lru_cache(maxsize=16)
def _name_files(names: tuple[str, ...], splits: tuple[str, ...]) -> Sequence[str]:
    kinds = ["instances", "stuff"]
    for name in names:
        taken = {fold(f"{kind}_{split}") for kind in kinds for split in splits}
        proposals = _propose_names(safe_leaf(name[:_LONGEST_NAME]).replace(".", "_") or "skeleton")
        kinds.append(next(kind for kind in proposals if taken.isdisjoint(fold(f"{kind}_{split}") for split in splits)))
    return tuple(kinds[2:])


def _propose_names(name: str) -> Iterator[str]:
    yield f"{name}_keypoints"
    yield from (f"{name}_{number}_keypoints" for number in itertools.count(2))
