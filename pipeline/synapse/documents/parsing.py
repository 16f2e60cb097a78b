"""A record's payload, of any dialect and any quality, as samples and failures. Nothing here raises on any bytes."""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import msgspec

from pipeline.images.masks import MaskError, check_runs
from pipeline.reasons import Reason
from pipeline.records import Annotation, Failure, File, Mask, Sample
from pipeline.synapse.documents.fast import read_well_formed
from pipeline.synapse.documents.shapes import media_kind, natural_key
from pipeline.synapse.documents.tolerant import (
    CONTAINERS,
    MOST_FAILURES,
    Fields,
    Media,
    TooManyFailures,
    read_fields,
    read_items,
    read_v1,
    read_v2,
)

__all__ = ["Document", "Media", "build_samples", "parse_document", "with_size"]

# Lists and objects within each other. Standard readers of JSON give up somewhere between 500 and 1000.
MAX_DEPTH = 100
# Objects and lists without anything in them, in one document: each takes twenty times its JSON when it is looked at.
MAX_EMPTY = 1 << 20
# Digits in a row; Python's own reader refuses integers of more than 4300.
MAX_DIGITS = 4270

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_SAMPLED = 61
_MANY_DIGITS = re.compile(rb"[0-9]{%d,}" % (MAX_DIGITS // _SAMPLED))
_TOO_MANY_DIGITS = re.compile(rb"[0-9]{%d}" % MAX_DIGITS)


class Document(msgspec.Struct, frozen=True, gc=False):
    """A payload that was read.

    ``kind`` is the dialect (``v1``, ``v2``, ``flat``), ``empty`` for a DM document without annotations, ``null`` for
    a record nobody labelled, ``opaque`` for anything else. ``media`` are in natural order of their keys. ``failures``
    have no record id yet; those that have a media are annotations (geometry of a media the document does not name).
    """

    kind: Literal["v1", "v2", "flat", "empty", "null", "opaque"]
    media: tuple[Media, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def seen(self) -> int:
        """How many annotations the document has, readable or not; geometry without an annotation counts as one."""
        inside = sum(len(media.annotations) + len(media.failures) for media in self.media)
        return inside + sum(1 for failure in self.failures if failure.media)


def parse_document(data: bytes) -> Document:
    """Read a payload. Never raises: what is not JSON, or no DM document, becomes an ``opaque`` Document."""
    problem = _unreadable(data)
    if problem:
        return _malformed(problem)
    media = read_well_formed(data)
    if media is None and _is_too_deep(data):
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
        return Document("opaque" if value else "null")
    try:
        return _detect(fields)
    except TooManyFailures:
        return _malformed(f"more than {MOST_FAILURES:,} of its annotations cannot be read")


def build_samples(
    record_id: int, document: Document, files: Sequence[File], *, category: str = ""
) -> tuple[list[Sample], list[Failure]]:
    """The samples of a record, one per media, and everything of it that could not be read.

    Media find their file by its spec; the single file of an assignment (spec ``""``) belongs to the first media.
    Image files that a DM document does not mention become samples without annotations (negatives). The sample of the
    primary file has ordinal 0, the others follow in natural order of their media keys. A size is the document's, else
    the file's, else None (:func:`with_size` adds it later). A document that is ``null`` or malformed has no samples;
    an ``opaque`` one has a single sample of kind ``document`` with the primary file.
    """
    failures = [msgspec.structs.replace(failure, record_id=record_id) for failure in document.failures]
    if document.kind == "null" or (document.kind == "opaque" and failures):
        return [], failures
    if document.kind == "opaque":
        file = _primary(files)
        sample = Sample(record_id, 0, file.spec if file else "", "document", None, None, file, (), category)
        return [sample], [Failure(record_id, Reason.UNSUPPORTED_DOCUMENT, "not a DM document", outcome="skipped")]
    pairs = _with_files(document, files)
    samples: list[Sample] = []
    for ordinal, (media, file) in enumerate(pairs):
        failures += [msgspec.structs.replace(f, record_id=record_id, media=media.key) for f in media.failures]
        kind = media.kind or (_kind(file) if file else "unknown")
        width, height = media.width, media.height
        if kind != "image":
            width = height = None
        elif file and not (width and height):
            width, height = file.width, file.height
        annotations = media.annotations
        if width and height:
            annotations, outside = _inside(record_id, media.key, annotations, width, height)
            failures += outside
        samples.append(Sample(record_id, ordinal, media.key, kind, width, height, file, annotations, category))
    return samples, failures


def with_size(sample: Sample, width: int, height: int) -> tuple[Sample, list[Failure]]:
    """The sample with its size settled, without the masks that leave an image of that size, and those as failures."""
    annotations, failures = _inside(sample.record_id, sample.media, sample.annotations, width, height)
    return msgspec.structs.replace(sample, width=width, height=height, annotations=annotations), failures


def _inside(
    record_id: int, media: str, annotations: tuple[Annotation, ...], width: int, height: int
) -> tuple[tuple[Annotation, ...], list[Failure]]:
    failures: list[Failure] = []
    for annotation in annotations:
        if isinstance(annotation.shape, Mask):
            try:
                check_runs(annotation.shape.runs, width, height)
            except MaskError as error:
                reason = Reason.INVALID_MASK_ENCODING
                failures.append(Failure(record_id, reason, str(error), media, annotation.id))
    if failures:
        outside = {failure.annotation_id for failure in failures}
        annotations = tuple(annotation for annotation in annotations if annotation.id not in outside)
    return annotations, failures


def _detect(fields: Fields) -> Document:
    """Which dialect it is, in the order of the contract: wrapper, v2 in its envelope, v2, v1 and flat, anything."""
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
    return Document("opaque")


def _with_files(document: Document, files: Sequence[File]) -> list[tuple[Media, File | None]]:
    """Each media with its file, then image files without media, in the order of ordinals."""
    media = list(document.media)
    if document.kind == "v2":
        media = _renamed_by_rank(media, files)
    waiting = {file.spec: file for file in files}
    alone = waiting.pop("", None)
    pairs: list[tuple[Media, File | None]] = []
    for item in media:
        file = waiting.pop(item.key, None) or waiting.pop(_other_spelling(item.key), None)
        if file is None and not pairs:
            file, alone = alone, None
        pairs.append((item, file))
    negatives = [file for file in (*waiting.values(), *([alone] if alone else ())) if _kind(file) == "image"]
    pairs += [(Media(file.spec or "image_1", "image", None, None, ()), file) for file in negatives]
    if not pairs:
        # A document about no media at all is still a record: formats that keep documents need it.
        file = _primary(files)
        kind = _kind(file) if file else "document"
        pairs.append((Media((file.spec if file else "") or f"{kind}_1", kind, None, None, ()), file))
    if len(pairs) > 1:
        pairs.sort(key=lambda pair: (not (pair[1] and pair[1].primary), natural_key(pair[0].key)))
    return pairs


def _renamed_by_rank(media: list[Media], files: Sequence[File]) -> list[Media]:
    """Media of DM v2, which has positions and no keys: when there are as many files of a kind, in their order."""
    renamed: list[Media] = []
    for kind in dict.fromkeys(item.kind for item in media):
        items = [item for item in media if item.kind == kind]
        specs = sorted((file.spec for file in files if file.spec and _kind(file) == kind), key=natural_key)
        if len(specs) == len(items):
            items = [msgspec.structs.replace(item, key=spec) for item, spec in zip(items, specs, strict=True)]
        renamed += items
    return renamed


def _other_spelling(key: str) -> str:
    """``image`` is a way to write ``image_1``."""
    kind = media_kind(key)
    return {kind: f"{kind}_1", f"{kind}_1": kind}.get(key, key)


def _kind(file: File) -> str:
    return file.kind or media_kind(file.spec) or "image"


def _primary(files: Sequence[File]) -> File | None:
    by_rank = sorted(files, key=lambda file: (not file.primary, _kind(file) == "data", natural_key(file.spec)))
    return by_rank[0] if by_rank else None


def _in_natural_order(media: Sequence[Media]) -> tuple[Media, ...]:
    return tuple(media) if len(media) < 2 else tuple(sorted(media, key=lambda item: natural_key(item.key)))


def _mode(fields: Fields) -> str:
    return bytes(fields.get("mode", b"")).decode().strip('"')


def _malformed(problem: str) -> Document:
    return Document("opaque", failures=(Failure(0, Reason.MALFORMED_DOCUMENT, problem),))


def _unreadable(data: bytes) -> str:
    """Why readers of JSON would choke on these bytes, or ``""``: found at a fraction of the cost of reading them."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return "not UTF-8"
    if len(data) > 2 * MAX_EMPTY and data.count(b"{}") + data.count(b"[]") > MAX_EMPTY:
        return f"more than {MAX_EMPTY:,} empty lists and objects"
    if _has_too_many_digits(data):
        return f"a number of {MAX_DIGITS} digits or more"
    return ""


def _is_too_deep(data: bytes) -> bool:
    # Empty texts and innermost pairs of brackets are taken away, two kinds of pair per round: what is gone after half
    # as many rounds is not too deep. A bracket within a text keeps a quote before it, unless there are escaped quotes.
    if b"\\" not in data or b'\\"' not in data:
        rest = data.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
        for _ in range(MAX_DEPTH // 2):
            if not rest:
                return False
            rest = rest.replace(b"{}", b"").replace(b"[]", b"")
    brackets = _STRINGS.sub(b"", data).translate(None, _NOT_BRACKETS)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0) > MAX_DEPTH


def _has_too_many_digits(data: bytes) -> bool:
    # So many digits in a row show in every 61st byte; only such places are looked at in full. A prime, because lists
    # of equally long numbers repeat themselves.
    for run in _MANY_DIGITS.finditer(data[::_SAMPLED]):
        around = ((run.start() - 1) * _SAMPLED, (run.end() + 1) * _SAMPLED)
        if _TOO_MANY_DIGITS.search(data, max(around[0], 0), around[1]):
            return _TOO_MANY_DIGITS.search(_STRINGS.sub(b"", data)) is not None
    return False
