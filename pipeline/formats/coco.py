"""COCO instances: boxes, polygons and masks, one JSON file per split. See ``docs/formats.md`` for the grammar."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import msgspec

from pipeline.catalog import Catalog
from pipeline.formats import Entry, Loss, Manifest, Section
from pipeline.formats.encoding import ascii_json, without_nulls
from pipeline.formats.images import Rectangle, image_size, is_turned, place, without_image
from pipeline.geometry import corners, enclosing, polygon_area
from pipeline.masks import MaskError, coco_rle
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, NumberedSample, Polygon, Shape

BoxSegmentation = Literal["empty", "rectangle"]

_SEPARATOR = b",\n"
_encode = msgspec.json.Encoder().encode
_CROWD_ATTRIBUTES = ("iscrowd", "crowd")


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: int
    height: int


class _Rle(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str


type _Segmentation = tuple[tuple[float, ...], ...] | _Rle


type _Geometry = tuple[Rectangle, float, _Segmentation, tuple[Reason, ...]]
"""What COCO says about where an annotation is (bbox, area in square pixels, segmentation), and what was changed."""


class _Annotation(msgspec.Struct, gc=False, omit_defaults=True):
    id: int
    image_id: int
    category_id: int
    bbox: Rectangle
    area: float
    segmentation: _Segmentation
    iscrowd: int
    attributes: dict[str, Any] = {}


@dataclass(frozen=True)
class Coco:
    """``annotations/instances_<split>.json`` and ``classes.json``, as pycocotools and what builds on it read them.

    ``box_segmentation`` is what a plain box has as its segmentation: ``empty`` (``[]``) or its ``rectangle`` as a
    polygon, for training code that needs a mask for every object. Raises ValueError for anything else.
    """

    box_segmentation: BoxSegmentation = "empty"

    name: ClassVar[str] = "coco"
    needs_payload: ClassVar[bool] = False

    def __post_init__(self) -> None:
        choices = get_args(BoxSegmentation)
        if self.box_segmentation not in choices:
            raise ValueError(f"box_segmentation must be one of {', '.join(choices)}, not {self.box_segmentation!r}")

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """One file per split with all categories in each, and the list of classes."""
        numbered = list(enumerate(catalog.classes, start=1))
        info = {"name": catalog.name, "description": catalog.description, "exporter": "synapse-export"}
        categories = _lines({"id": number, "name": name, "supercategory": name} for number, name in numbered)
        head = b'{"info":%b,\n"licenses":[],\n"categories":%b,\n"images":[\n' % (ascii_json(_encode(info)), categories)
        for split in catalog.splits:
            images = Section("images", open=head, separator=_SEPARATOR, close=b"\n],\n")
            annotations = Section("annotations", open=b'"annotations":[\n', separator=_SEPARATOR, close=b"\n]}\n")
            yield Manifest(_path(split), (images, annotations))
        sources = zip(numbered, catalog.class_sources, strict=True)
        classes = _lines({"id": number, "name": name, "source": source} for (number, name), source in sources)
        yield Manifest("classes.json", (Section("classes", open=classes + b"\n"),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """The image as one item, and its boxes, polygons and masks as another."""
        source = sample.sample
        size = image_size(source)
        if size is None:
            return without_image(source)
        path = _path(sample.split)
        image = _Image(sample.image_id, sample.file_name, *size)
        results: list[Entry | Loss] = [Entry(path, ascii_json(_encode(image)), "images")]
        items: list[_Annotation] = []
        for number, annotation in enumerate(source.annotations, start=sample.annotation_id):
            shape, attributes = annotation.shape, annotation.attributes
            category = catalog.class_index(annotation.label)
            if category is None:
                drawn = isinstance(shape, Box | Polygon | Mask)
                reason = Reason.CLASS_DROPPED if drawn else Reason.UNSUPPORTED_ANNOTATION_TYPE
                results.append(Loss(annotation.id, "skipped", reason))
                continue
            geometry = self._geometry(shape, size, catalog.masks)
            if not isinstance(geometry, tuple):
                results.append(Loss(annotation.id, "skipped", geometry))
                continue
            bbox, area, segmentation, changes = geometry
            iscrowd = _iscrowd(attributes) if attributes else 0
            kept = without_nulls(attributes) if attributes else {}
            items.append(_Annotation(number, sample.image_id, category + 1, bbox, area, segmentation, iscrowd, kept))
            if changes:
                results += [Loss(annotation.id, "lossy", reason) for reason in changes]
        if items:
            # Encoding an image's annotations together is faster. They still get a line each: a quote inside a text is
            # escaped, so what is replaced is never part of one.
            lines = ascii_json(_encode(items))[1:-1].replace(b'},{"id":', b'},\n{"id":')
            results.append(Entry(path, lines, "annotations"))
        return results

    def _geometry(self, shape: Shape, size: tuple[int, int], masks: str) -> _Geometry | Reason:
        if isinstance(shape, Box):
            if shape.rotation and is_turned(shape):
                return _outline(corners(shape), shape.width * shape.height, size, (Reason.ROTATION_ENCLOSED,))
            placed = place(shape, *size)
            if placed is None:
                return Reason.OUTSIDE_IMAGE
            x, y, width, height, changes = placed
            segmentation: _Segmentation = ()
            if self.box_segmentation == "rectangle":
                segmentation = ((x, y, x + width, y, x + width, y + height, x, y + height),)
            return (x, y, width, height), width * height, segmentation, changes
        if isinstance(shape, Polygon):
            return _outline(shape.points, polygon_area(shape.points), size)
        if isinstance(shape, Mask):
            return _mask(shape, size, masks)
        return Reason.UNSUPPORTED_ANNOTATION_TYPE


def _outline(
    points: tuple[float, ...], area: float, size: tuple[int, int], changes: tuple[Reason, ...] = ()
) -> _Geometry | Reason:
    # Points outside the image stay: cutting a concave outline can break it into several, and every reader cuts by
    # itself. Left out is only what no reader could draw.
    if not area > 0:
        return Reason.INVALID_POLYGON
    bbox = enclosing(points)
    x, y, width, height = bbox
    if not (x < size[0] and y < size[1] and x + width > 0 and y + height > 0):
        return Reason.OUTSIDE_IMAGE
    return bbox, area, (points,), changes


def _mask(mask: Mask, size: tuple[int, int], masks: str) -> _Geometry | Reason:
    if masks == "exclude":
        return Reason.SEGMENTATION_EXCLUDED
    if masks == "semantic":
        return Reason.SEMANTIC_SEGMENTATION_UNSUPPORTED
    try:
        rle = coco_rle(mask.runs, *size)
    except MaskError:
        return Reason.INVALID_MASK_ENCODING
    if not rle.area:
        return Reason.INVALID_MASK_ENCODING
    return rle.bbox, float(rle.area), _Rle(rle.size, rle.counts.decode("ascii")), ()


def _iscrowd(attributes: dict[str, Any]) -> int:
    """1 when the annotator marked a group of objects as one: true, 1, "true" or "1"."""
    for name in _CROWD_ATTRIBUTES:
        value = attributes.get(name)
        if value == 1 or (isinstance(value, str) and value.lower() in ("true", "1")):
            return 1
    return 0


def _lines(values: Iterable[dict[str, Any]]) -> bytes:
    """A JSON array, one value per line."""
    return b"[\n" + _SEPARATOR.join(ascii_json(_encode(value)) for value in values) + b"\n]"


def _path(split: str) -> str:
    return f"annotations/instances_{split}.json"
