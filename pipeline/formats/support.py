"""What becomes of each kind of annotation in a format: the table of losses, as the formats themselves declare it.

The declarations are shown by ``python -m pipeline formats`` and in ``docs/formats.md``; a test renders one annotation
of every kind and compares.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from pipeline.formats import Format


class Kind(StrEnum):
    """A kind of annotation that a format may treat differently from others; the value is what tables say."""

    BOX = "box"
    TURNED_BOX = "turned box"
    BOX_OVER_EDGE = "box partly outside the image"
    BOX_OUTSIDE = "box outside the image"
    POLYGON = "polygon"
    POLYGON_OVER_EDGE = "polygon partly outside the image"
    POLYGON_OUTSIDE = "polygon outside the image"
    FLAT_POLYGON = "polygon without an area"
    MASK = "mask of one part"
    MASK_WITH_HOLE = "mask with a hole"
    MASK_IN_PARTS = "mask of several parts"
    POLYLINE = "polyline"
    SKELETON_POINT = "keypoint of a skeleton"
    UNGROUPED_POINT = "keypoint without a group"
    UNKNOWN_POINT = "keypoint of no known skeleton"
    WHOLE = "classification of the image"
    RELATION = "relation"
    OPAQUE = "cuboid, text, time range, prompt"
    ATTRIBUTES = "attributes"
    DROPPED_CLASS = "class in classes.drop"


class Fate(msgspec.Struct, frozen=True):
    """``kept`` as it is, written changed (``lossy``) or left out (``skipped``), why, and ``how`` it is written."""

    outcome: Literal["kept", "lossy", "skipped"] = "kept"
    reason: str = ""
    how: str = ""


KEPT = Fate()


def fates_of(format_: Format) -> Mapping[Kind, Fate]:
    """What a format declares; nothing for a format that declares nothing (one of the user's own, say)."""
    declared = getattr(format_, "fates", None)
    found: Mapping[Kind, Fate] = declared() if declared else {}
    return found


def loss_table(formats: Iterable[Format]) -> str:
    """A Markdown table, without a last line break: a row for each kind of annotation, a column for each format."""
    columns = [(format_.name, fates_of(format_)) for format_ in formats]
    rows = [["annotation", *(f"`{name}`" for name, _ in columns)], ["---"] * (len(columns) + 1)]
    rows += [[kind.value, *(_cell(fates.get(kind)) for _, fates in columns)] for kind in Kind]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cell(fate: Fate | None) -> str:
    if fate is None:
        return "not declared"
    outcome = f"{fate.outcome} `{fate.reason}`" if fate.reason else fate.outcome
    return f"{outcome}: {fate.how}" if fate.how else outcome
