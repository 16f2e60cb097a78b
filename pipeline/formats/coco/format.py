"""COCO: instances, keypoints and stuff, JSON files per split. See ``docs/formats/coco.md`` for the grammar."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from pipeline.formats import BaseFormat, Entry, Loss, Manifest, Section
from pipeline.formats.coco.keypoints import KeypointObject, SkeletonCategory, make_category, make_objects, name_files
from pipeline.formats.encoding import ascii_json, without_nulls
from pipeline.formats.images import (
    Rectangle,
    count_files,
    encode_mask,
    image_size,
    is_outside,
    is_turned,
    place_box,
    without_image,
)
from pipeline.formats.support import KEPT, Kind, Support
from pipeline.images.geometry import corners, enclosing, polygon_area
from pipeline.model.catalog import Catalog
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, NumberedSample, Point, Polygon, Shape

BoxSegmentation = Literal["empty", "rectangle"]

_SEPARATOR = b",\n"
_encode = msgspec.json.Encoder().encode
_CROWD_ATTRIBUTES = ("iscrowd", "crowd")


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: int
    height: int


class _RleSegmentation(msgspec.Struct, gc=False):
    size: tuple[int, int]
    counts: str


type _Segmentation = tuple[tuple[float, ...], ...] | _RleSegmentation


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
class Coco(BaseFormat):
    """``annotations/*_<split>.json`` and ``classes.json``, as pycocotools and what builds on it read them.

    Boxes, polygons and masks are in ``instances``, the objects of each skeleton in ``<skeleton>_keypoints``, and with
    ``masks: semantic`` masks are in ``stuff`` instead.

    ``box_segmentation`` is what a plain box has as its segmentation: ``empty`` (``[]``) or its ``rectangle`` as a
    polygon, for training code that needs a mask for every object. ``shard_images`` cuts every file into files of at
    most so many images; 0 is one file per split.
    """

    box_segmentation: BoxSegmentation = "empty"
    shard_images: Annotated[int, Meta(ge=0)] = 0

    name: ClassVar[str] = "coco"
    reader_memory: ClassVar[float] = 6.4
    """Bytes that pycocotools takes for a byte of JSON, as measured (``docs/formats/coco.md``)."""

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """The files of every split, all categories in each, and the list of classes."""
        numbered = list(enumerate(catalog.classes, start=1))
        categories = _encode_lines({"id": number, "name": name, "supercategory": name} for number, name in numbered)
        kinds = {"instances": categories}
        for kind, skeleton in zip(name_files(catalog), catalog.skeletons, strict=True):
            kinds[kind] = _encode_lines([make_category(skeleton)])
        if catalog.masks == "semantic":
            kinds["stuff"] = categories
        info = ascii_json(
            _encode({"name": catalog.name, "description": catalog.description, "exporter": "synapse-export"})
        )
        for kind, listed in kinds.items():
            head = b'{"info":%b,\n"licenses":[],\n"categories":%b,\n"images":[\n' % (info, listed)
            images = Section("images", open=head, separator=_SEPARATOR, close=b"\n],\n")
            annotations = Section("annotations", open=b'"annotations":[\n', separator=_SEPARATOR, close=b"\n]}\n")
            for split, count in catalog.splits.items():
                shards = count_files(count, self.shard_images) if self.shard_images else 1
                for number in range(shards):
                    yield Manifest(self._path(kind, split, number), (images, annotations))
        sources = zip(numbered, catalog.class_sources, strict=True)
        classes = _encode_lines({"id": number, "name": name, "source": source} for (number, name), source in sources)
        yield Manifest("classes.json", (Section("classes", open=classes + b"\n"),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """The image as one item of every kind of file, and its annotations as another where it has any."""
        source = sample.sample
        size = image_size(source)
        if size is None:
            return without_image(source)
        image_id, masks, class_of = sample.image_id, catalog.masks, catalog.class_of_label.get
        image = ascii_json(_encode(_Image(image_id, sample.file_name, *size)))
        losses: list[Entry | Loss] = []
        instances: list[_Annotation] = []
        stuff: list[_Annotation] = []
        keypoints = False
        for number, annotation in enumerate(source.annotations, start=sample.annotation_id):
            shape, attributes = annotation.shape, annotation.attributes
            if isinstance(shape, Point):
                keypoints = True  # a skeleton's, all of them together below
                continue
            category = class_of(annotation.label)
            if category is None:
                drawn = isinstance(shape, Box | Polygon | Mask)
                reason = Reason.CLASS_DROPPED if drawn else Reason.UNSUPPORTED_ANNOTATION_TYPE
                losses.append(Loss(annotation.id, "skipped", reason))
                continue
            geometry = self._geometry(shape, size, masks)
            if not isinstance(geometry, tuple):
                losses.append(Loss(annotation.id, "skipped", geometry))
                continue
            bbox, area, segmentation, changes = geometry
            kept = without_nulls(attributes) if attributes else {}
            if masks == "semantic" and isinstance(shape, Mask):
                stuff.append(_Annotation(number, image_id, category + 1, bbox, area, segmentation, 0, kept))
                continue
            iscrowd = _read_iscrowd(attributes) if attributes else 0
            instances.append(_Annotation(number, image_id, category + 1, bbox, area, segmentation, iscrowd, kept))
            if changes:
                losses += [Loss(annotation.id, "lossy", reason) for reason in changes]
        results = self._items("instances", sample, image, instances)
        people: Sequence[Sequence[KeypointObject]] = [()] * len(catalog.skeletons)
        if keypoints:
            people, lost = make_objects(sample, catalog, size)
            losses += lost
        if people:
            for kind, of_skeleton in zip(name_files(catalog), people, strict=True):
                results += self._items(kind, sample, image, of_skeleton)
        if masks == "semantic":
            results += self._items("stuff", sample, image, stuff)
        return results + losses

    def support(self) -> Mapping[Kind, Support]:
        """What becomes of each kind of annotation, with ``masks: instance``; options make no difference."""
        outside = Support("skipped", Reason.OUTSIDE_IMAGE)
        unsupported = Support("skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE)
        return {
            Kind.BOX: KEPT,
            Kind.TURNED_BOX: Support("lossy", Reason.ROTATION_ENCLOSED, "polygon of its corners and the box around it"),
            Kind.BOX_OVER_EDGE: Support("lossy", Reason.CLIPPED_TO_IMAGE, "cut"),
            Kind.BOX_OUTSIDE: outside,
            Kind.POLYGON: KEPT,
            Kind.POLYGON_OVER_EDGE: Support(how="with its points outside"),
            Kind.POLYGON_OUTSIDE: outside,
            Kind.FLAT_POLYGON: Support("skipped", Reason.INVALID_POLYGON),
            Kind.MASK: KEPT,
            Kind.MASK_WITH_HOLE: Support(how="with its holes"),
            Kind.MASK_IN_PARTS: Support(how="one object"),
            Kind.POLYLINE: unsupported,
            Kind.SKELETON_POINT: Support(how="in the file of its skeleton"),
            Kind.UNGROUPED_POINT: Support("skipped", Reason.KEYPOINT_GROUP_INVALID),
            Kind.UNKNOWN_POINT: Support("skipped", Reason.KEYPOINT_PROFILE_UNSUPPORTED),
            Kind.WHOLE: unsupported,
            Kind.RELATION: unsupported,
            Kind.OPAQUE: unsupported,
            Kind.ATTRIBUTES: Support(how="not those of keypoints"),
            Kind.DROPPED_CLASS: Support("skipped", Reason.CLASS_DROPPED),
        }

    def how_to_read(self, url: str, split: str) -> str:
        """pycocotools, and where the images are."""
        return f"pycocotools: COCO('{url}/{self._path('instances', split, 0)}'), images in {url}/images/{split}"

    def _items(
        self, kind: str, sample: NumberedSample, image: bytes, annotations: Sequence[_Annotation | KeypointObject]
    ) -> list[Entry | Loss]:
        number = sample.position // self.shard_images if self.shard_images else 0
        path = self._path(kind, sample.split, number)
        if not annotations:
            return [Entry(path, image, "images")]
        # Encoding an image's annotations together is faster. They still get a line each: a quote inside a text is
        # escaped, so what is replaced is never part of one.
        lines = ascii_json(_encode(annotations))[1:-1].replace(b'},{"id":', b'},\n{"id":')
        return [Entry(path, image, "images"), Entry(path, lines, "annotations")]

    def _path(self, kind: str, split: str, number: int) -> str:
        return f"annotations/{kind}_{split}{f'_{number:05}' if self.shard_images else ''}.json"

    def _geometry(self, shape: Shape, size: tuple[int, int], masks: str) -> _Geometry | Reason:
        if isinstance(shape, Box):
            if shape.rotation and is_turned(shape):
                return _describe_outline(corners(shape), shape.width * shape.height, size, (Reason.ROTATION_ENCLOSED,))
            placed = place_box(shape, *size)
            if placed is None:
                return Reason.OUTSIDE_IMAGE
            x, y, width, height, changes = placed
            segmentation: _Segmentation = ()
            if self.box_segmentation == "rectangle":
                segmentation = ((x, y, x + width, y, x + width, y + height, x, y + height),)
            return (x, y, width, height), width * height, segmentation, changes
        if isinstance(shape, Polygon):
            return _describe_outline(shape.points, polygon_area(shape.points), size)
        if isinstance(shape, Mask):
            return Reason.SEGMENTATION_EXCLUDED if masks == "exclude" else _describe_mask(shape, size)
        return Reason.UNSUPPORTED_ANNOTATION_TYPE


def _describe_outline(
    points: tuple[float, ...], area: float, size: tuple[int, int], changes: tuple[Reason, ...] = ()
) -> _Geometry | Reason:
    # Points outside the image stay: cutting a concave outline can break it into several, and every reader cuts by
    # itself. Left out is only what no reader could draw.
    if not area > 0:
        return Reason.INVALID_POLYGON
    bbox = enclosing(points)
    x, y, width, height = bbox
    if not (x >= 0 and y >= 0 and x + width <= size[0] and y + height <= size[1]) and is_outside(points, size):
        return Reason.OUTSIDE_IMAGE
    return bbox, area, (points,), changes


def _describe_mask(mask: Mask, size: tuple[int, int]) -> _Geometry | Reason:
    rle = encode_mask(mask, size)
    if rle is None:
        return Reason.INVALID_MASK_ENCODING
    return rle.bbox, float(rle.area), _RleSegmentation(rle.size, rle.counts.decode("ascii")), ()


def _read_iscrowd(attributes: dict[str, Any]) -> int:
    """1 when the annotator marked a group of objects as one: true, 1, "true" or "1"."""
    for name in _CROWD_ATTRIBUTES:
        value = attributes.get(name)
        if value == 1 or (isinstance(value, str) and value.lower() in ("true", "1")):
            return 1
    return 0


def _encode_lines(values: Iterable[dict[str, Any] | SkeletonCategory]) -> bytes:
    """A JSON array, one value per line."""
    return b"[\n" + _SEPARATOR.join(ascii_json(_encode(value)) for value in values) + b"\n]"
