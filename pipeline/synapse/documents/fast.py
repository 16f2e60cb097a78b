"""The quick reader: decode well-formed DM v1 documents directly into typed structs.

Nearly every document is one of these, and this reader takes a third of the time of the tolerant reader. If it meets
anything unusual, it stops, and the tolerant reader (:mod:`pipeline.synapse.documents.tolerant`) reads the document
again, entry by entry. On documents that both can read they agree, which a test checks.
"""

from typing import Annotated, Any

import msgspec

from pipeline.errors import UNREADABLE_JSON
from pipeline.records import Annotation, Box, Point, Shape, Whole
from pipeline.synapse.documents import shapes
from pipeline.synapse.documents.groups import NO_GROUP, Group, membership
from pipeline.synapse.documents.shapes import (
    FULLY_VISIBLE,
    MAX_COORDINATE,
    Rejected,
    class_label,
    media_kind,
    pixel_size,
)
from pipeline.synapse.documents.tolerant import Media

# ruff: noqa: N815 (fields have the document's own names)


type _Number = Annotated[float, msgspec.Meta(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
type _Length = Annotated[float, msgspec.Meta(gt=0, le=MAX_COORDINATE)]


class _Vertex(msgspec.Struct, gc=False):
    x: _Number
    y: _Number


class _Coordinate(msgspec.Struct, gc=False):
    x: _Number
    y: _Number
    width: _Length | None = None
    height: _Length | None = None
    rotation: _Number | None = None


class _Entry(msgspec.Struct, gc=False):
    """An item of ``annotationsData``."""

    id: str
    coordinate: _Coordinate | list[_Vertex] | None = None
    pixel_indices: msgspec.Raw = msgspec.Raw()
    isCompressed: bool | None = None
    compressionFormat: str | None = None
    encoding: None = None


class _Annotation(msgspec.Struct, gc=False):
    """An item of ``annotations``. Fields of type None belong to other dialects: any value ends the quick way."""

    id: str
    tool: str
    classification: dict[str, Any]
    attrs: None = None
    group_id: None = None
    visibility: None = None


class _Size(msgspec.Struct, gc=False):
    width: int | float | None = None
    height: int | float | None = None


class _Document(msgspec.Struct, gc=False):
    annotations: dict[str, list[_Annotation]]
    annotationsData: dict[str, list[_Entry]]
    extra: dict[str, _Size] | None = None
    annotationGroups: dict[str, list[Group]] | None = None
    relations: dict[str, tuple[()]] | None = None
    mode: None = None
    annotation_data: None = None
    images: None = None
    videos: None = None
    pcds: None = None
    texts: None = None
    audios: None = None
    prompts: None = None
    datas: None = None


_PLAIN = frozenset((str, bool))
_DOCUMENT = msgspec.json.Decoder(_Document)


def read_well_formed(data: bytes) -> tuple[Media, ...] | None:
    """Return all media of a well-formed DM v1 document, in no particular order; None if anything is unusual."""
    try:
        document = _DOCUMENT.decode(data)
    except UNREADABLE_JSON:
        return None
    entries = document.annotationsData
    media: list[Media] = []
    for key, items in document.annotations.items():
        groups = document.annotationGroups.get(key) if document.annotationGroups else None
        annotations = _annotations(key, items, entries.pop(key, ()), groups)
        if annotations is None:
            return None
        size = document.extra.get(key) if document.extra else None
        width = pixel_size(size.width) if size else None
        height = pixel_size(size.height) if size else None
        media.append(Media(key, "image", width, height, annotations))
    return None if any(entries.values()) else tuple(media)


def _annotations(
    key: str, items: list[_Annotation], entries: "list[_Entry] | tuple[()]", groups: list[Group] | None
) -> tuple[Annotation, ...] | None:
    if media_kind(key) != "image":
        return None
    entry_of = {entry.id: entry for entry in entries}
    # Each annotation must find an entry of its own, and none may be left: no duplicates, nothing missing, no orphans.
    if not len(items) == len(entries) == len(entry_of):
        return None
    group_of = membership(groups) if groups else {}
    annotations: list[Annotation] = []
    for item in items:
        identity, attributes = item.id, item.classification
        entry = entry_of.pop(identity, None)
        label = attributes.pop("class", None)
        if entry is None or not identity or type(label) is not str or not (label := class_label(label)):
            return None
        try:
            shape = _shape(item.tool, entry, attributes)
        except Rejected:
            return None
        if shape is None:
            return None
        for value in attributes.values():
            if type(value) not in _PLAIN and not shapes.check_attributes(value):
                return None
        group, group_label = group_of.get(identity, NO_GROUP)
        annotations.append(Annotation(identity, item.tool, label, shape, attributes, group, group_label))
    return tuple(annotations)


def _shape(tool: str, entry: _Entry, attributes: dict[str, Any]) -> Shape | None:
    where = entry.coordinate
    if type(where) is _Coordinate:
        if tool == "bounding_box" and where.width and where.height:
            return Box(where.x, where.y, where.width, where.height, where.rotation or 0.0)
        if tool == "keypoint":
            visible = attributes.pop("visibility", None)
            return Point(where.x, where.y, FULLY_VISIBLE if visible is None else shapes.visibility(visible))
    elif type(where) is list:
        points = [number for vertex in where for number in (vertex.x, vertex.y)]
        if tool == "polygon":
            return shapes.ring(points)
        if tool == "polyline":
            return shapes.line(points)
    elif tool == "segmentation":
        return shapes.mask(bytes(entry.pixel_indices), entry.isCompressed, entry.compressionFormat)
    elif tool == "classification":
        return Whole()
    return None
