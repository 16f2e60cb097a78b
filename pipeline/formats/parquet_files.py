"""Parquet files made of lines of JSON, a row group at a time: what the transforms of formats share."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

_decode = msgspec.json.Decoder().decode

# Columns with few different values: Parquet stores each value once.
_REPEATED = ("split", "media", "media_type", "category", "tool", "class")

type ToBatch = Callable[[list[Any]], pa.RecordBatch]
"""Makes rows of decoded lines."""


class RowGroupLimits(msgspec.Struct, frozen=True):
    """How large a row group becomes: it ends after the first line with which it reaches ``rows`` or ``group_bytes``.

    ``group_bytes`` of lines take about as much memory as a row group, which is half as large in the file.
    ``batch_bytes`` of lines are decoded together; decoded, they take several times as much.
    """

    rows: int = 131_072
    group_bytes: int = 32 * 2**20
    batch_bytes: int = 2**20


DEFAULT_LIMITS = RowGroupLimits()


def read_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield complete lines without their ends, from bytes that are cut anywhere."""
    begun: list[bytes] = []
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        begun.append(first)
        for line in rest:
            yield b"".join(begun)
            begun = [line]


def write_parquet(
    lines: Iterator[bytes], schema: pa.Schema, to_batch: ToBatch, limits: RowGroupLimits = DEFAULT_LIMITS
) -> Iterator[bytes]:
    """Yield the bytes of a Parquet file of lines of JSON; holds one row group."""
    sink = _Sink()
    repeated = [name for name in _REPEATED if name in schema.names]
    writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd", use_dictionary=repeated)
    with writer:
        for batches in _row_groups(lines, to_batch, limits):
            writer.write_table(pa.Table.from_batches(batches, schema), row_group_size=sum(map(len, batches)))
            yield sink.take_bytes()
    yield sink.take_bytes()


def _row_groups(lines: Iterator[bytes], to_batch: ToBatch, limits: RowGroupLimits) -> Iterator[list[pa.RecordBatch]]:
    """Yield row groups in small batches; where they end depends on nothing but the lines."""
    waiting: list[bytes] = []
    batches: list[pa.RecordBatch] = []
    waiting_bytes = group_bytes = rows = 0
    for line in lines:
        waiting.append(line)
        waiting_bytes += len(line)
        if waiting_bytes < limits.batch_bytes:
            continue
        batches.append(to_batch([_decode(one) for one in waiting]))
        rows += len(batches[-1])
        group_bytes += waiting_bytes
        waiting, waiting_bytes = [], 0
        if rows >= limits.rows or group_bytes >= limits.group_bytes:
            yield batches
            batches, group_bytes, rows = [], 0, 0
    if waiting:
        batches.append(to_batch([_decode(one) for one in waiting]))
    if batches:
        yield batches


class _Sink:
    """A file for pyarrow that keeps the written bytes until they are taken."""

    closed = False

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: no bytes wait elsewhere."""

    def close(self) -> None:
        """Note that the file is complete; its bytes can still be taken."""
        self.closed = True

    def take_bytes(self) -> bytes:
        """Return the bytes written since the last call."""
        taken = b"".join(self._written)
        self._written = []
        return taken
