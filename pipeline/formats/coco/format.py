"""COCO: instances, keypoints and stuff, JSON files per split. See ``docs/formats/coco.md`` for the grammar."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from pipeline.formats import BaseFormat, Contents, Entry, Loss, Manifest, Section
from pipeline.formats.coco.annotations import BoxSegmentation, CocoAnnotation, CocoImage, describe_shape, read_iscrowd
from pipeline.formats.coco.keypoints import KeypointObject, SkeletonCategory, make_categories, make_objects, name_files
from pipeline.formats.coco.support import SUPPORT
from pipeline.formats.encoding import ascii_json, without_nulls
from pipeline.formats.images import (
    count_files,
    image_size,
    missing_original,
    without_image,
)
from pipeline.formats.support import Kind, Support
from pipeline.model.catalog import Catalog
from pipeline.reasons import Reason
from pipeline.records import Box, Mask, NumberedSample, Point, Polygon

_TREE = "coco/instances"
_HELD: Mapping[str, frozenset[str]] = {
    "instance": frozenset(("box", "polygon", "mask")),
    "semantic": frozenset(("box", "polygon", "mask")),
    "exclude": frozenset(("box", "polygon")),
}
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
        """Return the files of every split, each with all categories of its kind, and the list of those of instances."""
        numbered = list(enumerate(catalog.classes_in(_TREE, _HELD[catalog.masks]).names, start=1))
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
                for number in range(self._count_files(count)):
                    yield Manifest(self._path(kind, split, number), (images, annotations))
        sources = dict(zip(catalog.classes, catalog.class_sources, strict=True))
        classes = _encode_lines(
            {"id": number, "name": name, "source": sources.get(name, "lock")} for number, name in numbered
        )
        yield Manifest("classes.json", (Section("classes", open=classes + b"\n"),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the image as an item of every kind of file, and its annotations as an item where it has any."""
        source = sample.sample
        size = image_size(source)
        if size is None:
            return without_image(source)
        image_id, masks, class_of = sample.image_id, catalog.masks, catalog.class_of_label.get
        numbers = catalog.classes_in(_TREE, _HELD[masks]).numbers
        box_segmentation = self.box_segmentation
        image = ascii_json(_encode(CocoImage(image_id, sample.file_name, *size)))
        losses: list[Entry | Loss] = [*missing_original(sample)]
        instances: list[CocoAnnotation] = []
        stuff: list[CocoAnnotation] = []
        keypoints = False
        for number, annotation in enumerate(source.annotations, start=sample.annotation_id):
            shape, attributes = annotation.shape, annotation.attributes
            if isinstance(shape, Point):
                keypoints = True  # the keypoints of a skeleton are one object: they are rendered together below
                continue
            label = annotation.label
            if class_of(label) is None:
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
            kept, iscrowd = (without_nulls(attributes), read_iscrowd(attributes)) if attributes else (_NOTHING, 0)
            held = instances
            if masks == "semantic" and isinstance(shape, Mask):
                held, iscrowd = stuff, 0
            category = numbers[label] + 1
            held.append(
                CocoAnnotation(number, image_id, category, bbox, area, segmentation, iscrowd, kept, annotation.group)
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

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:
        """Return how pycocotools loads the first file with annotations, else with images, and where these are."""
        catalog = contents.catalog
        places = [
            (kind, name, number)
            for kind in ("instances", *name_files(catalog), "stuff")
            for name in contents.splits_from(split)
            for number in range(self._count_files(catalog.splits[name]))
        ]
        filled = (at for held in ("annotations", "images") for at in places if contents.has(self._path(*at), held))
        place = next(filled, None)
        if place is None:
            return ""
        return f"pycocotools: COCO('{url}/{self._path(*place)}'), images in {url}/images/{place[1]}"

    def trees(self, masks: str) -> Mapping[str, Collection[str]]:
        """Return the one tree: the categories of instances, which are those of stuff too."""
        return {_TREE: _HELD[masks]}

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

    def _count_files(self, images: int) -> int:
        return count_files(images, self.shard_images) if self.shard_images else 1

    def _path(self, kind: str, split: str, number: int) -> str:
        return f"annotations/{kind}_{split}{f'_{number:05}' if self.shard_images else ''}.json"


def _encode_lines(values: Iterable[dict[str, Any] | SkeletonCategory]) -> bytes:
    """Return a JSON array with one value per line."""
    return b"[\n" + _SEPARATOR.join(ascii_json(_encode(value)) for value in values) + b"\n]"
