"""``duplicates: same_split``: decide, once all originals are hashed, which records change their split.

Records that share an original, or the value of ``split.key``, are one family, and a family is in one split: that of its
record with the lowest id that is in a split at all, so that a family stays where it is when later records join it. The
decision depends on the records alone, not on shards, workers or the order of work. It is frozen before the catalog.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.config.split_file import SplitFile
from pipeline.model.catalog import ShardSummary
from pipeline.model.splits import UNASSIGNED
from pipeline.stages.duplicates.listing import is_among, repeated_prefixes
from pipeline.staging.area import Staging
from pipeline.staging.markers import ExtractMarker, HashedRecord, Plan
from pipeline.staging.sorting import sorted_lines


def freeze_splits(plan: Plan, staging: Staging) -> SplitFile:
    """Return the splits of records that change theirs, by their group key: the frozen ones, or new ones, frozen now.

    They belong to a catalog: until that is frozen, what was decided before may be of originals that are not all.

    They are decided from the digests that are staged. In memory are 8 bytes for each original, and what is known of
    the families that have several splits.
    """
    frozen = staging.read_split_moves()
    if frozen is not None and staging.read_catalog() is not None:
        return frozen
    repeated, _ = repeated_prefixes(digest for record in _records(plan, staging) for digest in record.digests)
    moves = _decide(plan, staging, repeated) if len(repeated) else {}
    staging.write_split_moves(SplitFile.of(moves))
    return SplitFile.of(moves)


def moved_summaries(markers: Sequence[ExtractMarker], staging: Staging, moves: SplitFile) -> list[ShardSummary]:
    """Return the summaries of extracted shards with the records that change their split counted where they end up."""
    if not len(moves):
        return [marker.summary for marker in markers]
    summaries = []
    for marker in markers:
        summary = msgspec.convert(msgspec.to_builtins(marker.summary), ShardSummary)  # not the marker's own dicts
        for record in staging.read_hashes(marker.index).records:
            split = moves.find(record.key)
            if split is not None and split != record.split:
                _move(summary, record, split)
        summaries.append(summary)
    return summaries


def _move(summary: ShardSummary, record: HashedRecord, split: str) -> None:
    for name, sign in ((record.split, -1), (split, 1)):
        _add(summary.splits, name, sign * record.images)
        objects = summary.objects.setdefault(name, {})
        for label, number in record.objects.items():
            _add(objects, label, sign * number)
        if not objects:
            del summary.objects[name]


def _add(counts: dict[str, int], name: str, number: int) -> None:
    counts[name] = counts.get(name, 0) + number
    if not counts[name]:
        del counts[name]


def _records(plan: Plan, staging: Staging) -> Iterator[HashedRecord]:
    for shard in plan.shards:
        yield from staging.read_hashes(shard.index).records


def _decide(plan: Plan, staging: Staging, repeated: npt.NDArray[np.uint64]) -> dict[str, str]:
    """Return the split of each group key whose family has several."""
    families = _Families()
    shared = (
        msgspec.json.encode((digest, record.key)) + b"\n"
        for record in _records(plan, staging)
        for digest in record.digests
        if is_among(digest, repeated)
    )
    rows = map(msgspec.json.Decoder(tuple[str, str]).decode, sorted_lines(shared))
    for _, group in groupby(rows, key=lambda row: row[0]):
        keys = [key for _, key in group]
        for key in keys[1:]:
            families.join(keys[0], key)
    chosen: dict[str, str] = {}
    splits: dict[str, set[str]] = {}
    for record in _records(plan, staging):  # in the order of their ids
        family = families.find(record.key)
        if family is not None:
            splits.setdefault(family, set()).add(record.split)
            if chosen.get(family, UNASSIGNED) == UNASSIGNED:
                chosen[family] = record.split
    return {
        key: chosen[family]
        for key in families.keys()  # noqa: SIM118  not a dict
        if (family := families.find(key)) in splits and len(splits[family]) > 1
    }


class _Families:
    """Disjoint sets of group keys; only keys that share an original with another one are in them."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def join(self, one: str, other: str) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        self._parent[second] = first

    def find(self, key: str) -> str | None:
        """Return the name of the family that a key is in, or None."""
        return self._root(key) if key in self._parent else None

    def keys(self) -> Iterator[str]:
        return iter(tuple(self._parent))

    def _root(self, key: str) -> str:
        self._parent.setdefault(key, key)
        while self._parent[key] != key:
            self._parent[key] = key = self._parent[self._parent[key]]
        return key


def digest_of(moves: SplitFile) -> str:
    """Return what the catalog is bound to: the digest of the moves, ``""`` when no record changes its split."""
    return hashlib.sha256(moves.encode()).hexdigest() if len(moves) else ""
