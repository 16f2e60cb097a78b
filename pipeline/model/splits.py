"""The rules that put a record into a split, from the record alone; and the order of splits."""

import hashlib
import re
from collections.abc import Iterable, Mapping

from pipeline.model.labels import normalise_label

SPLIT_ORDER = ("train", "val", "test")
GROUND_TRUTH_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_ROLES = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What each of the three splits of training is called; Hugging Face ``datasets`` knows the same words."""
UNASSIGNED = "unassigned"
SPLIT_NAME = r"[a-z][a-z0-9_-]*"
_PLAIN_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def order_splits(splits: Mapping[str, int]) -> dict[str, int]:
    """Return the splits in canonical order: train, val, test, then the others by name."""
    known = [split for split in SPLIT_ORDER if split in splits]
    return {split: splits[split] for split in known + sorted(splits.keys() - set(SPLIT_ORDER))}


def find_split(splits: Iterable[str], role: str) -> str | None:
    """Return the split that is for training (``train``), validating (``val``) or testing (``test``), by its name.

    Of several names for the same, the one that comes first in our list of them counts.
    """
    own = set(splits)
    return next((name for name in _ROLES[role] if name in own), None)


def role_of(split: str) -> str | None:
    """Return ``train``, ``val`` or ``test``, whichever a split is by its name, or None."""
    return next((role for role, names in _ROLES.items() if split in names), None)


def split_by_hash(key: str, ratios: Mapping[str, float]) -> str:
    """Return the split of a key from its hash alone: independent of order, other records and worker count.

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
    """Return the split of a ground truth category; a record without one is ``unassigned``, so no trainer reads it by
    accident.

    A split becomes a folder name, so a category that is not a plain word is ``unassigned``, too.
    """
    name = category.strip().lower()
    return GROUND_TRUTH_SPLITS.get(name, name) if _PLAIN_WORD.fullmatch(name) else UNASSIGNED


def key_text(value: object) -> str:
    """Return a value of ``split.key`` as text, the same from the API and from a file; ``""`` for other types.

    Strings, integers and booleans have a text; lists, objects and fractions have none.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return normalise_label(value) if isinstance(value, str) else ""
