"""Facts about the whole export that every shard needs: classes, splits, id offsets.

Shards report a :class:`ShardSummary`; :func:`combine_summaries` adds summaries up in any order and any grouping, and
:func:`build_catalog` turns the sum into a :class:`Catalog`. Everything global is decided here and nowhere else,
so no result can depend on the number of workers, the shard size or the order of arrival.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, reduce

import msgspec

from pipeline.model.labels import ClassNames, class_names, normalise_label, tidy_label
from pipeline.model.skeletons import Skeleton
from pipeline.model.splits import order_splits
from pipeline.model.trees import EVERY_TREE, KEYPOINTS, TreeClasses, shapes_of_classes
from pipeline.records import Annotation, Box, Point


class ShardSummary(msgspec.Struct):
    """Counts of one shard: samples and annotations, labels seen, usable images per split.

    ``points`` are the labels of keypoints that are in a group; ``parts`` counts them by the class of the object that
    they are part of (``""`` for none) and then by label. ``ungrouped`` are the records without a value of
    ``split.key``, ``listed`` the records that ``split.file`` names (only counted when it names records),
    ``objects`` the labels seen in each split, and ``shapes`` those seen with each shape.
    """

    samples: int = 0
    annotations: int = 0
    labels: dict[str, int] = {}
    splits: dict[str, int] = {}
    points: dict[str, int] = {}
    parts: dict[str, dict[str, int]] = {}
    ungrouped: int = 0
    listed: int = 0
    objects: dict[str, dict[str, int]] = {}
    shapes: dict[str, dict[str, int]] = {}


def count_parts(annotations: Iterable[Annotation], parts: dict[str, dict[str, int]]) -> None:
    """Add the keypoints of a sample to those of the classes that their objects can have (``ShardSummary.parts``)."""
    grouped = [annotation for annotation in annotations if annotation.group]
    if not grouped:
        return
    boxes: dict[str, list[str]] = {}
    for annotation in grouped:
        if isinstance(annotation.shape, Box):
            boxes.setdefault(annotation.group, []).append(annotation.label)
    for annotation in grouped:
        if isinstance(annotation.shape, Point):
            around = boxes.get(annotation.group, [])
            if annotation.group_label:
                around = [annotation.group_label]
            elif len(around) != 1:  # its class is not known before classes are renamed and dropped
                around = ["", *around]
            for label in set(around):
                points = parts.setdefault(label, {})
                points[annotation.label] = points.get(annotation.label, 0) + 1


def combine_summaries(left: ShardSummary, right: ShardSummary) -> ShardSummary:
    """Add the summaries of two shards: associative and commutative, with ``ShardSummary()`` as zero."""
    return ShardSummary(
        samples=left.samples + right.samples,
        annotations=left.annotations + right.annotations,
        labels=_add(left.labels, right.labels),
        objects=_add_all(left.objects, right.objects),
        splits=_add(left.splits, right.splits),
        points=_add(left.points, right.points),
        parts=_add_all(left.parts, right.parts),
        ungrouped=left.ungrouped + right.ungrouped,
        listed=left.listed + right.listed,
        shapes=_add_all(left.shapes, right.shapes),
    )


def _add_all(
    left: Mapping[str, Mapping[str, int]], right: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    return {key: _add(left.get(key, {}), right.get(key, {})) for key in left.keys() | right.keys()}


def _add(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in left.keys() | right.keys()}


class Catalog(msgspec.Struct, frozen=True, dict=True):
    """Facts about the whole export that formats may use.

    ``classes`` are the class names in their final order. A tree of labels (:mod:`pipeline.model.trees`) has those of
    them that can occur in it, under numbers of its own: :meth:`classes_in`. ``shapes`` are the shapes that a class can
    have (all, for a class that is not in it), and ``trees`` the classes of trees whose numbers are known already.
    ``class_sources`` says for each whether the ``lock``, the user's ``order``, the ``project``'s configuration or only
    the data (``observed``) names it; ``names`` is what was renamed and left out. ``splits`` maps each split that has
    images to their number, in canonical order; an empty export has ``{"train": 0}``. ``masks`` is ``instance``,
    ``semantic`` or ``exclude``. ``skeletons`` are what groups of keypoints can be, in the order of their categories;
    their classes are lists of their own, and ``object_classes`` are the classes of the objects of each skeleton: its
    own name, unless groups or boxes of keypoints have a class. ``objects`` counts the annotations of each class in each
    split, before a format leaves out what it cannot hold. ``warnings`` are for the readers of the dataset.
    """

    name: str
    description: str
    target: str
    masks: str
    classes: tuple[str, ...]
    class_sources: tuple[str, ...]
    class_of_label: dict[str, int]
    splits: dict[str, int]
    samples: int
    annotations: int
    skeletons: tuple[Skeleton, ...] = ()
    names: ClassNames = ClassNames()
    objects: dict[str, dict[str, int]] = {}
    warnings: tuple[str, ...] = ()
    object_classes: tuple[tuple[str, ...], ...] = ()
    shapes: dict[str, tuple[str, ...]] = {}
    trees: dict[str, tuple[str, ...]] = {}

    @cached_property
    def _found(self) -> dict[tuple[str, frozenset[str]], TreeClasses]:
        return {}

    def classes_in(self, tree: str, shapes: Collection[str]) -> TreeClasses:
        """Return the classes of a tree that holds annotations of ``shapes`` (names in ``pipeline.model.trees``).

        ``tree`` is the name under which a class lock keeps its numbers, ``yolo/detect``. First are the classes that
        are locked for it, whether or not they occur, then all others that can have one of the shapes, in the order of
        ``classes``, then those that only objects made of keypoints have, where the tree holds such.
        """
        key = (tree, frozenset(shapes))
        if key not in self._found:
            names = dict.fromkeys(self.trees[tree] if tree in self.trees else self.trees.get(EVERY_TREE, ()))
            names |= dict.fromkeys(
                name for name in self.classes if name not in self.shapes or key[1].intersection(self.shapes[name])
            )
            if KEYPOINTS in key[1]:
                names |= dict.fromkeys(name for classes in self.object_classes for name in classes)
            position = {name: number for number, name in enumerate(names)}
            numbers = {
                label: position[self.classes[number]]
                for label, number in self.class_of_label.items()
                if self.classes[number] in position
            }
            self._found[key] = TreeClasses(tuple(names), numbers)
        return self._found[key]

    def classes_of_objects(self, skeleton: int) -> tuple[str, ...]:
        """Return the classes that objects of a skeleton can have; ``skeleton`` is its position in ``skeletons``."""
        return self.object_classes[skeleton] if self.object_classes else (self.skeletons[skeleton].name,)

    def class_index(self, label: str) -> int | None:
        """Return the position of a label's class in ``classes``, or None if the user drops the class."""
        return self.class_of_label.get(label)


