"""Which classes a tree of labels has: those that can occur in it, under numbers of its own.

A tree is a set of label files that a reader opens as one dataset: the rows of a YOLO task, the instances of COCO. It
holds annotations of some shapes only, so it has only the classes that are drawn with one of these.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from pipeline.model.labels import ClassNames, normalise_label
from pipeline.records import Annotation, Box, Mask, Opaque, Point, Polygon, Polyline, Relation, Whole

EVERY_TREE = "*"
"""Stands for each tree that a class lock does not name: one of an earlier version numbered all trees alike."""

KEYPOINTS = "keypoints"
"""The shape of an object that is made of keypoints: its class is that of a skeleton's objects."""

SHAPES: Mapping[type, str] = {
    Box: "box",
    Mask: "mask",
    Opaque: "opaque",
    Point: "point",
    Polygon: "polygon",
    Polyline: "polyline",
    Relation: "relation",
    Whole: "whole",
}
"""The names of shapes."""

_SHAPE_OF_TOOL = {
    "3d_bounding_box": "opaque",
    "3d_segmentation": "opaque",
    "answer": "opaque",
    "bbox": "box",
    "bounding_box": "box",
    "classification": "whole",
    "keypoint": "point",
    "named_entity": "opaque",
    "point": "point",
    "polygon": "polygon",
    "polyline": "polyline",
    "prompt": "opaque",
    "relation": "relation",
    "segmentation": "mask",
    "time_range": "opaque",
}


class TreeClasses(NamedTuple):
    """The classes of a tree: ``names`` in the order of their numbers, and ``numbers`` by label (not by name)."""

    names: tuple[str, ...]
    numbers: Mapping[str, int]


def count_shapes(annotations: Iterable[Annotation], shapes: dict[str, dict[str, int]]) -> None:
    """Add the labels of annotations to ``shapes``: how often each occurs, by the name of its shape."""
    for annotation in annotations:
        if annotation.label:
            counted = shapes.setdefault(SHAPES[type(annotation.shape)], {})
            counted[annotation.label] = counted.get(annotation.label, 0) + 1


def shapes_of_classes(
    labels: Mapping[str, int],
    shapes: Mapping[str, Mapping[str, int]],
    tools: Mapping[str, Collection[str]],
    configured: Iterable[str],
    ordered: Iterable[str],
    locked: Iterable[str],
    names: ClassNames,
) -> dict[str, tuple[str, ...]]:
    """Return the shapes that each class can have, by its final name; a class that is not there can have every shape.

    They are those of the ``tools`` that the project has for it, and those that ``labels`` occur with. A class of which
    neither says anything can have every shape: a tool that is not known, a name that only ``ordered`` has. One that is
    only ``locked`` has none, because its trees are locked too.
    """
    known: dict[str, set[str]] = {}
    unknown: set[str] = set()
    for label in map(normalise_label, configured):
        if (name := names.final(label)) is not None:
            known.setdefault(name, set()).update(_SHAPE_OF_TOOL.get(tool, "") for tool in tools.get(label) or ("",))
    for label, number in labels.items():
        if (name := names.final(label)) is not None:
            counts = {shape: counted[label] for shape, counted in shapes.items() if label in counted}
            known.setdefault(name, set()).update(counts if sum(counts.values()) == number else ("",))
    for name, found in known.items():
        if "" in found:
            unknown.add(name)
    unknown.update(name for name in map(names.final, map(normalise_label, ordered)) if name and name not in known)
    for name in locked:
        known.setdefault(name, set())
    return {name: tuple(sorted(found)) for name, found in known.items() if name not in unknown}
