"""What stages leave for each other below ``_staging/<fingerprint>/``: samples as Parquet, everything else as JSON.

A marker is written last and says what its shard produced, with digests. Work counts as done when its marker is
there, belongs to this plan, and what it names is intact; nothing is ever concluded from a listing.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalog import Catalog, ShardSummary
from pipeline.class_lock import ClassLock
from pipeline.errors import StagingError
from pipeline.ledger import Ledger
from pipeline.records import Failure, Sample
from pipeline.shards import Shard
from pipeline.splits import SplitFile
from pipeline.storage import STAGING, Storage

_SCHEMA = pa.schema(
    [
        ("record_id", pa.int64()),
        ("ordinal", pa.int32()),
        ("stem", pa.string()),
        ("stem_hash", pa.uint64()),
        ("sample", pa.binary()),
    ]
)
encode_sample = msgspec.msgpack.Encoder().encode
_decode_sample = msgspec.msgpack.Decoder(Sample).decode


class StagedSample(NamedTuple):
    """One row of a staged shard: the sample as bytes, the stem it asks for, and the hash of that stem, folded."""

    record_id: int
    ordinal: int
    stem: str
    stem_hash: int
    encoded: bytes


class StagedSamples:
    """The samples of a staged shard with the stems they ask for, each decoded when its turn comes."""

    def __init__(self, encoded: Sequence[bytes], stems: Sequence[str]) -> None:
        self._encoded = encoded
        self._stems = stems

    def __iter__(self) -> Iterator[tuple[Sample, str]]:
        return zip(map(_decode_sample, self._encoded), self._stems, strict=True)


class Identity(msgspec.Struct, frozen=True):
    """What makes two runs the same export: the values of the configuration that decide its bytes, the API's host,
    and the version of this package.
    """

    values: dict[str, Any]
    origin: str
    version: str

    @property
    def key(self) -> str:
        """The digest of all of it; names the staging area."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]


class Given(msgspec.Struct, frozen=True):
    """What the catalog depends on besides configuration and records, as it was when the plan was made.

    ``classes`` are the project's, in order, and ``points`` those of its keypoints. ``lock`` is the class lock, None
    when there is none (yet). ``split_file`` is the digest of what ``split.file`` said, and ``split_keys`` how many keys
    that were; ``""`` and 0 without one.
    """

    classes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    lock: ClassLock | None = None
    split_file: str = ""
    split_keys: int = 0


class Plan(msgspec.Struct, frozen=True):
    """The frozen shard list, and what else was given. ``fingerprint`` covers the export's identity, the key of every
    record, the class lock and the file of splits.

    ``counted`` is what the API's own count said when the plan was made.
    """

    fingerprint: str
    export: Identity
    project_id: int | None
    project_title: str
    given: Given
    warnings: tuple[str, ...]
    counted: int
    records: int
    shards: tuple[Shard, ...]


class ExtractMarker(msgspec.Struct, frozen=True):
    """A shard's samples are staged: their digest, what they contain, and every failure."""

    fingerprint: str
    index: int
    sha256: str
    summary: ShardSummary
    ledger: Ledger
    failures: tuple[Failure, ...]

    @property
    def retryable(self) -> bool:
        """Whether another attempt might export more of this shard."""
        return any(failure.transient for failure in self.failures)


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Where in a shard's pack the items of one manifest section are, or in which ``file`` of the export."""

    path: str
    section: str
    start: int
    length: int
    file: str = ""


class WriteMarker(msgspec.Struct, frozen=True):
    """A shard's files are in place and its parts are packed.

    ``catalog`` is the digest of the catalog they were rendered with; ``sha256`` that of the pack.
    """

    fingerprint: str
    index: int
    catalog: str
    sha256: str
    parts: tuple[Part, ...]
    ledger: Ledger
    failures: tuple[Failure, ...]


class ManifestMarker(msgspec.Struct, frozen=True):
    """A manifest is in place, joined from exactly the parts with this digest."""

    path: str
    size: int
    sha256: str
    parts: str


class Offset(msgspec.Struct, frozen=True, array_like=True):
    """What comes before a shard: samples, annotations, and usable images of each split."""

    samples: int = 0
    annotations: int = 0
    images: dict[str, int] = {}


