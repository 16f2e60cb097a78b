"""Hugging Face imagefolder: a table of each split's images and objects, beside the images themselves.

See ``docs/formats/imagefolder.md`` for the columns. It is Parquet and not JSON Lines, because ``datasets`` infers types
from the first lines: a split without objects would have other types than the others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from pipeline.formats import BaseFormat, Contents, Entry, Loss, Manifest, Section
from pipeline.formats.encoding import yaml_string
from pipeline.formats.images import (
    Rectangle,
    dropped_groups,
    encode_mask,
    image_size,
    is_turned,
    place_box,
    place_outline,
    place_turned_box,
    skip_sample,
    without_image,
)
from pipeline.formats.support import KEPT, Kind, Support
from pipeline.model.catalog import Catalog
from pipeline.model.splits import role_of
from pipeline.reasons import Reason
from pipeline.records import Annotation, Box, Mask, NumberedSample, Polygon, Whole

_IMAGES = "images"

type _Described = tuple[Rectangle, float, list[tuple[float, ...]], str | None, tuple[Reason, ...]]
"""The box, area, segmentation and mask of an object, and what was changed."""

_encode = msgspec.json.Encoder().encode


@dataclass
class _Objects:
    """The objects of an image, as parallel lists; ``mask`` holds counts of COCO's RLE, ``attributes`` holds JSON."""

    id: list[int] = field(default_factory=list)
    bbox: list[Rectangle] = field(default_factory=list)
    category: list[int] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    segmentation: list[list[tuple[float, ...]]] = field(default_factory=list)
    mask: list[str | None] = field(default_factory=list)
    attributes: list[str | None] = field(default_factory=list)


