"""Parquet: the rows of ``csv``, typed, one file per so many images of a split. See ``docs/formats/parquet.md``.

Parquet files cannot be joined, so what shards contribute are lines of JSON, one per sample, after a first line that
says what the lines mean; :func:`to_parquet` turns them into the file while they are joined. ``imagefolder`` has its
tables made here too.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta

from pipeline.formats import BaseFormat, Entry, Loss, Manifest, Section
from pipeline.formats.images import files_of
from pipeline.formats.support import Kind, Support
from pipeline.formats.tables.rows import (
    COLUMNS,
    Row,
    media_of,
    rows_of,
    table_support,
    text_of,
)
from pipeline.model.catalog import Catalog
from pipeline.records import NumberedSample

OTHER = "parquet_other/part-00000.parquet"
"""The rows of samples without a usable image: their split may have no file, and no position in one."""

ROWS_PER_GROUP = 131_072
GROUP_BYTES = 32 * 2**20  # of lines: about what a row group takes in memory, and twice what it takes in the file
BATCH_BYTES = 2**20  # of lines: decoded, they take several times as much

_ROWS = "rows"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

# "element" is what Parquet calls the values of a list, so a file is read back with this very schema.
_NUMBERS = pa.list_(pa.field("element", pa.float64()))
_TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("record_id", "image_id", "image_width", "image_height", "annotation_id"), pa.int64()),
    **dict.fromkeys(("x", "y", "width", "height", "rotation", "area"), pa.float64()),
    "class": pa.dictionary(pa.int32(), pa.string()),
    "class_index": pa.int32(),
    "points": _NUMBERS,
    "rle": pa.struct([("size", pa.list_(pa.field("element", pa.int64()))), ("counts", pa.string())]),
    "visibility": pa.int8(),
}
_REPEATED = ("split", "media", "media_type", "category", "tool", "class")

type _ToBatch = Callable[[list[Any]], pa.RecordBatch]


@dataclass(frozen=True)
class Parquet(BaseFormat):
    """``parquet/split=<split>/part-<number>.parquet``, each of ``images_per_file`` images, and ``parquet_other/``.

    ``empty_images`` as in ``csv``.
    """

    images_per_file: Annotated[int, Meta(ge=1)] = 100_000
    empty_images: bool = True

    name: ClassVar[str] = "parquet"

    def manifests(self, catalog: Catalog) -> Iterable[Manifest]:
        """The files of every split, and the one for samples without a usable image."""
        columns = [name for name in COLUMNS if name != "split"]
        for split, images in catalog.splits.items():
            for number in range(files_of(images, self.images_per_file)):
                yield _manifest(_path(split, number), catalog, columns)
        yield _manifest(OTHER, catalog, COLUMNS)

    def render(self, sample: NumberedSample, catalog: Catalog) -> Iterable[Entry | Loss]:
        """The rows of a sample as one line: the media's values and a list of each annotation's."""
        rows, losses = rows_of(sample, catalog)
        if not rows and self.empty_images:
            rows = [Row()]
        if not rows:
            return losses
        usable = sample.sample.has_image
        path = _path(sample.split, sample.position // self.images_per_file) if usable else OTHER
        media = msgspec.structs.asdict(media_of(sample))
        if usable:
            del media["split"]
        values = [[*map(_value, msgspec.structs.astuple(row))] for row in rows]
        return [Entry(path, _encode((list(media.values()), values)) + b"\n", _ROWS), *losses]

    def support(self) -> Mapping[Kind, Support]:
        """Everything is kept."""
        return table_support()

    def how_to_read(self, url: str, split: str) -> str:  # noqa: ARG002  # all splits are one table to DuckDB
        """DuckDB, which reads all files as one table."""
        return f"DuckDB: select * from read_parquet('{url}/parquet/*/*.parquet')"  # noqa: S608  # shown, not run


def to_parquet(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The Parquet file of joined lines of rows (:class:`Parquet`), a row group at a time."""
    lines = _lines(chunks)
    head = _decode(next(lines))
    # All classes of the export in their order, in every file: the codes of a categorical column are class indices.
    classes = pa.array(head["classes"], pa.string())
    names: list[str] = head["columns"]
    schema = pa.schema([(name, _TYPES.get(name, pa.string())) for name in names])

    def to_batch(decoded: list[Any]) -> pa.RecordBatch:
        columns: dict[str, Sequence[Any]] = dict(
            zip(names, zip(*((*media, *row) for media, rows in decoded for row in rows), strict=True), strict=True)
        )
        arrays = [
            pa.DictionaryArray.from_arrays(pa.array(columns["class_index"], pa.int32()), classes)
            if name == "class"
            else pa.array(columns[name], schema.field(name).type)
            for name in names
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    return _file(lines, schema, to_batch)


def to_image_metadata(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The ``metadata.parquet`` of joined lines of images (:class:`pipeline.formats.imagefolder.ImageFolder`).

    The schema holds the dataset's features for Hugging Face ``datasets``, so that numbers of classes have names there.
    """
    lines = _lines(chunks)
    classes = _decode(next(lines))["classes"]
    whole, number, text = pa.int64(), pa.float64(), pa.string()
    objects = {
        "id": pa.list_(whole),
        "bbox": pa.list_(pa.list_(number)),
        "category": pa.list_(whole),
        "area": pa.list_(number),
        "segmentation": pa.list_(pa.list_(pa.list_(number))),
        "mask": pa.list_(text),
        "attributes": pa.list_(text),
    }
    columns = {
        "file_name": text,
        "image_id": whole,
        "record_id": whole,
        "width": whole,
        "height": whole,
        "labels": pa.list_(whole),
        "objects": pa.struct(objects.items()),
    }
    features = {name: _feature(kind, classes if name == "labels" else ()) for name, kind in columns.items()}
    features["objects"] = {
        name: _feature(kind, classes if name == "category" else ()) for name, kind in objects.items()
    }
    schema = pa.schema(columns.items(), metadata={"huggingface": json.dumps({"info": {"features": features}})})
    return _file(lines, schema, lambda decoded: pa.RecordBatch.from_pylist(decoded, schema=schema))


def _feature(kind: pa.DataType, classes: Sequence[str]) -> dict[str, Any]:
    """The feature of a column as ``datasets`` stores it in a schema's metadata, in all versions from 2 to 5."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type, classes), "_type": "Sequence"}
    if classes:
        return {"names": list(classes), "_type": "ClassLabel"}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


def _file(lines: Iterator[bytes], schema: pa.Schema, to_batch: _ToBatch) -> Iterator[bytes]:
    sink = _Sink()
    repeated = [name for name in _REPEATED if name in schema.names]
    writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd", use_dictionary=repeated)
    with writer:
        for batches in _groups(lines, to_batch):
            writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=sum(map(len, batches)))
            yield sink.take()
    yield sink.take()


def _groups(lines: Iterator[bytes], to_batch: _ToBatch) -> Iterator[list[pa.RecordBatch]]:
    """Row groups in small batches; where they end depends on nothing but the lines."""
    waiting: list[bytes] = []
    batches: list[pa.RecordBatch] = []
    waiting_bytes = group_bytes = rows = 0
    for line in lines:
        waiting.append(line)
        waiting_bytes += len(line)
        if waiting_bytes < BATCH_BYTES:
            continue
        batches.append(to_batch([_decode(one) for one in waiting]))
        rows += len(batches[-1])
        group_bytes += waiting_bytes
        waiting, waiting_bytes = [], 0
        if rows >= ROWS_PER_GROUP or group_bytes >= GROUP_BYTES:
            yield batches
            batches, group_bytes, rows = [], 0, 0
    if waiting:
        batches.append(to_batch([_decode(one) for one in waiting]))
    if batches:
        yield batches


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Complete lines without their ends, from bytes of any cut."""
    begun: list[bytes] = []
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        begun.append(first)
        for line in rest:
            yield b"".join(begun)
            begun = [line]


class _Sink:
    """A file for pyarrow that keeps what is written until it is taken away."""

    closed = False

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """What was written can still be taken."""
        self.closed = True

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._written)
        self._written = []
        return taken


def _manifest(path: str, catalog: Catalog, columns: Sequence[str]) -> Manifest:
    head = _encode({"columns": columns, "classes": catalog.classes}) + b"\n"
    return Manifest(path, (Section(_ROWS, open=head),), transform=f"{__name__}:to_parquet")


def _path(split: str, number: int) -> str:
    return f"parquet/split={split}/part-{number:05d}.parquet"


def _value(value: object) -> object:
    return text_of(value) if isinstance(value, msgspec.Raw) else value
