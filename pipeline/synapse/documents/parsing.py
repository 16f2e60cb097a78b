"""Parse a record's payload, whatever its dialect and quality. No bytes make these functions raise."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from pipeline.reasons import Reason
from pipeline.records import Failure
from pipeline.synapse.documents.bounds import MAX_DEPTH, is_too_deep, reason_unreadable
from pipeline.synapse.documents.fast import read_well_formed
from pipeline.synapse.documents.json_fields import Fields, read_fields, read_items
from pipeline.synapse.documents.shapes import natural_key
from pipeline.synapse.documents.tolerant import CONTAINERS, MOST_FAILURES, Media, TooManyFailures, read_v1, read_v2

_SIGNED = b"presigned_url"


class Document(msgspec.Struct, frozen=True, gc=False):
    """A parsed payload.

    ``kind`` is the dialect (``v1``, ``v2``, ``flat``), ``empty`` for a DM document without annotations, ``null`` for
    a record that was never labelled, ``opaque`` for anything else. ``media`` are in natural order of their keys.
    ``failures`` have no record id yet. Those of annotations are geometry of a media that the document does not name.
    """

    kind: Literal["v1", "v2", "flat", "empty", "null", "opaque"]
    media: tuple[Media, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def seen(self) -> int:
        """The number of annotations in the document, readable or not. Geometry without an annotation counts as one."""
        inside = sum(len(media.annotations) + sum(map(_is_left_out, media.failures)) for media in self.media)
        return inside + sum(1 for failure in self.failures if failure.of == "annotation")


def _is_left_out(failure: Failure) -> bool:
    return failure.outcome != "corrected"  # what is corrected is among the annotations


def parse_document(data: bytes) -> Document:
    """Parse a payload. Never raises: anything that is not JSON or not a DM document becomes an ``opaque`` Document."""
    problem = reason_unreadable(data)
    if problem:
        return _malformed(problem)
    media = read_well_formed(data)
    if media is None and is_too_deep(data):
        return _malformed(f"lists and objects nested more than {MAX_DEPTH} deep")
    if media is not None:
        labelled = any(item.annotations for item in media)
        return Document("v1" if labelled else "empty", _in_natural_order(media))
    try:
        fields = read_fields(data)
        # Not an object, or not JSON at all: decoding it tells which.
        value = msgspec.json.decode(data) if fields is None else fields
    except msgspec.DecodeError:
        return _malformed("not JSON")
    if fields is None:
        return _foreign(data) if value else Document("null")
    try:
        found = _detect(fields)
        return _foreign(data) if found is None else found
    except TooManyFailures:
        return _malformed(f"more than {MOST_FAILURES:,} of its annotations cannot be read")


def _detect(fields: Fields) -> Document | None:
    """Detect the dialect, in the order of the contract: wrapper, v2 in its envelope, v2, v1 and flat.

    None for anything else.
    """
    annotations = read_fields(fields.get("annotations"))
    lists = [items for name in CONTAINERS if (items := read_items(fields.get(name))) is not None]
    envelope = read_fields(fields.get("annotation_data"))
    if not fields:
        return Document("null")
    if annotations is None and not lists and envelope is None and _mode(fields) in ("inline", "presigned"):
        inner = fields.get("data")
        if _mode(fields) == "inline" and inner is not None and bytes(fields.get("truncated", b"")) != b"true":
            return parse_document(bytes(inner))
        return _malformed("a payload wrapper without its document")
    if envelope is not None:
        meta = read_fields(fields.get("annotation_meta")) or {}
        return Document("v2", _in_natural_order(read_v2(envelope, meta)))
    if any(lists) or (lists and annotations is None):
        return Document("v2", _in_natural_order(read_v2(fields, fields)))
    if annotations is not None:
        kind, media, failures = read_v1(fields)
        return Document(kind, _in_natural_order(media), tuple(failures))
    return None


def _foreign(data: bytes) -> Document:
    """A document that is not of the DM, which formats may write as it is; but never one with a signed URL in it.

    A wrapper that is damaged, or is inside of something else, is not told by its shape.
    """
    return _malformed("a payload wrapper without its document") if _SIGNED in data else Document("opaque")


def _in_natural_order(media: Sequence[Media]) -> tuple[Media, ...]:
    return tuple(media) if len(media) < 2 else tuple(sorted(media, key=lambda item: natural_key(item.key)))


def _mode(fields: Fields) -> str:
    return bytes(fields.get("mode", b"")).decode().strip('"')


def _malformed(problem: str) -> Document:
    return Document("opaque", failures=(Failure(0, Reason.MALFORMED_DOCUMENT, problem),))
