"""Pascal VOC's XML: one document per image, its objects with boxes in whole pixels counted from 1.

The rules are those of the VOC2012 development kit, as torchvision, MMDetection, Detectron2 and Datumaro read them.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from pipeline.formats.images import TOLERANCE, Rectangle

UNSPECIFIED = "Unspecified"
"""VOC's pose of an object whose pose is not known."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2
_TRUE, _FALSE = frozenset(("true", "1")), frozenset(("false", "0"))
_FLAGS = ("truncated", "difficult", "occluded")


class Pixels(NamedTuple):
    """A box in whole pixels: the first and the last column and row that belong to it, counted from 1."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


class Attributes(NamedTuple):
    """The attributes that VOC can hold; ``occluded`` is None when it is not known."""

    pose: str = UNSPECIFIED
    truncated: bool = False
    difficult: bool = False
    occluded: bool | None = None


class VocObject(NamedTuple):
    """One ``<object>``."""

    name: str
    box: Pixels
    attributes: Attributes


def cover_pixels(rectangle: Rectangle, width: int, height: int) -> Pixels:
    """Return the pixels that a rectangle inside an image of ``width`` x ``height`` touches: one or more.

    A side that is less than :data:`pipeline.formats.images.TOLERANCE` over the edge of a pixel does not touch it.
    """
    x, y, across, down = rectangle
    xmin = min(math.floor(x + TOLERANCE) + 1, width)
    ymin = min(math.floor(y + TOLERANCE) + 1, height)
    xmax = min(math.ceil(x + across - TOLERANCE), width)
    ymax = min(math.ceil(y + down - TOLERANCE), height)
    return Pixels(xmin, ymin, max(xmin, xmax), max(ymin, ymax))


def widen(box: Pixels, width: int, height: int) -> Pixels:
    """Return the box, two pixels long on each side where the image has two.

    Readers take ``xmax - xmin`` for the width, and drop a box of the width 0, or fail.
    """
    xmin, xmax = _widen_side(box.xmin, box.xmax, width)
    ymin, ymax = _widen_side(box.ymin, box.ymax, height)
    return Pixels(xmin, ymin, xmax, ymax)


def _widen_side(first: int, last: int, length: int) -> tuple[int, int]:
    if first < last:
        return first, last
    return (first, last + 1) if last < length else (max(first - 1, 1), last)


def read_attributes(attributes: Mapping[str, Any]) -> tuple[Attributes, Mapping[str, Any]]:
    """Return the attributes that VOC can hold, and the rest of them.

    A flag is set by true, 1, "true" or "1" and unset by false, 0, "false" or "0"; VOC cannot hold any other value.
    """
    if not attributes:
        return Attributes(), attributes
    rest = dict(attributes)
    flags = {name: flag for name in _FLAGS if (flag := _read_flag(rest.get(name))) is not None}
    for name in flags:
        del rest[name]
    found = Attributes(
        truncated=flags.get("truncated", False), difficult=flags.get("difficult", False), occluded=flags.get("occluded")
    )
    pose = rest.get("pose")
    if isinstance(pose, str) and replace_non_xml(pose) == pose:
        del rest["pose"]
        found = found._replace(pose=pose.strip() or UNSPECIFIED)
    return found, rest


def _read_flag(value: Any) -> bool | None:
    if isinstance(value, str):
        text = value.lower()
        return True if text in _TRUE else False if text in _FALSE else None
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def replace_non_xml(text: str) -> str:
    """Return the text with U+FFFD for characters that XML cannot hold: U+FFFE, lone surrogates, most controls."""
    return _NOT_XML.sub("\ufffd", text)


def make_document(
    folder: str, file_name: str, size: tuple[int, int, int], objects: Iterable[VocObject], segmented: bool
) -> bytes:
    """Return the XML of an image of ``size`` (width, height, channels), in ASCII and without a declaration.

    Readers open it in the encoding of the machine or as UTF-8, and lxml refuses text that declares an encoding.
    """
    lines = [
        "<annotation>",
        f"\t<folder>{_text(folder)}</folder>",
        f"\t<filename>{_text(file_name)}</filename>",
        "\t<size>",
        f"\t\t<width>{size[0]}</width>",
        f"\t\t<height>{size[1]}</height>",
        f"\t\t<depth>{size[2]}</depth>",
        "\t</size>",
        f"\t<segmented>{segmented:d}</segmented>",
    ]
    for name, (xmin, ymin, xmax, ymax), (pose, truncated, difficult, occluded) in objects:
        lines += (
            "\t<object>",
            f"\t\t<name>{_text(name)}</name>",
            f"\t\t<pose>{_text(pose)}</pose>",
            f"\t\t<truncated>{truncated:d}</truncated>",
            f"\t\t<difficult>{difficult:d}</difficult>",
        )
        if occluded is not None:
            lines.append(f"\t\t<occluded>{occluded:d}</occluded>")
        lines += (
            "\t\t<bndbox>",
            f"\t\t\t<xmin>{xmin}</xmin>",
            f"\t\t\t<ymin>{ymin}</ymin>",
            f"\t\t\t<xmax>{xmax}</xmax>",
            f"\t\t\t<ymax>{ymax}</ymax>",
            "\t\t</bndbox>",
            "\t</object>",
        )
    lines.append("</annotation>\n")
    return "\n".join(lines).encode("ascii", "xmlcharrefreplace")


def _text(text: str) -> str:
    # A bare carriage return would be read as a line feed.
    return escape(replace_non_xml(text), {"\r": "&#13;"})
