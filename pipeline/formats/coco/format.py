"""COCO: instances, keypoints and stuff, JSON files per split. See ``docs/formats/coco.md`` for the grammar."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from pipeline.formats import BaseFormat, Entry, Loss, Manifest, Section
from pipeline.formats.coco.annotations import BoxSegmentation, CocoAnnotation, CocoImage, describe_shape, read_iscrowd
from pipeline.formats.coco.keypoints import KeypointObject, SkeletonCategory, make_categories, make_objects, name_files
from pipeline.formats.coco.support import SUPPORT
from pipeline.formats.encoding import ascii_json, without_nulls
from pipeline.formats.images import (
    count_files,
    image_size,
    without_image,
)
from pipeline.formats.support import Kind, Support
from pipeline.model.catalog import Catalog
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, NumberedSample, Point, Polygon

_SEPARATOR = b",\n"
_NOTHING: dict[str, Any] = {}
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Coco(BaseFormat):
    """``annotations/*_<split>.json`` and ``classes.json``, as pycocotools and the libraries on top of it read them.

    Boxes, polygons and masks are in ``instances``, and the objects of each skeleton in ``<skeleton>_keypoints``. With
    ``masks: semantic`` the masks are in ``stuff`` instead.

    ``box_segmentation`` is the segmentation of a plain box: ``empty`` (``[]``), or its ``rectangle`` as a polygon for
    training code that needs a mask for every object. ``shard_images`` is the most images in one file; 0 writes one file
    per split.
    """

    box_segmentation: BoxSegmentation = "empty"
    shard_images: Annotated[int, Meta(ge=0)] = 0

    name: ClassVar[str] = "coco"
    reader_memory: ClassVar[float] = 6.4
    """Bytes of memory that pycocotools takes for a byte of JSON, as measured (``docs/formats/coco.md``)."""

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return the files of every split, each with all categories, and the list of classes."""
        numbered = list(enumerate(catalog.classes, start=1))
        categories = _encode_lines({"id": number, "name": name, "supercategory": name} for number, name in numbered)
        kinds = {"instances": categories}
        for number, (kind, skeleton) in enumerate(zip(name_files(catalog), catalog.skeletons, strict=True)):
            kinds[kind] = _encode_lines(make_categories(skeleton, catalog.classes_of_objects(number)))
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
        """Return the image as an item of every kind of file, and its annotations as an item where it has any."""
        source = sample.sample
        size = image_size(source)
        if size is None:
            return without_image(source)
        image_id, masks, class_of = sample.image_id, catalog.masks, catalog.class_of_label.get
        box_segmentation = self.box_segmentation
        image = ascii_json(_encode(CocoImage(image_id, sample.file_name, *size)))
        losses: list[Entry | Loss] = []
        instances: list[CocoAnnotation] = []
        stuff: list[CocoAnnotation] = []
        keypoints = False
        for number, annotation in enumerate(source.annotations, start=sample.annotation_id):
            shape, attributes = annotation.shape, annotation.attributes
            if isinstance(shape, Point):
                keypoints = True  # the keypoints of a skeleton are one object: they are rendered together below
                continue
            category = class_of(annotation.label)
            if category is None:
                drawn = isinstance(shape, Box | Polygon | Mask)
                reason = Reason.CLASS_DROPPED if drawn else Reason.UNSUPPORTED_ANNOTATION_TYPE
                losses.append(Loss(annotation.id, "skipped", reason))
                continue
            geometry = describe_shape(shape, size, masks, box_segmentation)
            if not isinstance(geometry, tuple):
                losses.append(Loss(annotation.id, "skipped", geometry))
                continue
            bbox, area, segmentation, changes = geometry
            if changes:
                losses += [Loss(annotation.id, "lossy", reason) for reason in changes]
            is_stuff = masks == "semantic" and isinstance(shape, Mask)
            kept, iscrowd = (without_nulls(attributes), read_iscrowd(attributes)) if attributes else (_NOTHING, 0)
            (stuff if is_stuff else instances).append(
                CocoAnnotation(
                    number,
                    image_id,
                    category + 1,
                    bbox,
                    area,
                    segmentation,
                    0 if is_stuff else iscrowd,
                    kept,
                    annotation.group,
                )
            )
        results = self._items("instances", sample, image, instances)
        objects: Sequence[Sequence[KeypointObject]] = [()] * len(catalog.skeletons)
        if keypoints:
            objects, lost = make_objects(sample, catalog, size)
            losses += lost
        if objects:
            for kind, of_skeleton in zip(name_files(catalog), objects, strict=True):
                results += self._items(kind, sample, image, of_skeleton)
        if masks == "semantic":
            results += self._items("stuff", sample, image, stuff)
        return results + losses

    def support(self) -> Mapping[Kind, Support]:
        """Return what becomes of each kind of annotation, with ``masks: instance``; options make no difference."""
        return SUPPORT

    def how_to_read(self, url: str, split: str) -> str:
        """Return how pycocotools loads the annotations, and where the images are."""
        return f"pycocotools: COCO('{url}/{self._path('instances', split, 0)}'), images in {url}/images/{split}"

    def _items(
        self, kind: str, sample: NumberedSample, image: bytes, annotations: Sequence[CocoAnnotation | KeypointObject]
    ) -> list[Entry | Loss]:
        number = sample.position // self.shard_images if self.shard_images else 0
        path = self._path(kind, sample.split, number)
        if not annotations:
            return [Entry(path, image, "images")]
        # Encoding all annotations of an image together is faster. Each still gets a line: quotes inside a text are
        # escaped, so the replaced bytes are never part of one.
        lines = ascii_json(_encode(annotations))[1:-1].replace(b'},{"id":', b'},\n{"id":')
        return [Entry(path, image, "images"), Entry(path, lines, "annotations")]

    def _path(self, kind: str, split: str, number: int) -> str:
        return f"annotations/{kind}_{split}{f'_{number:05}' if self.shard_images else ''}.json"


def _encode_lines(values: Iterable[dict[str, Any] | SkeletonCategory]) -> bytes:
    """Return a JSON array with one value per line."""
    return b"[\n" + _SEPARATOR.join(ascii_json(_encode(value)) for value in values) + b"\n]"
