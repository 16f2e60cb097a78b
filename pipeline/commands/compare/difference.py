"""Compare two sides by a sorted merge: one record of each is in memory, whatever their number."""

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from pipeline.commands.compare.records import ComparedRecord, Picture, Side, Thing

KINDS = (
    "record_added",
    "record_removed",
    "image_added",
    "image_removed",
    "image_changed",
    "split_moved",
    "annotation_added",
    "annotation_removed",
    "annotation_moved",
    "annotation_reclassified",
    "annotation_edited",
)
"""The kinds of changes, in the order in which they are told."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that differs. ``kind`` is one of :data:`KINDS`; ``before`` and ``after`` are splits, names or classes,
    ``""`` where there is none.
    """

    kind: str
    record_id: int
    media: str = ""
    annotation_id: str = ""
    before: str = ""
    after: str = ""


class ClassChanges(msgspec.Struct):
    """What happened to the annotations of a class; ``came`` and ``left`` are those that were another class before."""

    added: int = 0
    removed: int = 0
    moved: int = 0
    edited: int = 0
    came: int = 0
    left: int = 0


class Moved(msgspec.Struct, frozen=True):
    """How many went from one split, or class, to another."""

    before: str
    after: str
    count: int


class Renumbered(msgspec.Struct, frozen=True):
    """A class whose number is not the same in both; None where it has none."""

    name: str
    before: int | None
    after: int | None


class Difference(msgspec.Struct):
    """What differs between ``before`` and ``after``.

    ``annotations_from`` says what the annotations of both were read from; when one is ``""``, annotations were not
    compared. ``records`` counts those that are ``before``, ``after``, ``same``, ``added``, ``removed`` and ``changed``.
    ``counts`` has every kind of change, and ``changes`` the first ``limit`` of each kind, in the order of records.
    """

    before: str
    after: str
    annotations_from: tuple[str, str]
    records: dict[str, int]
    counts: dict[str, int]
    classes: dict[str, ClassChanges] = {}
    reclassified: list[Moved] = []
    splits: list[Moved] = []
    class_numbers: list[Renumbered] = []
    changes: list[Change] = []
    limit: int = 0

    @property
    def is_same(self) -> bool:
        """Return whether nothing differs."""
        return not any(self.counts.values()) and not self.class_numbers


def compare(before: Side, after: Side, limit: int = 100) -> Difference:
    """Return what differs between two sides. With a ``limit`` of 0 every change is listed.

    Raises what reading the sides raises.
    """
    return _Comparison(before, after, limit).run()


