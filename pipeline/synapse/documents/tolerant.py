"""The tolerant reader: annotation documents of every dialect, one annotation at a time.

DM v1 keeps what an annotation is (``annotations``) apart from where it is (``annotationsData``), DM v2 has both in one
item under ``images[0].bounding_box``, and an older flat form has ``type`` and ``data`` on the annotation. Documents mix
them, so each annotation is read by itself: one that cannot be read becomes a Failure, and its neighbours stay.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from pipeline.errors import UNREADABLE_JSON
from pipeline.reasons import Reason
from pipeline.records import Annotation, Failure, Relation
from pipeline.synapse.documents.geometry import TOOLS, WITHOUT_CLASS, Places, read_classification, read_shape
from pipeline.synapse.documents.groups import NO_GROUP, Group, membership
from pipeline.synapse.documents.json_fields import Fields, is_null, read_fields, read_items, read_text
from pipeline.synapse.documents.shapes import Rejected, decode, media_kind, natural_key, pixel_size

# The lists of media in DM v2, and the kind of media in each.
CONTAINERS = {
    "images": "image",
    "videos": "video",
    "pcds": "pcd",
    "texts": "text",
    "audios": "audio",
    "prompts": "prompt",
    "datas": "data",
}
_ALIASES = {"bbox": "bounding_box", "point": "keypoint"}

_GROUP = msgspec.json.Decoder(Group)


class Media(msgspec.Struct, frozen=True, gc=False):
    """One media of a document: its key (``image_1``), kind, size in pixels where the document has it, annotations.

    ``kind`` is ``""`` when the key does not begin with a known kind. The failures have no record id yet.
    """

    key: str
    kind: str
    width: int | None
    height: int | None
    annotations: tuple[Annotation, ...]
    failures: tuple[Failure, ...] = ()


MOST_FAILURES = 100_000
"""Annotations of one media that are listed one by one as unreadable; each takes a hundred times its JSON."""


def read_v1(document: Fields) -> tuple[Literal["v1", "flat", "empty"], list[Media], list[Failure]]:
    """Return the media of a document with an ``annotations`` object, and the failures that belong to none of them."""
    annotations, entries, relations, groups, extra = (
        read_fields(document.get(name)) or {}
        for name in ("annotations", "annotationsData", "relations", "annotationGroups", "extra")
    )
    media: list[Media] = []
    forms: set[str] = set()
    for key in dict.fromkeys((*annotations, *(key for key in relations if read_items(relations[key])))):
        reader = _MediaReader(key, membership(_groups(groups.get(key))))
        reader.add_entries(entries.pop(key, None))
        reader.add_annotations(annotations.get(key))
        forms |= reader.forms
        reader.add_annotations(relations.get(key), tool="relation")
        media.append(reader.finish(extra.get(key)))
    failures: list[Failure] = []
    for key, raw in entries.items():
        orphans = _MediaReader(key, {})
        orphans.add_entries(raw)
        failures += orphans.finish(None).failures
    kind: Literal["v1", "flat", "empty"] = "empty"
    if forms:
        kind = "flat" if forms == {"type"} else "v1"
    return kind, media, failures


def read_v2(document: Fields, meta: Fields) -> list[Media]:
    """Return the media of a DM v2 document; ``meta`` is what a converter kept of the v1 document, or all of it."""
    extra = read_fields(meta.get("extra")) or {}
    original = sorted(read_fields(meta.get("annotations")) or {}, key=natural_key)
    media: list[Media] = []
    for container, kind in CONTAINERS.items():
        items = read_items(document.get(container)) or []
        keys = [key for key in original if media_kind(key) == kind]
        if len(keys) != len(items):
            keys = [f"{kind}_{number}" for number in range(1, len(items) + 1)]
        for key, raw in zip(keys, items, strict=True):
            reader = _MediaReader(key, {})
            tools = read_fields(raw)
            if tools is None:
                reader.reject("", Reason.MALFORMED_ANNOTATION, "not an object of annotation lists")
            for tool, annotations in (tools or {}).items():
                if tool in TOOLS or any(read_fields(item) is not None for item in read_items(annotations) or ()):
                    reader.add_annotations(annotations, tool=tool)
            media.append(reader.finish(extra.get(key)))
    return media


class TooManyFailures(ValueError):
    """So much of a media cannot be read that it is not an annotation document."""


class _MediaReader:
    """Reads one media. Everything in it becomes one item of ``annotations`` or of ``failures``."""

    def __init__(self, key: str, group_of: dict[str, tuple[str, str]]) -> None:
        self.key = key or "_"  # a media must have a name, in the lists of failures as in files
        self.kind = media_kind(key)
        self.group_of = group_of
        self.entries: dict[str, tuple[Fields, bytes]] = {}
        self.annotations: dict[str, Annotation | None] = {}
        self.failures: list[Failure] = []
        self.forms: set[str] = set()

    def reject(self, identifier: str, reason: Reason, detail: str, outcome: str = "failed") -> None:
        if len(self.failures) >= MOST_FAILURES:
            raise TooManyFailures
        self.failures.append(Failure(0, reason, detail, self.key, identifier, outcome, of="annotation"))

    def add_entries(self, raw: msgspec.Raw | None) -> None:
        items = read_items(raw)
        if items is None and not is_null(raw):
            self.reject("", Reason.ORPHAN_GEOMETRY, "not a list of entries", "skipped")
        for item in items or ():
            fields = read_fields(item)
            identifier = _identifier(fields)
            if fields is None or not identifier:
                self.reject("", Reason.ORPHAN_GEOMETRY, "an entry without an id", "skipped")
                continue
            if identifier in self.entries:
                # The last one counts, as in the Synapse SDK.
                self.reject(identifier, Reason.ORPHAN_GEOMETRY, "a later entry has the same id", "skipped")
            self.entries[identifier] = (fields, bytes(item))

    def add_annotations(self, raw: msgspec.Raw | None, tool: str = "") -> None:
        items = read_items(raw)
        if items is None and not is_null(raw):
            self.reject("", Reason.MALFORMED_ANNOTATION, "not a list of annotations")
        for item in items or ():
            fields = read_fields(item) or {}
            self.forms.add(next((form for form in ("tool", "type") if form in fields), "tool"))
            identifier = _identifier(fields)
            if not identifier:
                self.reject("", Reason.MALFORMED_ANNOTATION, "not an object with an id")
                continue
            if identifier in self.annotations:
                # A relation may be kept in both places that the format has for it.
                known = self.annotations[identifier]
                twice = tool == "relation" and known is not None and isinstance(known.shape, Relation)
                outcome = "skipped" if twice else "failed"
                self.reject(identifier, Reason.DUPLICATE_ANNOTATION, "an earlier one has the same id", outcome)
                continue
            self.annotations[identifier] = None
            entry, entry_json = self.entries.pop(identifier, ({}, b""))
            try:
                self.annotations[identifier] = self._annotation(
                    identifier, tool, Places(fields, entry, bytes(item), entry_json)
                )
            except Rejected as error:
                self.reject(identifier, *error.args)

    def finish(self, size: msgspec.Raw | None) -> Media:
        for identifier in self.entries:
            self.reject(identifier, Reason.ORPHAN_GEOMETRY, "no annotation has this id", "skipped")
        self.entries = {}
        return Media(
            self.key,
            self.kind,
            *_size(size),
            tuple(annotation for annotation in self.annotations.values() if annotation is not None),
            tuple(self.failures),
        )

    def _annotation(self, identifier: str, tool: str, places: "Places") -> Annotation:
        tool = tool or read_text(places.annotation.get("tool")) or read_text(places.annotation.get("type"))
        tool = _ALIASES.get(tool, tool)
        if not tool:
            raise Rejected(Reason.MALFORMED_ANNOTATION, "no tool")
        label, attributes = read_classification(places, required=tool in TOOLS - WITHOUT_CLASS)
        shape = read_shape(tool, self.kind, places, attributes)
        for reason, detail in places.corrections:
            self.reject(identifier, reason, detail, "corrected")
        group, group_label = self.group_of.get(identifier, NO_GROUP)
        group = group or read_text(places.annotation.get("group_id"))
        return Annotation(identifier, tool, label, shape, attributes, group, group_label)


def _groups(raw: msgspec.Raw | None) -> Iterator[Group]:
    """Return the groups that can be read; keypoints of the others have no group, which formats report."""
    for item in read_items(raw) or ():
        try:
            yield _GROUP.decode(item)
        except UNREADABLE_JSON:
            continue


def _size(raw: msgspec.Raw | None) -> tuple[int | None, int | None]:
    fields = read_fields(raw) or {}
    try:
        return pixel_size(decode(fields.get("width"))), pixel_size(decode(fields.get("height")))
    except Rejected:
        return None, None


def _identifier(fields: Fields | None) -> str:
    raw = (fields or {}).get("id")
    return read_text(raw) or (bytes(raw).decode() if raw is not None and bytes(raw).isdigit() else "")
