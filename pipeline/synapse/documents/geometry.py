"""Read the shape and the class of one annotation, wherever its dialect keeps them."""

from typing import Any

import msgspec

from pipeline.model.labels import has_controls, tidy_label
from pipeline.reasons import Reason
from pipeline.records import Opaque, Relation, Shape, Whole
from pipeline.synapse.documents import shapes
from pipeline.synapse.documents.json_fields import Fields, is_null
from pipeline.synapse.documents.shapes import Rejected, decode

_DRAWN = frozenset(("bounding_box", "polygon", "polyline", "keypoint", "segmentation"))
WITHOUT_CLASS = frozenset(("relation", "prompt", "answer"))
TOOLS = (
    _DRAWN
    | WITHOUT_CLASS
    | {"classification", "3d_bounding_box", "3d_segmentation", "named_entity", "time_range"}
)  # fmt: skip
_NOT_GEOMETRY = frozenset(("id", "tool", "type"))


class Places(msgspec.Struct):
    """Where the geometry of one annotation may be: its entry in ``annotationsData``, or the annotation itself.

    ``corrections`` collects what was put right while it was read: the reason and a detail.
    """

    annotation: Fields
    entry: Fields
    annotation_json: bytes
    entry_json: bytes
    corrections: list[tuple[Reason, str]] = []

    def find(self, name: str) -> msgspec.Raw | None:
        """Return a member of the entry or of the annotation, or None if it is missing or null."""
        found = self.entry.get(name)
        if is_null(found):
            found = self.annotation.get(name)
        return None if is_null(found) else found

    def geometry(self) -> msgspec.Raw:
        """Return the geometry. Raises Rejected if there is none."""
        found = self.find("coordinate") or self.find("data")
        if found is None:
            raise Rejected(Reason.GEOMETRY_MISSING, "nothing says where it is")
        return found


def read_shape(tool: str, kind: str, places: Places, attributes: dict[str, Any]) -> Shape:
    """Return the shape of an annotation in a media of ``kind``, and remove its keys from ``attributes``."""
    if tool == "classification":
        return Whole()
    if tool == "relation":
        return _relation(places)
    if kind not in ("image", "") or tool not in _DRAWN:
        return _opaque(tool, places)
    if tool == "segmentation":
        return _segmentation(places)
    value = decode(places.geometry())
    if tool == "bounding_box":
        # DM v2 keeps a box's rotation among its attributes.
        return shapes.box(
            value, attributes.pop("rotation", None) if "attrs" in places.annotation else None, places.corrections
        )
    if tool == "keypoint":
        visible = attributes.pop("visibility", None)
        return shapes.point(value, decode(places.annotation.get("visibility")) if visible is None else visible)
    return shapes.polygon(value) if tool == "polygon" else shapes.polyline(value)


def _segmentation(places: Places) -> Shape:
    pixels = places.find("pixel_indices")
    if pixels is None:
        pixels = places.find("data")
        if pixels is None and places.find("section") is None:
            raise Rejected(Reason.GEOMETRY_MISSING, "nothing says where it is")
        if pixels is None or bytes(pixels).startswith(b"{"):
            return _opaque("segmentation", places)
    told = (decode(places.find(name)) for name in ("isCompressed", "compressionFormat", "encoding"))
    return shapes.mask(bytes(pixels), *told)


def _relation(places: Places) -> Relation:
    ends = [decode(places.find(name)) for name in ("annotationId", "targetAnnotationId")]
    if ends == [None, None]:
        ends = decode(places.geometry())
    if not isinstance(ends, list) or len(ends) != 2 or not all(isinstance(end, str) and end for end in ends):
        raise Rejected(Reason.MALFORMED_ANNOTATION, "a relation without two ends")
    return Relation(*ends)


def _opaque(tool: str, places: Places) -> Opaque:
    if places.entry.keys() - _NOT_GEOMETRY:
        return Opaque(places.entry_json)
    found = places.find("data")
    if found is not None:
        return Opaque(bytes(found))
    if tool in TOOLS:
        raise Rejected(Reason.GEOMETRY_MISSING, "nothing says where it is")
    return Opaque(places.annotation_json)


def read_classification(places: Places, *, required: bool) -> tuple[str, dict[str, Any]]:
    """Return the class and the other attributes, from an object or a plain string and from DM v2's ``attrs``."""
    annotation = places.annotation
    try:
        code = decode(annotation.get("classification"))
        listed = decode(annotation.get("attrs"))
    except Rejected as error:
        raise Rejected(Reason.MALFORMED_ANNOTATION, "an attribute that is a number out of range") from error
    attributes: dict[str, Any] = {}
    if isinstance(code, dict):
        attributes = code
        code = attributes.pop("class", None)
    for attribute in listed if isinstance(listed, list) else () if listed is None else (None,):
        if not isinstance(attribute, dict) or not isinstance(attribute.get("name"), str):
            raise Rejected(Reason.MALFORMED_ANNOTATION, "attrs is not a list of names and values")
        attributes[attribute["name"]] = attribute.get("value")
    label = tidy_label(code) if isinstance(code, str) else ""
    if not label and (required or code not in (None, "")):
        raise Rejected(Reason.INVALID_CLASS_NAME, "no class")
    if isinstance(code, str) and has_controls(code.strip()):
        places.corrections.append((Reason.CLASS_NAME_TIDIED, "tabs and other controls in its class are spaces now"))
    if not shapes.check_attributes(attributes):
        raise Rejected(Reason.MALFORMED_ANNOTATION, "an attribute that is a number out of range")
    return label, attributes