@dataclass(frozen=True)
class ImageFolder(BaseFormat):
    """``images/<split>/metadata.parquet``: a row per usable image, with its objects as parallel lists."""

    name: ClassVar[str] = "imagefolder"
    needs_originals: ClassVar[bool] = True

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """Return one table per split."""
        head = _encode({"classes": catalog.classes}) + b"\n"
        transform = "pipeline.formats.imagefolder.arrow:to_image_metadata"
        for split in catalog.splits:
            yield Manifest(_path(split), (Section(_IMAGES, open=head),), transform)
        yield Manifest("images/README.md", (Section("card", open=_make_card(catalog.splits)),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the row of an image, as a line of JSON."""
        source = sample.sample
        size = image_size(source)
        if size is None:
            return without_image(source)
        if sample.is_original_missing:  # a row names a file that must be there
            return skip_sample(source, Reason.ORIGINAL_MISSING)
        objects = _Objects()
        labels: list[int] = []
        losses: list[Loss] = []
        for number, annotation in enumerate(source.annotations, start=sample.annotation_id):
            category = catalog.class_index(annotation.label)
            if not isinstance(annotation.shape, Box | Polygon | Mask | Whole):
                losses.append(Loss(annotation.id, "skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE))
            elif category is None:
                losses.append(Loss(annotation.id, "skipped", Reason.CLASS_DROPPED))
            elif isinstance(annotation.shape, Whole):
                labels.append(category)
                if annotation.attributes:
                    losses.append(Loss(annotation.id, "lossy", Reason.CUSTOM_ATTRIBUTES_DROPPED))
            else:
                losses += _add(objects, number, annotation, category, size, catalog.masks)
        losses += dropped_groups(source, losses)
        row = {
            "file_name": sample.file_name,
            "image_id": sample.image_id,
            "record_id": source.record_id,
            "width": size[0],
            "height": size[1],
            "labels": labels,
            "objects": objects,
        }
        return [Entry(_path(sample.split), _encode(row) + b"\n", _IMAGES), *losses]

    def support(self) -> Mapping[Kind, Support]:
        """Return what becomes of each kind: boxes, outlines and masks are kept, each with its upright box."""
        cut = Support("lossy", Reason.CLIPPED_TO_IMAGE, "cut")
        outside = Support("skipped", Reason.OUTSIDE_IMAGE)
        unsupported = Support("skipped", Reason.UNSUPPORTED_ANNOTATION_TYPE)
        mask = Support(how="as COCO RLE")
        return dict.fromkeys(Kind, unsupported) | {
            Kind.BOX: KEPT,
            Kind.TURNED_BOX: Support("lossy", Reason.ROTATION_ENCLOSED, "polygon of its corners and the box around it"),
            Kind.BOX_OVER_EDGE: cut,
            Kind.BOX_OUTSIDE: outside,
            Kind.POLYGON: KEPT,
            Kind.POLYGON_OVER_EDGE: cut,
            Kind.POLYGON_OUTSIDE: outside,
            Kind.FLAT_POLYGON: Support("skipped", Reason.INVALID_POLYGON),
            Kind.MASK: mask,
            Kind.MASK_WITH_HOLE: mask,
            Kind.MASK_IN_PARTS: mask,
            Kind.WHOLE: Support(how="in `labels`"),
            Kind.ATTRIBUTES: KEPT,
            Kind.DROPPED_CLASS: Support("skipped", Reason.CLASS_DROPPED),
        }

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:
        """Return how Hugging Face ``datasets`` loads the images; it finds the splits by their folders."""
        if not any(contents.has(_path(name), _IMAGES) for name in contents.splits_from(split)):
            return ""
        return f"Hugging Face: load_dataset('{url}/images')"


def _make_card(splits: Iterable[str]) -> bytes:
    """Return the card that tells ``datasets`` the splits; without it they are guessed from names of folders and images.

    The splits of training are called as ``datasets`` calls them.
    """
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    taken: set[str] = set()
    for split in splits:
        role = role_of(split)
        name = "validation" if role == "val" else role or split.replace("-", "_")
        name = name if name not in taken else split.replace("-", "_")
        taken.add(name)
        lines += [f"  - split: {yaml_string(name)}", f"    path: {yaml_string(f'{split}/**')}"]
    return "".join(f"{line}\n" for line in (*lines, "---")).encode()


def _add(
    objects: _Objects, number: int, annotation: Annotation, category: int, size: tuple[int, int], masks: str
) -> Iterable[Loss]:
    """Add a box, polygon or mask to the lists; return its losses."""
    found = _describe(annotation.shape, size, masks)
    if isinstance(found, Reason):
        return [Loss(annotation.id, "skipped", found)]
    bbox, area, segmentation, counts, changes = found
    objects.id.append(number)
    objects.bbox.append(bbox)
    objects.category.append(category)
    objects.area.append(area)
    objects.segmentation.append(segmentation)
    objects.mask.append(counts)
    objects.attributes.append(_encode(annotation.attributes).decode() if annotation.attributes else None)
    return [Loss(annotation.id, "lossy", reason) for reason in changes]


def _describe(shape: Any, size: tuple[int, int], masks: str) -> _Described | Reason:
    if isinstance(shape, Mask):
        if masks != "instance":
            return Reason.SEMANTIC_SEGMENTATION_UNSUPPORTED if masks == "semantic" else Reason.SEGMENTATION_EXCLUDED
        encoded = encode_mask(shape, size)
        if not isinstance(encoded, tuple):
            return encoded
        rle, changes = encoded
        return rle.bbox, float(rle.area), [], rle.counts.decode("ascii"), changes
    if isinstance(shape, Box) and not is_turned(shape):
        placed = place_box(shape, *size)
        if placed is None:
            return Reason.OUTSIDE_IMAGE
        x, y, width, height, changes = placed
        return (x, y, width, height), width * height, [], None, changes
    outline = place_turned_box(shape, size) if isinstance(shape, Box) else place_outline(shape.points, size)
    if isinstance(outline, Reason):
        return outline
    return outline.bbox, outline.area, [tuple(outline.ring)], None, outline.changes


def _path(split: str) -> str:
    return f"images/{split}/metadata.parquet"