class StagedCatalog(msgspec.Struct, frozen=True):
    """The catalog with what only the write stage needs: id offsets and, per shard, the stems that had to change.

    ``offsets[i]`` is what comes before shard ``i``. ``stems[i]`` maps ``"<record_id>/<ordinal>"`` to the stem a sample
    of shard ``i`` got instead of its own.
    """

    catalog: Catalog
    offsets: tuple[Offset, ...]
    stems: dict[int, dict[str, str]]


class Staging:
    """The staging area of one export, below ``_staging/<key>/`` of its storage."""

    def __init__(self, storage: Storage, key: str) -> None:
        self.storage = storage
        self.root = f"{STAGING}/{key}"

    def _path(self, kind: str, index: int | None = None, suffix: str = "json") -> str:
        return f"{self.root}/{kind}.{suffix}" if index is None else f"{self.root}/{kind}/{index:06d}.{suffix}"

    def write_plan(self, plan: Plan) -> None:
        """Freeze the plan."""
        self.storage.write(self._path("plan"), msgspec.json.encode(plan), durable=True)

    def read_plan(self) -> Plan | None:
        """The frozen plan, or None when there is none that can be read."""
        return _decode(self.storage.find(self._path("plan")), Plan)

    def write_split_file(self, data: bytes) -> None:
        """Freeze which key is in which split."""
        self.storage.write(self._path("splits", suffix="bin"), data, durable=True)

    def read_split_file(self) -> SplitFile:
        """The frozen splits; raises StagingError when they are missing or damaged."""
        path = self._path("splits", suffix="bin")
        found = SplitFile.decode(self.storage.find(path) or b"")
        if found is None:
            raise StagingError(path, "is missing or damaged")
        return found

    def write_samples(self, index: int, samples: Sequence[StagedSample]) -> str:
        """Stage a shard's samples; returns the file's sha256."""
        record_ids, ordinals, stems, hashes, encoded = zip(*samples, strict=True) if samples else ((),) * 5
        table = pa.table(
            [
                pa.array(record_ids, pa.int64()),
                pa.array(ordinals, pa.int32()),
                pa.array(stems, pa.string()),
                pa.array(np.asarray(hashes, dtype=np.uint64)),
                pa.array(encoded, pa.binary()),
            ],
            schema=_SCHEMA,
        )
        buffer = io.BytesIO()
        # Statistics and dictionaries would only describe opaque bytes and unique values.
        pq.write_table(table, buffer, compression="lz4", use_dictionary=False, write_statistics=False)
        data = buffer.getvalue()
        self.storage.write(self._path("extract", index, "parquet"), data)
        return hashlib.sha256(data).hexdigest()

    def read_samples(self, marker: ExtractMarker) -> "StagedSamples":
        """A shard's samples.

        Raises StagingError when the file is missing or is not the one the marker describes.
        """
        table = self._columns(marker, ["stem", "sample"])
        return StagedSamples(table["sample"].to_pylist(), table["stem"].to_pylist())

    def read_stem_hashes(self, marker: ExtractMarker) -> np.ndarray:
        """The uint64 hash of the folded stem of each sample of a shard."""
        hashes: np.ndarray = self._columns(marker, ["stem_hash"])["stem_hash"].to_numpy()
        return hashes

    def read_stem_claims(self, marker: ExtractMarker) -> Iterator[tuple[str, int, int]]:
        """Stem, record id and ordinal of each sample of a shard."""
        table = self._columns(marker, ["stem", "record_id", "ordinal"])
        return zip(*(table[name].to_pylist() for name in ("stem", "record_id", "ordinal")), strict=True)

    def _columns(self, marker: ExtractMarker, columns: list[str]) -> pa.Table:
        # Not read_table: it imports pyarrow's query engine, which takes longer than reading a shard.
        return pq.ParquetFile(pa.BufferReader(self._staged(marker))).read(columns=columns, use_threads=False)

    def _staged(self, marker: ExtractMarker) -> bytes:
        """The bytes of a shard's samples; a marker that does not fit them is void, and is removed."""
        path = self._path("extract", marker.index, "parquet")
        data = self.storage.find(path)
        if data is None or hashlib.sha256(data).hexdigest() != marker.sha256:
            self.storage.delete([self._path("extract", marker.index)])
            raise StagingError(path, "is missing or damaged")
        return data

    def write_extract_marker(self, marker: ExtractMarker) -> None:
        """Say that a shard is extracted."""
        self.storage.write(self._path("extract", marker.index), msgspec.json.encode(marker), durable=True)

    def extract_markers(self, plan: Plan) -> Iterator[ExtractMarker | None]:
        """For each shard of the plan its marker, or None when it is not (or not validly) extracted."""
        paths = [self._path("extract", shard.index) for shard in plan.shards]
        for data in self.storage.find_many(paths):
            marker = _decode(data, ExtractMarker)
            yield marker if marker and marker.fingerprint == plan.fingerprint else None

    def read_extract_marker(self, index: int) -> ExtractMarker:
        """The marker of an extracted shard; raises StagingError when there is none."""
        marker = _decode(self.storage.find(self._path("extract", index)), ExtractMarker)
        if marker is None:
            raise StagingError(self._path("extract", index), "is missing or damaged")
        return marker

    def write_catalog(self, catalog: StagedCatalog) -> str:
        """Freeze the catalog; returns its sha256, by which later work refers to it."""
        data = msgspec.json.encode(catalog)
        self.storage.write(self._path("catalog"), data, durable=True)
        return hashlib.sha256(data).hexdigest()

    def read_catalog(self) -> tuple[StagedCatalog, str] | None:
        """The frozen catalog and its sha256, or None."""
        data = self.storage.find(self._path("catalog"))
        catalog = _decode(data, StagedCatalog)
        return (catalog, hashlib.sha256(data or b"").hexdigest()) if catalog else None

    def write_pack(self, index: int, chunks: Iterable[bytes]) -> str:
        """Write all parts of a shard, joined, as one file; returns its sha256."""
        data = b"".join(chunks)
        self.storage.write(self.pack_path(index), data)
        return hashlib.sha256(data).hexdigest()

    def pack_path(self, index: int) -> str:
        """Where the parts of a shard are."""
        return self._path("write", index, "pack")

    def write_write_marker(self, marker: WriteMarker) -> None:
        """Say that a shard is written."""
        self.storage.write(self._path("write", marker.index), msgspec.json.encode(marker), durable=True)

    def write_markers(self, plan: Plan, catalog: str) -> Iterator[WriteMarker | None]:
        """For each shard its marker, or None when it is not written with this catalog."""
        paths = [self._path("write", shard.index) for shard in plan.shards]
        for data in self.storage.find_many(paths):
            marker = _decode(data, WriteMarker)
            valid = marker is not None and marker.fingerprint == plan.fingerprint and marker.catalog == catalog
            yield marker if valid else None

    def write_intent(self, index: int, number: int, paths: Sequence[str]) -> None:
        """Put on record which files a shard is about to write, its ``number``-th batch, before it does.

        Whoever removes an unfinished export removes these, and nothing else.
        """
        self.storage.write(f"{self.root}/intent/{index:06d}-{number:04d}.json", msgspec.json.encode(paths))

    def write_manifest_intent(self, paths: Sequence[str]) -> None:
        """The same for the files that are joined from all shards."""
        self.storage.write(f"{self.root}/intent/manifests.json", msgspec.json.encode(paths), durable=True)

    def intents(self) -> Iterator[str]:
        """Every file of the export that somebody was about to write; some may not be there."""
        for path, _ in list(self.storage.files(f"{self.root}/intent")):
            yield from _decode(self.storage.find(path), list[str]) or ()

    def write_spill(self, index: int, number: int, data: bytes) -> str:
        """Put items of a shard aside that are too many to hold until its pack is written; returns where they are."""
        path = f"{self.root}/write/{index:06d}-{number:04d}.part"
        self.storage.write(path, data, durable=True)
        return path

    def write_manifest_marker(self, marker: ManifestMarker) -> None:
        """Say that a manifest is joined."""
        self.storage.write(self._manifest_path(marker.path), msgspec.json.encode(marker), durable=True)

    def read_manifest_marker(self, path: str) -> ManifestMarker | None:
        """The marker of the manifest at ``path``, or None."""
        return _decode(self.storage.find(self._manifest_path(path)), ManifestMarker)

    def _manifest_path(self, path: str) -> str:
        return f"{self.root}/merge/{hashlib.sha256(path.encode()).hexdigest()[:32]}.json"


def _decode[T](data: bytes | None, kind: type[T]) -> T | None:
    """A staged document, or None when it is missing, cut short or of another version: then its work is redone."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None
