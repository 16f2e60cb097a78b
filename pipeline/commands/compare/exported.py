"""A published export, read back record by record.

``metadata/records.csv`` has every record with its images, splits and digests. Annotations are read from what holds them
whole: ``annotations.csv`` (format ``csv``), else ``json/`` (format ``synapse_json``). Formats for training leave out
what they cannot say, so a difference between theirs may be none of the data.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec

from pipeline.commands.compare.records import ComparedRecord, Picture, Side, Thing, add_thing, thing_of, things_of
from pipeline.destination import metadata
from pipeline.destination.existing import read_success
from pipeline.destination.rows import csv_rows
from pipeline.errors import DamagedExportError, PreflightError
from pipeline.formats.tables.csv import PATH as TABLE
from pipeline.model.labels import ClassNames, class_names
from pipeline.records import Record
from pipeline.storage import Storage
from pipeline.synapse.documents.parsing import parse_document
from pipeline.synapse.documents.samples import build_samples

type _Things = dict[tuple[str, str], Thing]
type _Rows = list[dict[str, str]]


def open_export(storage: Storage) -> Side:
    """Return a finished export as one side of a comparison.

    Raises PreflightError when there is none, and DamagedExportError where its files are not as they were written.
    """
    if read_success(storage) is None:
        raise PreflightError(f"{storage.url} holds no finished export; there is no {metadata.SUCCESS}")
    summary = msgspec.json.decode(storage.find(metadata.SUMMARY) or b"{}")
    formats = {entry["name"] for entry in summary.get("config", {}).get("formats", [])}
    find: Callable[[int, _Rows], _Things]
    if storage.size(TABLE) is not None:
        source, find = TABLE, _Table(storage).find
    elif "synapse_json" in formats and summary["config"].get("packaging") == "files":
        classes = summary["config"]["classes"]
        source, find = "json/", _Documents(storage, class_names(classes["rename"], classes["drop"])).find
    else:
        source, find = "", lambda _, __: {}
    numbers = {entry["name"]: entry["id"] for entry in summary.get("classes", [])}
    return Side(storage.url, source, numbers, _records(storage, find))


def _records(storage: Storage, find: Callable[[int, _Rows], _Things]) -> Iterator[ComparedRecord]:
    rows = csv_rows(storage.chunks(metadata.RECORDS), f"{storage.url}/{metadata.RECORDS}")
    for record_id, group in groupby(rows, key=lambda row: int(row["record_id"])):
        own = list(group)
        yield ComparedRecord(record_id, {row["media"]: _picture(row) for row in own}, find(record_id, own))


def _picture(row: Mapping[str, str]) -> Picture:
    baked = row["source_sha256"]
    size = int(row["bytes"]) if row["bytes"] and not baked else None
    return Picture(row["split"], row["original_name"], baked or row["sha256"], size)


class _Table:
    """The annotations of ``annotations.csv``, whose rows are in the order of records."""

    def __init__(self, storage: Storage) -> None:
        rows = csv_rows(_without_mark(storage.chunks(TABLE)), f"{storage.url}/{TABLE}")
        self._groups = groupby(rows, key=lambda row: int(row["record_id"]))
        self._next: tuple[int, _Things] | None = self._read()

    def find(self, record_id: int, _: _Rows) -> _Things:
        """Return the annotations of a record; records are asked for in ascending order."""
        while self._next is not None and self._next[0] < record_id:
            self._next = self._read()
        return self._next[1] if self._next is not None and self._next[0] == record_id else {}

    def _read(self) -> tuple[int, _Things] | None:
        found = next(self._groups, None)
        if found is None:
            return None
        things: _Things = {}
        for row in found[1]:
            if row["annotation_id"]:
                add_thing(things, row["media"], row["source_id"], thing_of(row))
        return found[0], things


class _Documents:
    """The annotations of ``json/<stem>.json``, a document for each record."""

    def __init__(self, storage: Storage, names: ClassNames) -> None:
        self._storage = storage
        self._names = names

    def find(self, record_id: int, rows: _Rows) -> _Things:
        """Return the annotations of a record, whose first image gives its file the name."""
        output = rows[0]["output_name"]
        path = f"json/{_stem(output)}.json"
        data = self._storage.find(path)
        where = f"{self._storage.url}/{path}"
        if data is None:
            raise DamagedExportError(where, "is missing; verify names every file that is")
        try:
            document = msgspec.json.decode(data, type=dict[str, msgspec.Raw])["data"]
        except (msgspec.MsgspecError, KeyError) as error:
            raise DamagedExportError(where, "is not as it was written; verify names every such file") from error
        samples, _ = build_samples(record_id, parse_document(bytes(document)), [])
        return things_of(Record(record_id), samples, self._names)


def _stem(output: str) -> str:
    """Return the stem of a copied original; where none was copied, the output is the stem."""
    folder, _, name = output.rpartition("/")
    return name.rpartition(".")[0] or name if folder else name


def _without_mark(chunks: Iterator[bytes]) -> Iterator[Any]:
    """Yield the chunks without a byte order mark at the beginning (option ``bom``)."""
    for number, chunk in enumerate(chunks):
        yield chunk.removeprefix(b"\xef\xbb\xbf") if number == 0 else chunk
