"""Rows of annotations as columns of Arrow: the transform that makes the Parquet file of joined lines."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.formats.parquet_files import DEFAULT_LIMITS, RowGroupLimits, read_lines, write_parquet

# Parquet calls the values of a list "element": with this name a file is read back with the same schema.
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


def to_parquet(chunks: Iterable[bytes], limits: RowGroupLimits = DEFAULT_LIMITS) -> Iterator[bytes]:
    """Yield the Parquet file of joined lines of :class:`pipeline.formats.tables.parquet.Parquet`.

    The first line names the columns and the classes; every other one holds the rows of a sample.
    """
    lines = read_lines(chunks)
    head = msgspec.json.decode(next(lines))
    # Every file has all classes of the export in their order, so the codes of the categorical column are class indices.
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

    return write_parquet(lines, schema, to_batch, limits)
