"""What stages leave for each other below ``_staging/<fingerprint>/``: samples as Parquet, everything else as JSON.

A marker is written last and says what its shard produced, with digests. Work counts as done when its marker is
there, belongs to this plan, and what it names is intact; nothing is ever concluded from a listing.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from pipeline.config.split_file import SplitFile
from pipeline.errors import StagingError
from pipeline.staging.markers import ExtractMarker, ManifestMarker, Plan, RenderMarker, StagedCatalog
from pipeline.staging.samples import SampleFile, StagedSample, open_samples, write_samples
from pipeline.storage import STAGING, Storage


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
        """The frozen plan, or None when there is none that can be read."""
        return unseal(self.storage.find(self._path("plan")), Plan)

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

    def write_samples(self, index: int, samples: Iterable[StagedSample]) -> str:
        """Stage a shard's samples, taken as they come; returns the file's sha256."""
        return write_samples(self.storage, self._path("extract", index, "parquet"), samples)

    def read_samples(self, marker: ExtractMarker) -> SampleFile:
        """A shard's samples.

        Raises StagingError when the file is missing or is not the one the marker describes: then the marker is void,
        and is removed.
        """
        path = self._path("extract", marker.index, "parquet")
        samples = open_samples(self.storage, path, marker.sha256)
        if samples is None:
            self.storage.delete([self._path("extract", marker.index)])
            raise StagingError(path, "is missing or damaged")
        return samples

    def read_rows(self, marker: ExtractMarker) -> Iterator[StagedSample]:
        """A shard's samples as they are staged, undecoded. Raises StagingError as :meth:`read_samples`, at once."""
        return self.read_samples(marker).rows()

    def read_stem_hashes(self, marker: ExtractMarker) -> np.ndarray:
        """The uint64 hash of the folded stem of each sample of a shard."""
        hashes: np.ndarray = self.read_samples(marker).columns(["stem_hash"])["stem_hash"].to_numpy()
        return hashes

    def read_stem_claims(self, marker: ExtractMarker) -> Iterator[tuple[str, int, int]]:
        """Stem, record id and ordinal of each sample of a shard."""
        names = ["stem", "record_id", "ordinal"]
        table = self.read_samples(marker).columns(names)
        return zip(*(table[name].to_pylist() for name in names), strict=True)

    def write_extract_marker(self, marker: ExtractMarker) -> None:
        """Say that a shard is extracted."""
        self._save(self._path("extract", marker.index), marker)

    def extract_markers(self, plan: Plan) -> Iterator[ExtractMarker | None]:
        """For each shard of the plan its marker, or None when it is not (or not validly) extracted."""
        paths = [self._path("extract", shard.index) for shard in plan.shards]
        for data in self.storage.find_many(paths):
            marker = unseal(data, ExtractMarker)
            yield marker if marker and marker.fingerprint == plan.fingerprint else None

    def read_extract_marker(self, index: int) -> ExtractMarker:
        """The marker of an extracted shard; raises StagingError when there is none."""
        marker = unseal(self.storage.find(self._path("extract", index)), ExtractMarker)
        if marker is None:
            raise StagingError(self._path("extract", index), "is missing or damaged")
        return marker

    def write_catalog(self, catalog: StagedCatalog) -> str:
        """Freeze the catalog; returns its sha256, by which later work refers to it."""
        return hashlib.sha256(self._save(self._path("catalog"), catalog)).hexdigest()

    def read_catalog(self) -> tuple[StagedCatalog, str] | None:
        """The frozen catalog and its sha256, or None."""
        data = self.storage.find(self._path("catalog"))
        catalog = unseal(data, StagedCatalog)
        return (catalog, hashlib.sha256(data or b"").hexdigest()) if catalog else None

    def write_pack(self, index: int, chunks: Iterable[bytes]) -> str:
        """Write all parts of a shard, joined, as one file; returns its sha256."""
        data = b"".join(chunks)
        self.storage.write(self.pack_path(index), data)
        return hashlib.sha256(data).hexdigest()

    @property
    def catalog_path(self) -> str:
        """Where the frozen catalog is."""
        return self._path("catalog")

    def render_marker_path(self, index: int) -> str:
        """Where the marker of a written shard is."""
        return self._path("render", index)

    def pack_path(self, index: int) -> str:
        """Where the parts of a shard are."""
        return self._path("render", index, "pack")

    def write_render_marker(self, marker: RenderMarker) -> None:
        """Say that a shard is written."""
        self._save(self._path("render", marker.index), marker)

    def render_markers(self, plan: Plan, catalog: str) -> Iterator[RenderMarker | None]:
        """For each shard its marker, or None when it is not written with this catalog."""
        paths = [self._path("render", shard.index) for shard in plan.shards]
        for data in self.storage.find_many(paths):
            marker = unseal(data, RenderMarker)
            valid = marker is not None and marker.fingerprint == plan.fingerprint and marker.catalog == catalog
            yield marker if valid else None

    def write_intent(self, index: int, number: int, paths: Sequence[str]) -> None:
        """Put on record which files a shard is about to write, its ``number``-th batch, before it does.

        Whoever removes an unfinished export removes these, and nothing else.
        """
        self._save(f"{self.root}/intent/{index:06d}-{number:04d}.json", paths, durable=False)

    def write_manifest_intent(self, paths: Sequence[str]) -> None:
        """The same for the files that are joined from all shards."""
        self._save(f"{self.root}/intent/manifests.json", paths)

    def intents(self) -> Iterator[str]:
        """Every file of the export that somebody was about to write; some may not be there."""
        for path, _ in list(self.storage.files(f"{self.root}/intent")):
            yield from unseal(self.storage.find(path), list[str]) or ()

    def write_spill(self, index: int, number: int, data: bytes) -> str:
        """Put items of a shard aside that are too many to hold until its pack is written; returns where they are."""
        path = f"{self.root}/render/{index:06d}-{number:04d}-{hashlib.sha256(data).hexdigest()}.part"
        self.storage.write(path, data, durable=True)
        return path

    def is_spill_intact(self, path: str) -> bool:
        """Whether a file of :meth:`write_spill` holds what was put there, which its name tells; true of other files."""
        if not path.startswith(f"{self.root}/render/"):
            return True
        digest = hashlib.sha256()
        if self.storage.size(path) is None:
            return False
        for chunk in self.storage.chunks(path):
            digest.update(chunk)
        return path.endswith(f"-{digest.hexdigest()}.part")

    def write_manifest_marker(self, marker: ManifestMarker) -> None:
        """Say that a manifest is joined."""
        self._save(self._manifest_path(marker.path), marker)

    def read_manifest_marker(self, path: str) -> ManifestMarker | None:
        """The marker of the manifest at ``path``, or None."""
        return unseal(self.storage.find(self._manifest_path(path)), ManifestMarker)

    def _manifest_path(self, path: str) -> str:
        return f"{self.root}/merge/{hashlib.sha256(path.encode()).hexdigest()[:32]}.json"


def seal(value: Any) -> bytes:
    """A document as it is staged: JSON, and in a line of its own the digest by which damage is noticed."""
    data = msgspec.json.encode(value)
    return data + b"\n" + hashlib.sha256(data).hexdigest().encode() + b"\n"


def unseal[T](data: bytes | None, kind: type[T]) -> T | None:
    """A staged document, or None when it is missing, damaged or of another version: then its work is redone."""
    if data is None:
        return None
    document, _, digest = data.removesuffix(b"\n").rpartition(b"\n")
    if hashlib.sha256(document).hexdigest().encode() != digest:
        return None
    try:
        return msgspec.json.decode(document, type=kind)
    except msgspec.MsgspecError:
        return None
