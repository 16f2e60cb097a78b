"""CSV: one row per annotation of every tool. See ``docs/formats/csv.md`` for the columns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from pipeline.formats import Entry, Loss, Manifest, Section
from pipeline.formats.encoding import csv_line
from pipeline.formats.support import Fate, Kind
from pipeline.formats.tables.rows import COLUMNS, Rle, Row, check_switch, media_of, rows_of, table_fates, text_of
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample

PATH = "annotations.csv"

_ROWS = "rows"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Csv:
    """``annotations.csv``, all splits and all media in one table.

    With ``empty_images`` a sample without annotations has one row, with the columns of the annotation empty, so that
    images without objects are not forgotten. Raises ValueError for anything but true and false.
    """

    empty_images: bool = True

    name: ClassVar[str] = "csv"
    needs_payload: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_switch("empty_images", self.empty_images)

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:  # noqa: ARG002  # the protocol's signature
        """The one file, opened by its header."""
        yield Manifest(PATH, (Section(_ROWS, open=csv_line(COLUMNS)),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """The rows of a sample as one item."""
        rows, losses = rows_of(sample, catalog)
        if not rows and self.empty_images:
            rows = [Row()]
        if not rows:
            return losses
        media = csv_line(msgspec.structs.astuple(media_of(sample)))[:-1] + b","
        lines = [media + csv_line(map(_cell, msgspec.structs.astuple(row))) for row in rows]
        return [Entry(PATH, b"".join(lines), _ROWS), *losses]

    def fates(self) -> Mapping[Kind, Fate]:
        """Everything is kept."""
        return table_fates()


def _cell(value: object) -> object:
    if isinstance(value, tuple | Rle):
        return _encode(value).decode()
    return text_of(value) if isinstance(value, msgspec.Raw) else value
