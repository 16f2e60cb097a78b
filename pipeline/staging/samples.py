"""Samples on disk between the stages: Parquet, written and read a few megabytes at a time."""

import hashlib
import io
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import Record, Sample
from pipeline.storage import Storage

# Arrow's own pools keep freed memory, which workers of other shards need.
pa.set_memory_pool(pa.system_memory_pool())

_SCHEMA = pa.schema(
    [
        ("record_id", pa.int64()),
        ("ordinal", pa.int32()),
        ("stem", pa.string()),
        ("stem_hash", pa.uint64()),
        ("record", pa.binary()),
        ("sample", pa.binary()),
    ]
)
# Statistics and dictionaries would only describe opaque bytes and unique values.
_PARQUET: dict[str, Any] = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}
_GROUP_BYTES = 16 * 2**20  # of samples in a row group: what is in memory at a time, besides the largest sample
_LARGE = 32 * 2**20  # bytes of a staged shard that are not read into memory whole
encode = msgspec.msgpack.Encoder().encode
"""Return a record or a sample as it is staged."""
_decode_record = msgspec.msgpack.Decoder(Record).decode
_decode_sample = msgspec.msgpack.Decoder(Sample).decode


class StagedSample(NamedTuple):
    """One row of a staged shard: a sample, the stem that it asks for, and the hash of that stem, folded.

    ``record`` and ``sample`` are encoded; ``record`` is empty except for the first sample of a record.
    """

    record_id: int
    ordinal: int
    stem: str
    stem_hash: int
    record: bytes
    sample: bytes


class SampleFile:
    """The staged samples of a shard; iterated, each with its record and the stem that it asks for.

    In memory are those of one row group, undecoded, and the one whose turn it is; of a file of more than ``_LARGE``
    bytes not even the bytes, which are in a file without a name in the temporary folder.
    """

    def __init__(self, file: BinaryIO) -> None:
        # Not read_table: it imports pyarrow's query engine, which takes longer than reading a shard.
        self._file = pq.ParquetFile(file)

    @property
    def size(self) -> int:
        """Return the bytes of all encoded records and samples."""
        footer = self._file.metadata
        columns = [_SCHEMA.get_field_index(name) for name in ("record", "sample")]
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        return sum(group.column(column).total_uncompressed_size for group in groups for column in columns)

    def __iter__(self) -> Iterator[tuple[Record, Sample, str]]:
        record = Record(0)  # the first row has one
        for group in self._groups(["stem", "record", "sample"]):
            shared = encoded = None
            for shared, encoded, stem in zip(group["record"], group["sample"], group["stem"].to_pylist(), strict=True):
                if data := shared.as_buffer():
                    record = _decode_record(data)
                yield record, _decode_sample(encoded.as_buffer()), stem
            del group, shared, encoded  # before the next group is there

    def rows(self) -> Iterator[StagedSample]:
        """Return the staged rows, undecoded."""
        for group in self._groups(_SCHEMA.names):
            yield from map(StagedSample, *(group[name].to_pylist() for name in _SCHEMA.names))

    def columns(self, names: list[str]) -> pa.Table:
        """Return whole columns."""
        return self._file.read(columns=names, use_threads=False)

    def _groups(self, names: list[str]) -> Iterator[pa.Table]:
        return (
            self._file.read_row_group(number, columns=names, use_threads=False)
            for number in range(self._file.num_row_groups)
        )


def write_samples(storage: Storage, path: str, samples: Iterable[StagedSample]) -> str:
    """Write samples into a file as they come, holding one row group, and return the file's sha256."""
    groups = _tables(samples)
    first, second = next(groups, _table([])), next(groups, None)
    if second is None:
        buffer = io.BytesIO()
        pq.write_table(first, buffer, **_PARQUET)
        data = buffer.getvalue()
        storage.write(path, data)
        return hashlib.sha256(data).hexdigest()
    waiting = [first, second]
    del first, second  # a table that is written is let go before the next one is made
    with storage.create(path) as file:
        hashed = _Hashed(file)
        with pq.ParquetWriter(hashed, _SCHEMA, **_PARQUET) as writer:
            while waiting:
                writer.write_table(waiting.pop(0))
                if not waiting:
                    waiting += itertools.islice(groups, 1)
    return hashed.digest.hexdigest()


def open_samples(storage: Storage, path: str, sha256: str) -> SampleFile | None:
    """Return the samples in a file, or None when it is missing or has another digest."""
    size = storage.size(path)
    if size is None:
        return None
    file = tempfile.TemporaryFile() if size > _LARGE else io.BytesIO()  # noqa: SIM115  closed with its reader
    hashed = _Hashed(file)
    for chunk in storage.chunks(path, 0, size):
        hashed.write(chunk)
    if hashed.digest.hexdigest() == sha256:
        return SampleFile(file)
    file.close()
    return None


class _Hashed(io.RawIOBase):
    """A file that hashes the bytes written to it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.digest = hashlib.sha256()
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self._file.write(data)
        return len(data)


def _tables(samples: Iterable[StagedSample]) -> Iterator[pa.Table]:
    """Yield the samples as tables of about :data:`_GROUP_BYTES`, none of them empty."""
    group: list[StagedSample] = []
    size = 0
    for sample in samples:
        group.append(sample)
        size += len(sample.record) + len(sample.sample)
        if size >= _GROUP_BYTES:
            ready, group, size = [_table(group)], [], 0
            del sample
            yield ready.pop()
    if group:
        yield _table(group)


def _table(samples: Sequence[StagedSample]) -> pa.Table:
    record_ids, ordinals, stems, hashes, records, encoded = zip(*samples, strict=True) if samples else ((),) * 6
    return pa.table(
        [
            pa.array(record_ids, pa.int64()),
            pa.array(ordinals, pa.int32()),
            pa.array(stems, pa.string()),
            pa.array(np.asarray(hashes, dtype=np.uint64)),
            pa.array(records, pa.binary()),
            pa.array(encoded, pa.binary()),
        ],
        schema=_SCHEMA,
    )