class _Comparison:
    def __init__(self, before: Side, after: Side, limit: int) -> None:
        self._before, self._after = before, after
        self._limit = limit
        self._records = dict.fromkeys(("before", "after", "same", "added", "removed", "changed"), 0)
        self._counts: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._changes: list[Change] = []
        self._classes: dict[str, ClassChanges] = {}
        self._reclassified: dict[tuple[str, str], int] = {}
        self._splits: dict[tuple[str, str], int] = {}
        self._with_annotations = bool(before.annotations and after.annotations)

    def run(self) -> Difference:
        for one, other in _merged(self._before.records, self._after.records):
            self._records["before"] += one is not None
            self._records["after"] += other is not None
            if one is None and other is not None:
                self._whole(other, "added")
            elif other is None and one is not None:
                self._whole(one, "removed")
            elif one is not None and other is not None:
                number = sum(self._counts.values())
                self._pictures(one, other)
                if self._with_annotations:
                    self._things(one, other)
                self._records["changed" if sum(self._counts.values()) > number else "same"] += 1
        return Difference(
            before=self._before.name,
            after=self._after.name,
            annotations_from=(self._before.annotations, self._after.annotations),
            records=self._records,
            counts=self._counts,
            classes=dict(sorted(self._classes.items())),
            reclassified=_moves(self._reclassified),
            splits=_moves(self._splits),
            class_numbers=self._renumbered(),
            changes=self._changes,
            limit=self._limit,
        )

    def _whole(self, record: ComparedRecord, how: Literal["added", "removed"]) -> None:
        """Count a record that only one side has, with all that is in it."""
        self._records[how] += 1
        self._note(Change(kind=f"record_{how}", record_id=record.id))
        for media, picture in record.pictures.items():
            self._image(record.id, media, picture, how)
        if self._with_annotations:
            for key, thing in record.things.items():
                self._thing(record.id, key, thing, how)

    def _image(self, record_id: int, media: str, picture: Picture, how: Literal["added", "removed"]) -> None:
        before, after = ("", picture.name) if how == "added" else (picture.name, "")
        self._note(Change(kind=f"image_{how}", record_id=record_id, media=media, before=before, after=after))

    def _thing(self, record_id: int, key: tuple[str, str], thing: Thing, how: Literal["added", "removed"]) -> None:
        media, identity = key
        before, after = ("", thing.label) if how == "added" else (thing.label, "")
        change = Change(
            kind=f"annotation_{how}",
            record_id=record_id,
            media=media,
            annotation_id=identity,
            before=before,
            after=after,
        )
        self._note(change)
        found = self._class(thing.label)
        if how == "added":
            found.added += 1
        else:
            found.removed += 1

    def _pictures(self, one: ComparedRecord, other: ComparedRecord) -> None:
        for media in dict.fromkeys((*one.pictures, *other.pictures)):
            before, after = one.pictures.get(media), other.pictures.get(media)
            if before is None or after is None:
                if after is not None:
                    self._image(one.id, media, after, "added")
                if before is not None:
                    self._image(one.id, media, before, "removed")
                continue
            if _is_other_picture(before, after):
                names = {"before": before.name, "after": after.name}
                self._note(Change(kind="image_changed", record_id=one.id, media=media, **names))
            if before.split != after.split:
                splits = {"before": before.split, "after": after.split}
                self._note(Change(kind="split_moved", record_id=one.id, media=media, **splits))
                pair = (before.split, after.split)
                self._splits[pair] = self._splits.get(pair, 0) + 1

    def _things(self, one: ComparedRecord, other: ComparedRecord) -> None:
        for key in dict.fromkeys((*one.things, *other.things)):
            before, after = one.things.get(key), other.things.get(key)
            if before is None or after is None:
                if after is not None:
                    self._thing(one.id, key, after, "added")
                if before is not None:
                    self._thing(one.id, key, before, "removed")
                continue

            def note(kind: str, one: Thing, other: Thing, key: tuple[str, str], record_id: int) -> None:
                labels = {"before": one.label, "after": other.label}
                self._note(Change(kind=kind, record_id=record_id, media=key[0], annotation_id=key[1], **labels))

            if before.label != after.label:
                note("annotation_reclassified", before, after, key, one.id)
                pair = (before.label, after.label)
                self._reclassified[pair] = self._reclassified.get(pair, 0) + 1
                self._class(before.label).left += 1
                self._class(after.label).came += 1
            if before.geometry != after.geometry:
                note("annotation_moved", before, after, key, one.id)
                self._class(after.label).moved += 1
            if before.attributes != after.attributes:
                note("annotation_edited", before, after, key, one.id)
                self._class(after.label).edited += 1

    def _note(self, change: Change) -> None:
        self._counts[change.kind] += 1
        if not self._limit or self._counts[change.kind] <= self._limit:
            self._changes.append(change)

    def _class(self, label: str) -> ClassChanges:
        return self._classes.setdefault(label, ClassChanges())

    def _renumbered(self) -> list[Renumbered]:
        before, after = self._before.classes, self._after.classes
        if before is None or after is None:
            return []
        return [
            Renumbered(name, before.get(name), after.get(name))
            for name in dict.fromkeys((*before, *after))
            if before.get(name) != after.get(name)
        ]


def _is_other_picture(before: Picture, after: Picture) -> bool:
    """Tell whether the bytes differ, or where one digest is not known, the name or the size."""
    if before.sha256 and after.sha256:
        return before.sha256 != after.sha256
    sizes = before.size is not None and after.size is not None and before.size != after.size
    return before.name != after.name or sizes


def _moves(counts: dict[tuple[str, str], int]) -> list[Moved]:
    return [Moved(before, after, count) for (before, after), count in sorted(counts.items())]


def _merged(
    before: Iterator[ComparedRecord], after: Iterator[ComparedRecord]
) -> Iterator[tuple[ComparedRecord | None, ComparedRecord | None]]:
    """Yield the records of both sides in the order of their ids, together where both have one."""
    step: Callable[[Iterator[ComparedRecord]], ComparedRecord | None] = lambda side: next(side, None)  # noqa: E731
    one, other = step(before), step(after)
    while one is not None or other is not None:
        if other is None or (one is not None and one.id < other.id):
            yield one, None
            one = step(before)
        elif one is None or other.id < one.id:
            yield None, other
            other = step(after)
        else:
            yield one, other
            one, other = step(before), step(after)
