"""Images and annotations as COCO's JSON holds them, and what a shape becomes there."""

from typing import Any, Literal

import msgspec

from pipeline.formats.images import (
    PlacedOutline,
    Rectangle,
    Size,
    encode_mask,
    is_turned,
    place_box,
    place_outline,
    place_turned_box,
)
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, Polygon, Shape

BoxSegmentation = Literal["empty", "rectangle"]

_CROWD_ATTRIBUTES = ("iscrowd", "crowd")


class CocoImage(msgspec.Struct, gc=False):
    """An item of ``images``; the sides are in pixels."""

    id: int
    file_name: str
    width: int
    height: int


class RleSegmentation(msgspec.Struct, gc=False):
    """A mask; ``size`` is ``[height, width]``."""

    size: tuple[int, int]
    counts: str


type Segmentation = tuple[tuple[float, ...], ...] | RleSegmentation
"""Rings ``(x1, y1, x2, y2, …)`` in pixels, or a mask."""

type Geometry = tuple[Rectangle, float, Segmentation, tuple[Reason, ...]]
"""Where an annotation is: bbox, area in square pixels, segmentation; and how it was changed for COCO."""


class CocoAnnotation(msgspec.Struct, gc=False, omit_defaults=True):
    """An item of ``annotations``; ``group`` is the id of the annotation group, which readers leave alone."""

    id: int
    image_id: int
    category_id: int
    bbox: Rectangle
    area: float
    segmentation: Segmentation
    iscrowd: int
    attributes: dict[str, Any] = {}
    group: str = ""


def describe_shape(shape: Shape, size: Size, masks: str, box_segmentation: BoxSegmentation) -> Geometry | Reason:
    """Return where a shape is in an image of ``size`` (width, height), or the reason why it is left out.

    ``masks`` is the export's setting (:attr:`pipeline.model.catalog.Catalog.masks`).
    """
    if isinstance(shape, Box):
        if not shape.rotation and box_segmentation == "empty":
            # Nearly every box is like this: the same as below, for a box that nothing is cut off.
            x, y, width, height = shape.x, shape.y, shape.width, shape.height
            if x >= 0 and y >= 0 and x + width <= size[0] and y + height <= size[1]:
                return (x, y, width, height), width * height, (), ()
        if shape.rotation and is_turned(shape):
            return _describe_outline(place_turned_box(shape, size))
        placed = place_box(shape, *size)
        if placed is None:
            return Reason.OUTSIDE_IMAGE
        x, y, width, height, changes = placed
        segmentation: Segmentation = ()
        if box_segmentation == "rectangle":
            segmentation = ((x, y, x + width, y, x + width, y + height, x, y + height),)
        return (x, y, width, height), width * height, segmentation, changes
    if isinstance(shape, Polygon):
        return _describe_outline(place_outline(shape.points, size))
    if isinstance(shape, Mask):
        return Reason.SEGMENTATION_EXCLUDED if masks == "exclude" else _describe_mask(shape, size)
    return Reason.UNSUPPORTED_ANNOTATION_TYPE


def _describe_outline(placed: PlacedOutline | Reason) -> Geometry | Reason:
    return placed if isinstance(placed, Reason) else (placed.bbox, placed.area, (tuple(placed.ring),), placed.changes)


def _describe_mask(mask: Mask, size: Size) -> Geometry | Reason:
    encoded = encode_mask(mask, size)
    if not isinstance(encoded, tuple):
        return encoded
    rle, changes = encoded
    return rle.bbox, float(rle.area), RleSegmentation(rle.size, rle.counts.decode("ascii")), changes


def read_iscrowd(attributes: dict[str, Any]) -> int:
    """Return 1 when the annotator marked a group of objects as one (true, 1, "true" or "1"), else 0."""
    if attributes.keys().isdisjoint(_CROWD_ATTRIBUTES):
        return 0
    for name in _CROWD_ATTRIBUTES:
        value = attributes.get(name)
        if value == 1 or (isinstance(value, str) and value.lower() in ("true", "1")):
            return 1
    return 0
