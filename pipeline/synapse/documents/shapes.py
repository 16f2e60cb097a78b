"""Read the JSON values of annotations as shapes, or say why they cannot be.

Nothing is invented, clipped or rounded: a value that is not a valid shape raises :class:`Rejected`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from pipeline.images.masks import MaskError, runs_from_indices, runs_from_pairs
from pipeline.model.labels import has_controls, normalise_label
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, Point, Polygon, Polyline

# No image has a coordinate this large (in pixels).
MAX_COORDINATE = 1e7
VISIBILITY: dict[Any, int] = {"missing": 0, "occluded": 1, "visible": 2}
FULLY_VISIBLE = 2

_MEDIA_KINDS = ("image", "video", "pcd", "text", "audio", "prompt", "data")
_NUMBERS = re.compile(r"([0-9]+)")
_DIGITS_AND_SPACE = b"0123456789 \t\r\n"
_BRACKETS_AND_SPACE = b"[] \t\r\n"


class Rejected(ValueError):
    """An annotation that is left out.

    Arguments: the :class:`Reason`, a detail without any of its content, and ``skipped`` if there is nothing to draw;
    without it the annotation failed, because it cannot be read.
    """


def natural_key(media: str) -> tuple[str | tuple[int, str], ...]:
    """Return the sort key of a media key, which puts ``image_2`` before ``image_10``."""
    parts = _NUMBERS.split(media)
    # Compared by length first instead of as an integer, which has a limit of digits.
    return tuple((len(part.lstrip("0")), part) if index % 2 else part for index, part in enumerate(parts))


def media_kind(media: str) -> str:
    """Return the kind in a media key, ``image`` for ``image_1``; ``""`` if the key does not begin with a known kind."""
    return next((kind for kind in _MEDIA_KINDS if media.startswith(kind)), "")


def pixel_size(value: Any) -> int | None:
    """Return a width or height in pixels, or None for anything but a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_COORDINATE:
        return None
    return int(value) if value == int(value) else None


@lru_cache(maxsize=65536)
def class_label(value: str) -> str:
    """Return a class code, trimmed and in NFC; ``""`` if it is empty or has control characters or line separators."""
    return "" if has_controls(value.strip()) else normalise_label(value)


def check_attributes(values: Any) -> bool:
    """Tell whether staging can hold these JSON values: it cannot hold integers beyond 64 bits."""
    if isinstance(values, int):
        return -(2**63) <= values < 2**64
    if isinstance(values, dict):
        return all(map(check_attributes, values.values()))
    return not isinstance(values, list) or all(map(check_attributes, values))


def visibility(value: Any) -> int:
    """Return COCO's visibility for DM Schema's word or number; visible if there is none."""
    if value is None:
        return FULLY_VISIBLE
    number = VISIBILITY.get(value) if isinstance(value, str) else value
    if type(number) is int and 0 <= number <= FULLY_VISIBLE:
        return number
    raise Rejected(Reason.MALFORMED_ANNOTATION, "visibility is none of missing, occluded, visible")


def box(value: Any, rotation: Any, corrections: list[tuple[Reason, str]]) -> Box:
    """Read a box of ``{x, y, width, height, rotation}`` or ``[x, y, width, height]``; rotation in radians.

    A box that was drawn from right to left or upwards is turned round, which is added to ``corrections``.
    """
    if isinstance(value, dict):
        rotation = value.get("rotation", rotation)
        value = [value.get(key) for key in ("x", "y", "width", "height")]
    if not isinstance(value, list) or len(value) != 4:
        raise Rejected(Reason.INVALID_GEOMETRY, "not x, y, width and height")
    x, y, width, height = map(_coordinate, value)
    if not (width and height):
        raise Rejected(Reason.INVALID_BOUNDING_BOX, "it has no width or no height", "skipped")
    if width < 0 or height < 0:
        x, y, width, height = min(x, x + width), min(y, y + height), abs(width), abs(height)
        corrections.append((Reason.BOX_TURNED_ROUND, "it was drawn from right to left or upwards"))
    return Box(x, y, width, height, 0.0 if rotation is None else _coordinate(rotation) or 0.0)


def point(value: Any, visible: Any = None) -> Point:
    """Read a keypoint of ``{x, y}`` or ``[x, y]``, with the visibility that :func:`visibility` returns."""
    return Point(*_pair(value), visibility(visible))


def polygon(value: Any) -> Polygon:
    """Read a polygon of ``[{x, y}, …]`` or ``[[x, y], …]``; a repeated first point at the end is left out."""
    return ring(_points(value))


