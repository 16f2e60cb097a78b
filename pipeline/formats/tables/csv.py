"""CSV: one row per annotation of every tool. See ``docs/formats/csv.md`` for the columns."""

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from pipeline.formats import BaseFormat, Contents, Entry, Loss, Manifest, Section
from pipeline.formats.annotation_rows import (
    COLUMNS,
    AnnotationColumns,
    RleColumn,
    decode_raw,
    describe_media,
    make_rows,
    table_support,
)
from pipeline.formats.encoding import csv_line
from pipeline.formats.support import Kind, Support
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample

PATH = "annotations.csv"

_ROWS = "rows"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Csv(BaseFormat):
    """``annotations.csv``, all splits and all media in one table.

    With ``empty_images`` a sample without annotations has one row whose columns of the annotation are empty, so that
    images without objects are not forgotten. With ``bom`` the file begins with the byte order mark, without which Excel
    does not read it as UTF-8.
    """

    empty_images: bool = True
    bom: bool = False

    name: ClassVar[str] = "csv"

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:  # noqa: ARG002  # the protocol's signature
        """Return the one file, which starts with the header."""
        mark = codecs.BOM_UTF8 if self.bom else b""
        yield Manifest(PATH, (Section(_ROWS, open=mark + csv_line(COLUMNS)),))

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """Return the rows of a sample as one item."""
        rows, losses = make_rows(sample, catalog)
        if not rows and self.empty_images:
            rows = [AnnotationColumns()]
        if not rows:
            return losses
        media = csv_line(msgspec.structs.astuple(describe_media(sample)))[:-1] + b","
        lines = [media + csv_line(map(_cell, msgspec.structs.astuple(row))) for row in rows]
        return [Entry(PATH, b"".join(lines), _ROWS), *losses]

    def support(self) -> Mapping[Kind, Support]:
        """Return that everything is kept but dropped classes."""
        return table_support()

    def how_to_read(self, url: str, split: str, contents: Contents) -> str:  # noqa: ARG002  # one table for all splits
        """Return how pandas reads the file, with empty cells (and no text) as missing values."""
        if not contents.has(PATH, _ROWS):
            return ""
        return f"pandas: read_csv('{url}/{PATH}', keep_default_na=False, na_values=[''])"


def _cell(value: object) -> object:
    if isinstance(value, tuple | RleColumn):
        return _encode(value).decode()
    return decode_raw(value) if isinstance(value, msgspec.Raw) else value
