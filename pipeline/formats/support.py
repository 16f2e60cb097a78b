"""What becomes of each kind of annotation in a format, as the format declares it.

``synapse-export formats NAME`` and ``docs/formats.md`` show the declarations. A test renders one annotation of every
kind and compares.
"""

from enum import StrEnum
from typing import Literal

import msgspec


class Kind(StrEnum):
    """A kind of annotation that a format may treat differently from others; the value is its name in tables."""

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


class Support(msgspec.Struct, frozen=True):
    """``kept`` as it is, written changed (``lossy``) or left out (``skipped``), why, and ``how`` it is written."""

    outcome: Literal["kept", "lossy", "skipped"] = "kept"
    reason: str = ""
    how: str = ""


KEPT = Support()
