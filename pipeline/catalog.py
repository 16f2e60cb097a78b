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
_PLAIN_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class ShardSummary(msgspec.Struct):
    """What one shard contributes: counts of samples and annotations, labels seen, usable images per split."""

    samples: int = 0
    annotations: int = 0
    labels: dict[str, int] = {}
    splits: dict[str, int] = {}


def combine(left: ShardSummary, right: ShardSummary) -> ShardSummary:
    """The summary of two shards together: associative and commutative, with ``ShardSummary()`` as zero."""
    return ShardSummary(
        samples=left.samples + right.samples,
        annotations=left.annotations + right.annotations,
        labels=_add(left.labels, right.labels),
        splits=_add(left.splits, right.splits),
    )


def _add(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in left.keys() | right.keys()}


class Catalog(msgspec.Struct, frozen=True):
    """What formats may know of the whole export.

    ``classes`` are the class names in their final order: class ``i`` is YOLO's ``i`` and COCO's ``i + 1``;
    ``class_sources`` says for each whether the ``project``'s configuration, the user's ``order`` or only the data
    (``observed``) names it. ``splits`` maps each split that has images to their number, in canonical order;
    an empty export has ``{"train": 0}``. ``masks`` is ``instance``, ``semantic`` or ``exclude``.
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
    order: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
) -> Catalog:
    """The catalog of an export whose shards add up to ``summary``.

    ``configured`` are the project's classes in configuration order. The final order is the user's ``order``, then
    the project's, then observed labels lexically (the Synapse SDK's ``project_configuration_then_observed_lexical``);
    ``rename`` is applied first and may merge classes, ``drop`` is applied last and takes either name.
    """
    renames = {normalise_label(old): normalise_label(new) for old, new in (rename or {}).items()}
    dropped = {normalise_label(label) for label in drop}
    observed = sorted(summary.labels)
    sources: dict[str, str] = {}
    for source, labels in (("order", order), ("project", configured), ("observed", observed)):
        for label in map(normalise_label, labels):
            final = renames.get(label, label)
            if final and label not in dropped and final not in dropped:
                sources.setdefault(final, source)
    classes = tuple(sources)
    position = {label: index for index, label in enumerate(classes)}
    lookup = {label: position[final] for label in observed if (final := renames.get(label, label)) in position}
    for label in observed:
        if label in dropped:
            lookup.pop(label, None)
    return Catalog(
        name=name,
        description=description,
        target=target,
        masks=masks,
        classes=classes,
        class_sources=tuple(sources.values()),
        class_of_label=lookup,
        splits=_ordered_splits(summary.splits) or {"train": 0},
        samples=summary.samples,
        annotations=summary.annotations,
    )


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
