"""What is compared: records with their images and annotations, in the same terms wherever they come from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from pipeline.formats.annotation_rows import AnnotationColumns, make_rows
from pipeline.model.catalog import Catalog
from pipeline.model.labels import ClassNames
from pipeline.records import NumberedSample, Record, Sample


class Picture(NamedTuple):
    """A media of a record. ``sha256`` is of the original, ``""`` where that is not known; ``size`` is in bytes."""

    split: str
    name: str
    sha256: str = ""
    size: int | None = None


class Thing(NamedTuple):
    """An annotation: its class after renaming, its tool and geometry, and what else the annotator chose."""

    label: str
    geometry: tuple[Any, ...]
    attributes: str


class ComparedRecord(NamedTuple):
    """A record. ``pictures`` are by media, ``things`` by media and annotation id."""

    id: int
    pictures: Mapping[str, Picture]
    things: Mapping[tuple[str, str], Thing]


class Side(NamedTuple):
    """One of the two that are compared: ``records`` in ascending order of their ids.

    ``annotations`` says what they are read from, ``""`` when there is nothing that holds them whole. ``classes`` are
    the numbers of classes, None where there are none yet.
    """

    name: str
    annotations: str
    classes: Mapping[str, int] | None
    records: Iterator[ComparedRecord]


def thing_of(row: Mapping[str, Any]) -> Thing:
    """Return an annotation from the columns of :mod:`pipeline.formats.annotation_rows`.

    A mask counts by its box and area, because its encoding depends on the size of the picture, which an export
    corrects.
    """
    box = (*(_number(row.get(name)) for name in ("x", "y", "width", "height", "rotation")),)
    more = (
        _number(row.get("area")) if row.get("rle") else None,
        _decoded(row.get("points")),
        _number(row.get("visibility")),
        *(row.get(name) or "" for name in ("relation_source", "relation_target", "group", "group_class")),
        _decoded(row.get("geometry")),
    )
    return Thing(row.get("class") or "", (row.get("tool") or "", *box, *more), _decoded(row.get("attributes")) or "")


def things_of(record: Record, samples: Sequence[Sample], names: ClassNames) -> dict[tuple[str, str], Thing]:
    """Return the annotations of extracted samples as a table would hold them, without dropped classes."""
    things: dict[tuple[str, str], Thing] = {}
    for sample in samples:
        labels = dict.fromkeys(annotation.label for annotation in sample.annotations if annotation.label)
        finals = {label: final for label in labels if (final := names.final(label)) is not None}
        classes = tuple(dict.fromkeys(finals.values()))
        catalog = Catalog(
            name="",
            description="",
            target="",
            masks="instance",
            classes=classes,
            class_sources=(),
            class_of_label={label: classes.index(final) for label, final in finals.items()},
            splits={},
            samples=0,
            annotations=0,
        )
        numbered = NumberedSample(record, sample, 0, 0, "", "", "")
        for row in make_rows(numbered, catalog)[0]:
            add_thing(things, sample.media, row.source_id or "", thing_of(_columns(row)))
    return things


def add_thing(things: dict[tuple[str, str], Thing], media: str, identity: str, thing: Thing) -> None:
    """Add an annotation; of several with the same id, the later ones are told apart by a number."""
    key, number = (media, identity), 1
    while key in things:
        number += 1
        key = (media, f"{identity}#{number}")
    things[key] = thing


def _columns(row: AnnotationColumns) -> dict[str, Any]:
    return {
        field.encode_name: getattr(row, field.name)
        for field in msgspec.structs.fields(row)
        if getattr(row, field.name) is not None
    }


def _number(value: Any) -> float | None:
    """Return a number, which a CSV file holds as text; -0.0 is 0."""
    return None if value in (None, "") else float(value) + 0.0


def _decoded(value: Any) -> str:
    """Return JSON in one spelling: that of a table's cell, or of a value that would become one."""
    if value in (None, ""):
        return ""
    if isinstance(value, str | bytes | msgspec.Raw):
        value = msgspec.json.decode(value)
    return msgspec.json.encode(value, order="sorted").decode()
