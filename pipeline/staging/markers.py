"""Documents that stages leave for each other: the plan, the catalog, a marker for each piece of finished work."""

import hashlib
from typing import Any

import msgspec

from pipeline.config.class_lock import ClassLock
from pipeline.model.catalog import Catalog, ShardSummary
from pipeline.model.ledger import Ledger
from pipeline.model.shards import Shard
from pipeline.records import Failure
from pipeline.storage import Extent


class Identity(msgspec.Struct, frozen=True):
    """The identity of an export: the values of the configuration that decide its bytes, the API's host,
    and the version of this package.
    """

    values: dict[str, Any]
    origin: str
    version: str

    @property
    def key(self) -> str:
        """Return the digest of all of it, which names the staging area."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]


class Given(msgspec.Struct, frozen=True):
    """What the catalog depends on besides configuration and records, as it was when the plan was made.

    ``classes`` are the project's, in order, ``points`` those of its keypoints, and ``tools`` the tools of each class.
    ``lock`` is the class lock, None when there is none (yet). ``split_file`` is the digest of the content of
    ``split.file``, and ``split_keys`` its number of keys; ``""`` and 0 without one.
    """

    classes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    lock: ClassLock | None = None
    split_file: str = ""
    split_keys: int = 0
    tools: dict[str, tuple[str, ...]] = {}


class Plan(msgspec.Struct, frozen=True):
    """The frozen list of shards, and the other inputs of the export.

    ``fingerprint`` covers the export's identity, the key of every record, the class lock and the file of splits.
    ``counted`` is the API's own count when the plan was made.
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
    """The samples of a shard are staged: their digest, what they contain, and every failure.

    ``sound`` are the books without the records of which something failed: what stays when those are tried again.
    """

    fingerprint: str
    index: int
    sha256: str
    summary: ShardSummary
    ledger: Ledger
    sound: Ledger
    failures: tuple[Failure, ...]

    @property
    def retryable(self) -> bool:
        """Return whether another attempt might export more of this shard."""
        return any(failure.transient for failure in self.failures)


class HashedRecord(msgspec.Struct, frozen=True, array_like=True):
    """A record before its split is final: what it is kept together with, and the split that the rules give it.

    ``images`` and ``objects`` (by label) are what it counts there; ``digests`` are the sha256 of its originals.
    """

    id: int
    key: str
    split: str
    images: int = 0
    objects: dict[str, int] = {}
    digests: tuple[str, ...] = ()


class HashedShard(msgspec.Struct, frozen=True):
    """The originals of a shard are hashed. ``samples`` is the digest of the staged samples that name them."""

    fingerprint: str
    index: int
    samples: str
    records: tuple[HashedRecord, ...]
    failures: tuple[Failure, ...] = ()


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Items of one section of the manifest at ``path``, and where their bytes are.

    The path of ``extent`` is ``""`` for the shard's own pack.
    """

    path: str
    section: str
    extent: Extent


class RenderMarker(msgspec.Struct, frozen=True):
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


class Intent(msgspec.Struct, frozen=True):
    """The files that a shard is about to write with a catalog, which is named by its digest."""

    index: int
    catalog: str
    paths: tuple[str, ...]


class ManifestMarker(msgspec.Struct, frozen=True):
    """A manifest is in place, joined from exactly the parts with this digest."""

    path: str
    size: int
    sha256: str
    parts: str


class Offset(msgspec.Struct, frozen=True, array_like=True):
    """Counts before a shard: samples, annotations, and usable images of each split."""

    samples: int = 0
    annotations: int = 0
    images: dict[str, int] = {}


class StagedCatalog(msgspec.Struct, frozen=True):
    """The catalog with what only the render stage needs: id offsets and, per shard, the stems that had to change.

    ``offsets[i]`` is what comes before shard ``i``. ``stems[i]`` maps ``"<record_id>/<ordinal>"`` to the stem a sample
    of shard ``i`` got instead of its own. ``moves`` is the digest of the records that change their split, ``""`` for
    none.
    """

    catalog: Catalog
    offsets: tuple[Offset, ...]
    stems: dict[int, dict[str, str]]
    moves: str = ""