def build_catalog(
    summary: ShardSummary,
    *,
    name: str,
    description: str = "",
    target: str = "task",
    masks: str = "instance",
    configured: Sequence[str] = (),
    locked: Sequence[str] = (),
    order: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    skeletons: tuple[Skeleton, ...] = (),
    warnings: tuple[str, ...] = (),
    tools: Mapping[str, Collection[str]] | None = None,
    trees: Mapping[str, Collection[str]] | None = None,
    locked_trees: Mapping[str, Sequence[str]] | None = None,
    locked_objects: Mapping[str, Sequence[str]] | None = None,
) -> Catalog:
    """Return the catalog of an export whose shards add up to ``summary``.

    ``configured`` are the project's classes in configuration order. The final order is that of the ``locked`` classes,
    whether or not they occur, then the user's ``order``, then the project's, then observed labels lexically (the
    Synapse SDK's ``project_configuration_then_observed_lexical``); ``rename`` is applied first and may merge classes,
    ``drop`` is applied last and takes either name. Neither moves a locked class: one that is dropped keeps its number,
    and no label has it.

    ``tools`` are those that the project has for each of its classes. ``trees`` are the trees of the export, each with
    the shapes that it holds; ``locked_trees`` and ``locked_objects`` are the classes of trees, and of the objects of
    skeletons, whose numbers are taken.
    """
    names = class_names(rename or {}, drop)
    observed = sorted(summary.labels)
    sources = dict.fromkeys(locked, "lock")
    for source, labels in (("order", map(tidy_label, order)), ("project", configured), ("observed", observed)):
        for final in map(names.final, map(normalise_label, labels)):
            if final is not None:
                sources.setdefault(final, source)
    position = {name: index for index, name in enumerate(sources)}
    shapes = shapes_of_classes(
        summary.labels, summary.shapes, tools or {}, configured, map(tidy_label, order), locked, names
    )
    catalog = Catalog(
        name=name,
        description=description,
        target=target,
        masks=masks,
        classes=tuple(sources),
        class_sources=tuple(sources.values()),
        class_of_label={label: position[final] for label in observed if (final := names.final(label)) is not None},
        splits=order_splits(summary.splits) or {"train": 0},
        samples=summary.samples,
        annotations=summary.annotations,
        skeletons=skeletons,
        names=names,
        objects=_objects(summary, names, tuple(sources)),
        warnings=warnings,
        object_classes=tuple(
            _object_classes(skeleton, summary.parts, names, position, (locked_objects or {}).get(skeleton.name, ()))
            for skeleton in skeletons
        ),
        shapes=shapes,
        trees={tree: tuple(classes) for tree, classes in (locked_trees or {}).items()},
    )
    known = {tree: catalog.classes_in(tree, held).names for tree, held in (trees or {}).items()}
    return msgspec.structs.replace(catalog, trees=catalog.trees | known)


def _object_classes(
    skeleton: Skeleton,
    parts: Mapping[str, Mapping[str, int]],
    names: ClassNames,
    position: Mapping[str, int],
    locked: Sequence[str],
) -> tuple[str, ...]:
    """Return the classes of a skeleton's objects: its own name first, if any has no other, then by their numbers.

    All that are ``locked`` come before them.
    """
    found = {
        names.final(label) if label else None
        for label, points in parts.items()
        if any(names.final(point) in skeleton.points for point in points)
    }
    named = sorted(found - {None, skeleton.name}, key=lambda name: (position.get(name or "", len(position)), name))
    own = (skeleton.name,) if not (named or locked) or found & {None, skeleton.name} else ()
    return tuple(dict.fromkeys((*locked, *own, *(name for name in named if name is not None))))


def _objects(summary: ShardSummary, names: ClassNames, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """The annotations of each class by split, all in canonical order."""
    found: dict[str, dict[str, int]] = {name: {} for name in classes}
    for split in order_splits(dict.fromkeys(summary.objects, 0)):
        for label, number in sorted(summary.objects[split].items()):
            if (final := names.final(label)) is not None:
                found[final][split] = found[final].get(split, 0) + number
    return found


def total_summary(summaries: Iterable[ShardSummary]) -> ShardSummary:
    """Return all summaries combined."""
    return reduce(combine_summaries, summaries, ShardSummary())
