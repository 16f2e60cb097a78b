"""The staging area, ``_staging/<fingerprint>/``: samples as Parquet, everything else as JSON.

A marker is written last and says what its shard produced, with digests. Work counts as done when its marker is
there, belongs to this plan and to the shard at whose path it is, and what it names is intact; a listing proves nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from pipeline.config.split_file import SplitFile
from pipeline.errors import UNREADABLE_JSON, StagingError
from pipeline.staging.markers import (
    ExtractMarker,
    HashedShard,
    Intent,
    ManifestMarker,
    Plan,
    RenderMarker,
    StagedCatalog,
)
from pipeline.staging.samples import SampleFile, StagedSample, open_samples, write_samples
from pipeline.storage import STAGING, Storage

DAMAGED = "is missing or damaged; run the same command again, which makes it again"
"""The second argument of a StagingError about a file of a run: what reads it has made its marker void."""


class Staging:
    """The staging area of one export, below ``_staging/<key>/`` of its storage."""

    def __init__(self, storage: Storage, key: str) -> None:
        self.storage = storage
        self.root = f"{STAGING}/{key}"

    def _path(self, kind: str, index: int | None = None, suffix: str = "json") -> str:
        return f"{self.root}/{kind}.{suffix}" if index is None else f"{self.root}/{kind}/{index:06d}.{suffix}"

    def _save(self, path: str, value: Any, *, durable: bool = True) -> bytes:
        data = seal(value)
        self.storage.write(path, data, durable=durable)
        return data

    def write_plan(self, plan: Plan) -> None:
        """Freeze the plan."""
        self._save(self._path("plan"), plan)

    def read_plan(self) -> Plan | None:
        """Return the frozen plan, or None without a readable one."""
        return unseal(self.storage.find(self._path("plan")), Plan)

    def write_split_file(self, data: bytes) -> None:
        """Freeze the split of each key."""
        self.storage.write(self._path("splits", suffix="bin"), data, durable=True)

    def read_split_file(self) -> SplitFile:
        """Return the frozen splits. Raises StagingError when they are missing or damaged."""
        path = self._path("splits", suffix="bin")
        found = SplitFile.decode(self.storage.find(path) or b"")
        if found is None:
            raise StagingError(path, DAMAGED)
        return found

    def write_samples(self, index: int, samples: Iterable[StagedSample]) -> str:
        """Stage a shard's samples as they come, and return the file's sha256."""
        return write_samples(self.storage, self._path("extract", index, "parquet"), samples)

    def read_samples(self, marker: ExtractMarker) -> SampleFile:
        """Return a shard's samples.

        Raises StagingError when the file is missing or is not the one the marker describes: then the marker is void,
        and is removed.
        """
        path = self._path("extract", marker.index, "parquet")
        samples = open_samples(self.storage, path, marker.sha256)
        if samples is None:
            self.storage.delete([self._path("extract", marker.index)])
            raise StagingError(path, DAMAGED)
        return samples

    def read_rows(self, marker: ExtractMarker) -> Iterator[StagedSample]:
        """Return a shard's staged rows, undecoded. Raises StagingError at once, as :meth:`read_samples` does."""
        return self.read_samples(marker).rows()

    def read_stem_hashes(self, marker: ExtractMarker) -> np.ndarray:
        """Return the uint64 hash of the folded stem of each sample of a shard."""
        hashes: np.ndarray = self.read_samples(marker).columns(["stem_hash"])["stem_hash"].to_numpy()
        return hashes

    def read_stem_claims(self, marker: ExtractMarker) -> Iterator[tuple[str, int, int]]:
        """Return stem, record id and ordinal of each sample of a shard."""
        names = ["stem", "record_id", "ordinal"]
        table = self.read_samples(marker).columns(names)
        return zip(*(table[name].to_pylist() for name in names), strict=True)

    def write_extract_marker(self, marker: ExtractMarker) -> None:
        """Mark a shard as extracted."""
        self._save(self._path("extract", marker.index), marker)

    def extract_markers(self, plan: Plan) -> Iterator[ExtractMarker | None]:
        """Yield the marker of each shard of the plan, or None when it is not (or not validly) extracted."""
        paths = [self._path("extract", shard.index) for shard in plan.shards]
        for shard, data in zip(plan.shards, self.storage.find_many(paths), strict=True):
            marker = unseal(data, ExtractMarker)
            valid = marker is not None and marker.fingerprint == plan.fingerprint and marker.index == shard.index
            yield marker if valid else None

    def read_extract_marker(self, index: int) -> ExtractMarker:
        """Return the marker of an extracted shard. Raises StagingError without one."""
        marker = unseal(self.storage.find(self._path("extract", index)), ExtractMarker)
        if marker is None or marker.index != index:
            raise StagingError(self._path("extract", index), DAMAGED)
        return marker

    def write_hashes(self, shard: HashedShard) -> None:
        """Stage the digests of a shard's originals."""
        self._save(self._path("hash", shard.index), shard)

    def find_hashes(self, index: int) -> HashedShard | None:
        """Return the digests of a shard's originals, or None when they are missing or damaged."""
        found = unseal(self.storage.find(self._path("hash", index)), HashedShard)
        return found if found and found.index == index else None

    def read_hashes(self, index: int) -> HashedShard:
        """Return the digests of a shard's originals. Raises StagingError without them."""
        found = self.find_hashes(index)
        if found is None:
            raise StagingError(self._path("hash", index), DAMAGED)
        return found

    def write_split_moves(self, moves: SplitFile) -> None:
        """Freeze which records change their split."""
        self.storage.write(self.split_moves_path, moves.encode(), durable=True)

    def read_split_moves(self) -> SplitFile | None:
        """Return the frozen changes of splits, or None when there are none that can be read."""
        return SplitFile.decode(self.storage.find(self.split_moves_path) or b"")

    @property
    def split_moves_path(self) -> str:
        """Return the path of the frozen changes of splits."""
        return self._path("moves", suffix="bin")

    def write_catalog(self, catalog: StagedCatalog) -> str:
        """Freeze the catalog, and return its sha256, by which later work refers to it."""
        return hashlib.sha256(self._save(self._path("catalog"), catalog)).hexdigest()

    def read_catalog(self) -> tuple[StagedCatalog, str] | None:
        """Return the frozen catalog and its sha256, or None."""
        data = self.storage.find(self._path("catalog"))
        catalog = unseal(data, StagedCatalog)
        return (catalog, hashlib.sha256(data or b"").hexdigest()) if catalog else None

    def write_pack(self, index: int, chunks: Iterable[bytes]) -> str:
        """Write all parts of a shard as one file, and return its sha256."""
        data = b"".join(chunks)
        self.storage.write(self.pack_path(index), data)
        return hashlib.sha256(data).hexdigest()

    @property
    def catalog_path(self) -> str:
        """Return the path of the frozen catalog."""
        return self._path("catalog")

    def render_marker_path(self, index: int) -> str:
        """Return the path of the marker of a rendered shard."""
        return self._path("render", index)

    def pack_path(self, index: int) -> str:
        """Return the path of the pack of a shard."""
        return self._path("render", index, "pack")

    def write_render_marker(self, marker: RenderMarker) -> None:
        """Mark a shard as rendered."""
        self._save(self._path("render", marker.index), marker)

    def render_markers(self, plan: Plan, catalog: str) -> Iterator[RenderMarker | None]:
        """Yield the marker of each shard, or None when it is not rendered with this catalog."""
        paths = [self._path("render", shard.index) for shard in plan.shards]
        for shard, data in zip(plan.shards, self.storage.find_many(paths), strict=True):
            marker = unseal(data, RenderMarker)
            known = (plan.fingerprint, shard.index, catalog)
            valid = marker is not None and (marker.fingerprint, marker.index, marker.catalog) == known
            yield marker if valid else None

    def write_intent(self, index: int, number: int, paths: Sequence[str], catalog: str = "") -> None:
        """Record the files that a shard is about to write with a catalog, its ``number``-th batch.

        The removal of an unfinished export removes these files, and nothing else.
        """
        self._save(self._intent_path(index, number, catalog), Intent(index, catalog, tuple(paths)), durable=False)

    def shard_intents(self, index: int, catalog: str) -> Iterator[str]:
        """Yield every recorded file of a shard that was rendered with this catalog, also by attempts that failed."""
        number = 0
        while (data := self.storage.find(self._intent_path(index, number, catalog))) is not None:
            intent = unseal(data, Intent)
            if intent and (intent.index, intent.catalog) == (index, catalog):  # else it is another shard's
                yield from intent.paths
            number += 1

    def _intent_path(self, index: int, number: int, catalog: str) -> str:
        return f"{self.root}/intent/{index:06d}-{number:04d}-{catalog[:16]}.json"

    def write_manifest_intent(self, paths: Sequence[str]) -> None:
        """Record the files that are about to be joined from all shards."""
        self._save(f"{self.root}/intent/manifests.json", paths)

    def intents(self) -> Iterator[str]:
        """Yield every recorded file of the export; some may not have been written."""
        for path, _ in list(self.storage.files(f"{self.root}/intent")):
            data = self.storage.find(path)
            intent = unseal(data, Intent)
            yield from intent.paths if intent else unseal(data, list[str]) or ()

    def write_spill(self, index: int, number: int, data: bytes) -> str:
        """Stage items of a shard that do not fit in memory until its pack is written, and return where they are."""
        path = f"{self.root}/render/{index:06d}-{number:04d}-{hashlib.sha256(data).hexdigest()}.part"
        self.storage.write(path, data, durable=True)
        return path

    def is_spill_intact(self, path: str) -> bool:
        """Return whether a file of :meth:`write_spill` has the digest in its name; true of other files."""
        if not path.startswith(f"{self.root}/render/"):
            return True
        digest = hashlib.sha256()
        if self.storage.size(path) is None:
            return False
        for chunk in self.storage.chunks(path):
            digest.update(chunk)
        return path.endswith(f"-{digest.hexdigest()}.part")

    def write_manifest_marker(self, marker: ManifestMarker) -> None:
        """Mark a manifest as joined."""
        self._save(self._manifest_path(marker.path), marker)

    def read_manifest_marker(self, path: str) -> ManifestMarker | None:
        """Return the marker of the manifest at ``path``, or None."""
        marker = unseal(self.storage.find(self._manifest_path(path)), ManifestMarker)
        return marker if marker and marker.path == path else None

    def _manifest_path(self, path: str) -> str:
        return f"{self.root}/merge/{hashlib.sha256(path.encode()).hexdigest()[:32]}.json"


def seal(value: Any) -> bytes:
    """Return a document as it is staged: JSON, then a line with the digest that reveals damage."""
    data = msgspec.json.encode(value)
    return data + b"\n" + hashlib.sha256(data).hexdigest().encode() + b"\n"


def unseal[T](data: bytes | None, kind: type[T]) -> T | None:
    """Return a staged document, or None when it is missing, damaged or of another version: its work is redone."""
    if data is None:
        return None
    document, _, digest = data.removesuffix(b"\n").rpartition(b"\n")
    if hashlib.sha256(document).hexdigest().encode() != digest:
        return None
    try:
        return msgspec.json.decode(document, type=kind)
    except UNREADABLE_JSON:
        return None
