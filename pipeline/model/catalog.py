"""Facts about the whole export that every shard needs: classes, splits, id offsets.

Shards report a :class:`ShardSummary`; :func:`combine` adds summaries up in any order and any grouping, and
:func:`build_catalog` turns the sum into a :class:`Catalog`. Everything global is decided here and nowhere else,
so no result can depend on the number of workers, the shard size or the order of arrival.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import msgspec

SPLIT_ORDER = ("train", "val", "test")
GROUND_TRUTH_SPLITS = {"train": "train", "validation": "val", "test": "test"}
UNASSIGNED = "unassigned"
SPLIT_NAME = r"[a-z][a-z0-9_-]*"
_PLAIN_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class ShardSummary(msgspec.Struct):
    """What one shard contributes: counts of samples and annotations, labels seen, usable images per split.

    ``points`` are the labels of keypoints that are in a group, ``ungrouped`` the records without a value of
    ``split.key``, ``listed`` the records that ``split.file`` names (only counted when it names records).
    """

    samples: int = 0
    annotations: int = 0
    labels: dict[str, int] = {}
    splits: dict[str, int] = {}
    points: dict[str, int] = {}
    ungrouped: int = 0
    listed: int = 0


def combine(left: ShardSummary, right: ShardSummary) -> ShardSummary:
    """The summary of two shards together: associative and commutative, with ``ShardSummary()`` as zero."""
    return ShardSummary(
        samples=left.samples + right.samples,
        annotations=left.annotations + right.annotations,
        labels=_add(left.labels, right.labels),
        splits=_add(left.splits, right.splits),
        points=_add(left.points, right.points),
        ungrouped=left.ungrouped + right.ungrouped,
        listed=left.listed + right.listed,
    )


def _add(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in left.keys() | right.keys()}


class Skeleton(msgspec.Struct, frozen=True):
    """An object made of named keypoints.

    ``name`` is its category; ``points`` are the classes of its keypoints in order (each at most once); ``edges`` are
    pairs of positions in ``points``, from 0, to be drawn as lines; ``flip[i]`` is the position of the point that takes
    the place of point ``i`` in a mirrored image (``i`` itself for points in the middle).
    """

    name: str
    points: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    flip: tuple[int, ...] = ()


class ClassNames(msgspec.Struct, frozen=True):
    """What the user wants of class names: old names and their new ones, and names (old or new) to leave out.

    All names are normalised (:func:`normalise_label`); :func:`class_names` makes one from a configuration.
    """

    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()

    def final(self, label: str) -> str | None:
        """The class of a label, or None when it is left out."""
        name = self.rename.get(label, label)
        return None if not name or label in self.drop or name in self.drop else name


class Catalog(msgspec.Struct, frozen=True):
    """What formats may know of the whole export.

    ``classes`` are the class names in their final order: class ``i`` is YOLO's ``i`` and COCO's ``i + 1``;
    ``class_sources`` says for each whether the ``lock``, the user's ``order``, the ``project``'s configuration or only
    the data (``observed``) names it; ``names`` is what was renamed and left out. ``splits`` maps each split that has
    images to their number, in canonical order; an empty export has ``{"train": 0}``. ``masks`` is ``instance``,
    ``semantic`` or ``exclude``. ``skeletons`` are what groups of keypoints can be, in the order of their categories;
    their classes are lists of their own. ``warnings`` are for whoever reads the dataset.
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
    warnings: tuple[str, ...] = ()

    def class_index(self, label: str) -> int | None:
        """The position of a label's class in ``classes``, or None when the class is dropped by the user."""
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
) -> Catalog:
    """The catalog of an export whose shards add up to ``summary``.

    ``configured`` are the project's classes in configuration order. The final order is that of the ``locked`` classes,
    whether or not they occur, then the user's ``order``, then the project's, then observed labels lexically (the
    Synapse SDK's ``project_configuration_then_observed_lexical``); ``rename`` is applied first and may merge classes,
    ``drop`` is applied last and takes either name. Neither moves a locked class: one that is dropped keeps its number,
    and no label has it.
    """
    names = class_names(rename or {}, drop)
    observed = sorted(summary.labels)
    sources = dict.fromkeys(locked, "lock")
    for source, labels in (("order", order), ("project", configured), ("observed", observed)):
        for final in map(names.final, map(normalise_label, labels)):
            if final is not None:
                sources.setdefault(final, source)
    position = {name: index for index, name in enumerate(sources)}
    return Catalog(
        name=name,
        description=description,
        target=target,
        masks=masks,
        classes=tuple(sources),
        class_sources=tuple(sources.values()),
        class_of_label={label: position[final] for label in observed if (final := names.final(label)) is not None},
        splits=_ordered_splits(summary.splits) or {"train": 0},
        samples=summary.samples,
        annotations=summary.annotations,
        skeletons=skeletons,
        names=names,
        warnings=warnings,
    )


