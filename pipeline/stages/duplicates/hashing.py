"""Hash the originals of a shard before splits are final: what ``duplicates: same_split`` goes by.

Nothing is kept of an original but its digest, because where it belongs is known only when its split is.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, BinaryIO, cast

import msgspec

from pipeline.config.split_file import split_of
from pipeline.executors.base import Executor
from pipeline.model.catalog import ShardSummary
from pipeline.model.ledger import failure_reasons
from pipeline.model.shards import Shard
from pipeline.model.source import Wanted
from pipeline.progress import Reporter, ticker
from pipeline.records import Failure, Record, Sample
from pipeline.stages.extract import ShardResult, lanes_of, shared_context, summarise
from pipeline.stages.workspace import Settings, TaskContext, open_workspace
from pipeline.staging.area import Staging
from pipeline.staging.markers import ExtractMarker, HashedRecord, HashedShard, Plan


def hash_originals(settings: Settings, plan: Plan, executor: Executor, reporter: Reporter) -> list[Failure]:
    """Hash the originals of every shard whose digests are not staged, and return what could not be fetched.

    What failed is tried again by the next run or retry, until the catalog is frozen.
    """
    workspace = open_workspace(settings)
    staging = workspace.staging
    frozen = staging.read_catalog() is not None
    todo = [shard for shard in plan.shards if not _is_hashed(staging, plan, shard, frozen=frozen)]
    reporter.begin("hash", plan.records, resumed=plan.records - sum(shard.count for shard in todo))
    context, at_once = shared_context(settings, plan, executor, len(todo))
    results = executor.map(
        hash_shard,
        context,
        todo,
        at_most=at_once,
        careful=context.carefully(),
        lanes=lanes_of(workspace.config.run, context.settings.requests),
        interrupt=workspace.interrupt,
    )
    with reporter.following():
        for result in results:
            result.tell(reporter)
    reporter.end()
    return [failure for shard in plan.shards for failure in staging.read_hashes(shard.index).failures]


def _is_hashed(staging: Staging, plan: Plan, shard: Shard, *, frozen: bool) -> bool:
    found = staging.find_hashes(shard.index)
    if found is None or found.fingerprint != plan.fingerprint:
        return False
    if found.failures and not frozen:
        return False
    return found.samples == staging.read_extract_marker(shard.index).sha256


def hash_shard(context: TaskContext, shard: Shard) -> ShardResult:
    """Hash the originals of one shard and stage their digests. Running it twice is safe.

    What is staged already stays, except for the records of which an original failed.
    """
    workspace = open_workspace(context.settings)
    config, staging = workspace.config, workspace.staging
    marker = staging.read_extract_marker(shard.index)
    known = _known_digests(staging, context.fingerprint, marker)
    records: list[HashedRecord] = []
    wanted: list[Wanted] = []
    for record, samples in _records(staging.read_samples(marker)):
        counted = ShardSummary()
        summarise(record, samples, config.split, workspace.split_file, counted)
        split = split_of(record, config.split, workspace.split_file)
        images, objects = counted.splits.get(split, 0), counted.objects.get(split, {})
        records.append(HashedRecord(record.id, group_key(record), split, images, objects))
        wanted += [
            Wanted(record.id, sample.file.spec, f"{record.id}/{sample.ordinal}", sample.file.size)
            for sample in samples
            if record.id not in known and sample.file is not None and sample.file.is_fetchable
        ]
    tick, done = ticker(shard.index, shard.count), 0

    def count(*_: Any) -> None:
        nonlocal done
        done += 1  # two threads at once may lose one: the end of the shard counts it right
        tick(done / max(len(wanted), 1))

    @contextlib.contextmanager
    def create(_: str) -> Iterator[BinaryIO]:
        yield cast(BinaryIO, _Nowhere())
        count()

    digests: dict[int, list[str]] = {}
    failures: list[Failure] = []
    for (_, found), one in zip(workspace.source.copy_originals(shard, wanted, count, create), wanted, strict=True):
        if isinstance(found, Failure):
            failures.append(found)
        else:
            digests.setdefault(one.record_id, []).append(found.source_sha256 or found.sha256)
    staging.write_hashes(
        HashedShard(
            fingerprint=context.fingerprint,
            index=shard.index,
            samples=marker.sha256,
            records=tuple(
                msgspec.structs.replace(record, digests=known.get(record.id, tuple(digests.get(record.id, ()))))
                for record in records
            ),
            failures=tuple(failures),
        )
    )
    failed = {failure.record_id for failure in failures}
    return ShardResult(
        shard.count, 0, len(failed), shard.index, workspace.source.take_retries(), failure_reasons(failures)
    )


def _known_digests(staging: Staging, fingerprint: str, marker: ExtractMarker) -> dict[int, tuple[str, ...]]:
    """Return the digests of records whose originals were all hashed, by record id."""
    found = staging.find_hashes(marker.index)
    if found is None or (found.fingerprint, found.samples) != (fingerprint, marker.sha256):
        return {}
    failed = {failure.record_id for failure in found.failures}
    return {record.id: record.digests for record in found.records if record.id not in failed}


def group_key(record: Record) -> str:
    """Return what the record is kept together with: the value of ``split.key``, or itself where it has none."""
    return f"group {record.group}" if record.group else f"record {record.id}"


def _records(staged: Iterable[tuple[Record, Sample, str]]) -> Iterator[tuple[Record, Sequence[Sample]]]:
    """Yield each record with its samples."""
    for _, rows in groupby(staged, key=lambda row: row[0].id):
        found = list(rows)
        yield found[0][0], [sample for _, sample, _ in found]


class _Nowhere(io.RawIOBase):
    """A file that keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)