def polyline(value: Any) -> Polyline:
    """Read an open line, which is written like a polygon."""
    return line(_points(value))


def ring(points: Sequence[float]) -> Polygon:
    """Return a polygon of flat points that are known to be numbers."""
    while len(points) > 2 and points[0] == points[-2] and points[1] == points[-1]:
        points = points[:-2]
    if len(points) < 6:
        raise Rejected(Reason.INVALID_POLYGON, "fewer than three points", "skipped")
    return Polygon(tuple(points))


def line(points: Sequence[float]) -> Polyline:
    """Return a polyline of flat points that are known to be numbers."""
    if len(points) < 4:
        raise Rejected(Reason.INVALID_GEOMETRY, "fewer than two points", "skipped")
    return Polyline(tuple(points))


def mask(pixels: bytes, compressed: Any = None, compression: Any = None, encoding: Any = None) -> Mask:
    """Read a mask of a JSON list of pixel indices or of ``[start, length]`` pairs.

    ``compressed`` and ``compression`` are DM v1's ``isCompressed`` and ``compressionFormat``, ``encoding`` is DM v2's.
    Documents from before these keys have none of them: then the list itself tells. The list is read as bytes into
    numpy: a full mask is millions of numbers. Its bounds are checked when the size of the image is settled.
    """
    declared = _is_compressed(compressed, compression, encoding)
    structure = pixels.translate(None, _DIGITS_AND_SPACE)
    paired = structure.startswith(b"[[")
    # Only whole numbers give this skeleton: no sign, point, exponent, text, or list of another length.
    skeleton = b"[" + b"," * (len(structure) - 2) + b"]"
    if paired:
        skeleton = b"[" + b"[,]," * (structure.count(b"[,]") - 1) + b"[,]]"
    if structure != skeleton:
        raise Rejected(Reason.INVALID_MASK_ENCODING, "pixels are neither whole numbers nor pairs of them")
    del structure, skeleton
    numbers = np.fromstring(pixels.translate(None, _BRACKETS_AND_SPACE), dtype=np.int64, sep=",")
    if not numbers.size:
        raise Rejected(Reason.INVALID_MASK_ENCODING, "the mask has no pixels", "skipped")
    if declared not in (None, paired):
        raise Rejected(Reason.INVALID_MASK_ENCODING, "pixels do not have the declared encoding")
    try:
        return Mask(runs_from_pairs(numbers.reshape(-1, 2)) if paired else runs_from_indices(numbers))
    except MaskError as error:
        raise Rejected(Reason.INVALID_MASK_ENCODING, str(error)) from error


def _is_compressed(compressed: Any, compression: Any, encoding: Any) -> bool | None:
    """Return True if the keys say runs, False if they say indices, None if there are no such keys."""
    claims = set()
    if encoding is not None:
        claims.add({"dm_rle": True, "raw_indices": False}.get(encoding) if isinstance(encoding, str) else None)
    if compressed is not None:
        claims.add(compressed if isinstance(compressed, bool) else None)
    if compression is not None:
        claims.add(True if compression == "rle" else None)
    if None in claims or len(claims) > 1:
        raise Rejected(Reason.INVALID_MASK_ENCODING, "unknown or contradictory encoding")
    return claims.pop() if claims else None


def _points(value: Any) -> list[float]:
    if not isinstance(value, list):
        raise Rejected(Reason.INVALID_GEOMETRY, "not a list of points")
    points: list[float] = []
    for pair in value:
        points += _pair(pair)
    return points


def _pair(value: Any) -> tuple[float, float]:
    if isinstance(value, dict):
        return _coordinate(value.get("x")), _coordinate(value.get("y"))
    if isinstance(value, list) and len(value) == 2:
        return _coordinate(value[0]), _coordinate(value[1])
    raise Rejected(Reason.INVALID_GEOMETRY, "a point is not x and y")


def _coordinate(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise Rejected(Reason.INVALID_GEOMETRY, "not a number")
    if not -MAX_COORDINATE <= value <= MAX_COORDINATE:
        raise Rejected(Reason.INVALID_GEOMETRY, "not a coordinate of any image")
    return float(value)


def decode(raw: msgspec.Raw | None) -> Any:
    """Return the value of a piece of JSON, None if missing. Raises Rejected for numbers that no float can hold."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Rejected(Reason.INVALID_GEOMETRY, "a number out of range") from error