def class_names(rename: Mapping[str, str], drop: Iterable[str]) -> ClassNames:
    """The wishes of a configuration, in an order that does not depend on how they were written down."""
    renames = {normalise_label(old): normalise_label(new) for old, new in rename.items()}
    return ClassNames(dict(sorted(renames.items())), tuple(sorted(set(map(normalise_label, drop)))))


def total(summaries: Iterable[ShardSummary]) -> ShardSummary:
    """All summaries combined."""
    return reduce(combine, summaries, ShardSummary())


def normalise_label(label: str) -> str:
    """A class name as the platform compares it: trimmed and NFC-normalised."""
    return unicodedata.normalize("NFC", label.strip())


def _ordered_splits(splits: Mapping[str, int]) -> dict[str, int]:
    known = [split for split in SPLIT_ORDER if split in splits]
    return {split: splits[split] for split in known + sorted(splits.keys() - set(SPLIT_ORDER))}


def configured_classes(configuration: Any) -> list[str]:
    """The classes of a project's ``configuration``, in the order of record.

    For each tool in configuration order, each schema entry in order, the first occurrence wins. Both shapes are
    read, tool by tool: ``{"classification_schema": [{"code": "car"}, …]}`` and the older ``["car", …]``; entries
    that are neither are left out.
    """
    tools = configuration.get("classification") if isinstance(configuration, dict) else None
    found: dict[str, None] = {}
    for tool in tools.values() if isinstance(tools, dict) else ():
        entries = tool.get("classification_schema") if isinstance(tool, dict) else tool
        for entry in entries if isinstance(entries, list) else ():
            code = entry.get("code") if isinstance(entry, dict) else entry
            if isinstance(code, str) and normalise_label(code):
                found.setdefault(normalise_label(code))
    return list(found)


def configured_points(configuration: Any) -> list[str]:
    """The classes of the tool ``keypoint`` alone, in the same order."""
    tools = configuration.get("classification") if isinstance(configuration, dict) else None
    own = {"keypoint": tools.get("keypoint")} if isinstance(tools, dict) else {}
    return configured_classes({"classification": own})


def split_by_hash(key: str, ratios: Mapping[str, float]) -> str:
    """The split of a key, from its hash alone: independent of order, of other records and of worker count.

    ``sha256(key)`` as a big-endian integer, modulo 100, against the cumulated ratios in per cent, as the Synapse
    SDK's Pascal VOC export does; digits beyond the modulus refine it, so that ratios need not be whole per cents.
    """
    digest = int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")
    point = digest % 100 + (digest // 100 % 1_000_000) / 1_000_000
    bound = 0.0
    chosen = ""
    for split, ratio in ratios.items():
        if ratio <= 0:
            continue
        chosen = split
        bound += ratio * 100
        if point < bound - 1e-9:
            break
    return chosen


def split_by_category(category: str) -> str:
    """The split of a ground truth category; a record without one is ``unassigned``, never trained on by accident.

    A split becomes a folder name, so a category that is not a plain word is no split either.
    """
    name = category.strip().lower()
    return GROUND_TRUTH_SPLITS.get(name, name) if _PLAIN_WORD.fullmatch(name) else UNASSIGNED
