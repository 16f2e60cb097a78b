"""Rows of annotations of every tool, as CSV, Parquet and WebDataset write them.

``docs/formats/csv.md`` describes the columns. Shapes are not cut, rounded or enclosed: a table can hold a box that
leaves its image. Only a mask cannot leave it.
"""

from collections.abc import Mapping

import msgspec

from pipeline.formats import Loss
from pipeline.formats.images import Size, encode_mask
from pipeline.formats.support import KEPT, Kind, Support
from pipeline.images.geometry import enclosing_box
from pipeline.images.painting import painted_area
from pipeline.model.catalog import Catalog
from pipeline.reasons import Reason
from pipeline.records import Annotation, Box, Mask, NumberedSample, Opaque, Point, Polygon, Polyline, Relation, Whole

_encode = msgspec.json.Encoder().encode


class MediaColumns(msgspec.Struct, gc=False, omit_defaults=True):
    """The columns of the image (or other media) that an annotation is on.

    ``file_name`` is the path of the copy in the export, or the bare name when originals are not copied.
    """

    record_id: int
    image_id: int
    split: str
    media: str
    media_type: str
    file_name: str | None = None
    image_width: int | None = None
    image_height: int | None = None
    category: str | None = None


class RleColumn(msgspec.Struct, gc=False, frozen=True):
    """A mask as COCO writes it; ``size`` is ``[height, width]``."""

    size: tuple[int, int]
    counts: str


class AnnotationColumns(msgspec.Struct, gc=False, omit_defaults=True, rename={"class_name": "class"}):
    """The columns of an annotation; None where the shape has no such number.

    ``x, y, width, height`` of a turned box are those before the turn by ``rotation`` (radians, about its centre). For
    outlines and masks they are the rectangle around them, and a point has only ``x`` and ``y``. ``geometry`` is the
    JSON of shapes that do not lie in an image. An empty row stands for a sample without annotations.
    """

    annotation_id: int | None = None
    source_id: str | None = None
    tool: str | None = None
    class_name: str | None = None
    class_index: int | None = None
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    rotation: float | None = None
    area: float | None = None
    points: tuple[float, ...] | None = None
    rle: RleColumn | None = None
    visibility: int | None = None
    group: str | None = None
    group_class: str | None = None
    relation_source: str | None = None
    relation_target: str | None = None
    geometry: msgspec.Raw | None = None
    attributes: msgspec.Raw | None = None


COLUMNS = tuple(
    field.encode_name for part in (MediaColumns, AnnotationColumns) for field in msgspec.structs.fields(part)
)
"""The names of all columns, in order: those of the media, then those of the annotation."""


def describe_media(sample: NumberedSample) -> MediaColumns:
    """Return the columns that all annotations of a sample share."""
    source = sample.sample
    file_name = None
    if source.file is not None:
        file_name = sample.original_path if sample.original else sample.file_name
    return MediaColumns(
        source.record_id,
        sample.image_id,
        sample.split,
        source.media,
        source.kind,
        file_name,
        source.width or None,
        source.height or None,
        sample.record.category or None,
    )


def make_rows(sample: NumberedSample, catalog: Catalog) -> tuple[list[AnnotationColumns], list[Loss]]:
    """Return the rows of a sample's annotations, and the losses of those that cannot be written."""
    source = sample.sample
    size = (source.width, source.height) if source.width and source.height else None
    rows: list[AnnotationColumns] = []
    losses: list[Loss] = []
    for number, annotation in enumerate(source.annotations, start=sample.annotation_id):
        row = _make_row(number, annotation, catalog, size)
        if not isinstance(row, AnnotationColumns):
            losses.append(Loss(annotation.id, "skipped", row))
            continue
        rows.append(row)
        if isinstance(annotation.shape, Mask) and annotation.shape.is_cut:
            losses.append(Loss(annotation.id, "lossy", Reason.CLIPPED_TO_IMAGE))
    return rows, losses


def _make_row(number: int, annotation: Annotation, catalog: Catalog, size: Size | None) -> AnnotationColumns | Reason:
    label, shape = annotation.label, annotation.shape
    index = catalog.class_index(label)
    if label and index is None:
        return Reason.CLASS_DROPPED
    row = AnnotationColumns(
        annotation_id=number,
        source_id=annotation.id,
        tool=annotation.tool,
        class_name=None if index is None else catalog.classes[index],
        class_index=index,
        group=annotation.group or None,
        group_class=annotation.group_label or None,
        attributes=msgspec.Raw(_encode(annotation.attributes)) if annotation.attributes else None,
    )
    match shape:
        case Box():
            row.x, row.y, row.width, row.height, row.rotation = (
                shape.x,
                shape.y,
                shape.width,
                shape.height,
                shape.rotation,
            )
            row.area = shape.width * shape.height
        case Polygon() | Polyline():
            row.points = shape.points
            row.x, row.y, row.width, row.height = enclosing_box(shape.points)
            row.area = painted_area(shape.points) if isinstance(shape, Polygon) else None
        case Point():
            row.x, row.y, row.visibility = shape.x, shape.y, shape.visibility
        case Mask():
            return _add_mask(row, shape, size, catalog.masks)
        case Relation():
            row.relation_source, row.relation_target = shape.source, shape.target
        case Opaque():
            row.geometry = msgspec.Raw(shape.json)
        case Whole():
            pass
    return row


def _add_mask(row: AnnotationColumns, mask: Mask, size: Size | None, masks: str) -> AnnotationColumns | Reason:
    if masks == "exclude":
        return Reason.SEGMENTATION_EXCLUDED
    if size is None:
        return Reason.SOURCE_IMAGE_INVALID
    encoded = encode_mask(mask, size)
    if not isinstance(encoded, tuple):
        return encoded
    rle, _ = encoded
    row.rle = RleColumn(rle.size, rle.counts.decode("ascii"))
    row.x, row.y, row.width, row.height = rle.bbox
    row.area = float(rle.area)
    return row


def decode_raw(raw: msgspec.Raw) -> str:
    """Return the text of a piece of JSON."""
    return bytes(raw).decode()


def table_support() -> Mapping[Kind, Support]:
    """Return what becomes of each kind of annotation in a table: only dropped classes are left out."""
    found = dict.fromkeys(Kind, KEPT)
    found[Kind.TURNED_BOX] = Support(how="with its rotation")
    found[Kind.OPAQUE] = Support(how="as JSON")
    found[Kind.DROPPED_CLASS] = Support("skipped", Reason.CLASS_DROPPED)
    for kind in (Kind.BOX_OVER_EDGE, Kind.POLYGON_OVER_EDGE):
        found[kind] = Support(how="not cut")
    for kind in (Kind.MASK, Kind.MASK_WITH_HOLE, Kind.MASK_IN_PARTS):
        found[kind] = Support(how="as COCO RLE")
    return found
