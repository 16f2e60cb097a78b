"""Patch a published export: fetch failed records into a staging area of their own, then install them.

::

    fetch (aside) ─► record what changes and what is listed ─► remove _SUCCESS.json ─► install ─► catalog … publish

The published export stays as it is until a record came out differently. Once the patch is recorded, the retry or the
run that continues the export installs what was fetched, and removes what is no longer listed before the new verdict.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import batched, groupby, pairwise

import msgspec

from pipeline.destination import metadata
from pipeline.destination.existing import listed_paths
from pipeline.errors import StagingError
from pipeline.model.catalog import ShardSummary
from pipeline.model.ledger import Ledger, failed_records, failure_reasons, merge_ledgers
from pipeline.model.shards import Shard, pack_keys, unpack_keys
from pipeline.model.source import ExtractedRecord
from pipeline.records import Failure
from pipeline.stages.extract import (
    ShardResult,
    SpooledSample,
    ledger_for,
    select_and_count,
    spool_record,
    summarise,
    unspool,
)
from pipeline.stages.workspace import TaskContext, open_workspace
from pipeline.staging.area import Staging, seal, unseal
from pipeline.staging.markers import ExtractMarker
from pipeline.staging.samples import StagedSample
from pipeline.staging.spool import Spool
from pipeline.storage import STAGING

_LISTED_AT_ONCE = 200_000


class Patch(msgspec.Struct, frozen=True):
    """A recorded patch: shards to install (``fetched``), shards to render again, and the number of lists of files that
    the export had before. ``placed`` says that the first two are done.
    """

    fetched: tuple[int, ...]
    rewritten: tuple[int, ...]
    lists: int
    placed: bool = False


def patch_staging(staging: Staging) -> Staging:
    """The staging area of fetched shards until they are installed."""
    return Staging(staging.storage, f"{staging.root.removeprefix(f'{STAGING}/')}/patch")


def read_patch(staging: Staging) -> Patch | None:
    """The recorded patch, or None. Raises StagingError for a damaged one, which cannot say what has to be removed."""
    data = staging.storage.find(_record(staging))
    patch = unseal(data, Patch)
    if data is not None and patch is None:
        raise StagingError(_record(staging), "is damaged; start anew with on_existing: overwrite")
    return patch


def _record(staging: Staging) -> str:
    return f"{staging.root}/patch.json"


def _list(staging: Staging, number: int) -> str:
    return f"{staging.root}/intent/listed-{number:06d}.json"  # an intent: `clean` removes what is in it, too


def runs_of(shard: Shard, wanted: set[int]) -> Iterator[Shard]:
    """The ``wanted`` records of a shard, as shards of adjacent keys, so that a range of keys lists no other record.

    A listing with neither ranges nor ids is read from the shard's first page on.
    """
    keys, models = unpack_keys(shard.keys), unpack_keys(shard.models)
    chosen = [position for position, key in enumerate(keys.tolist()) if key in wanted]
    breaks = [number for number, (low, high) in enumerate(pairwise(chosen), start=1) if high > low + 1]
    for start, end in pairwise((0, *breaks, len(chosen))):
        part = chosen[start:end]
        yield msgspec.structs.replace(
            shard,
            count=len(part),
            keys=pack_keys(keys[part]),
            models=pack_keys(models[part]) if len(models) else b"",
            cursors=shard.cursors[:1],
        )


def fetch_failed(context: TaskContext, shard: Shard) -> ShardResult:
    """Fetch a shard's failed records and stage the shard with them in the patch's area. Running it twice is safe."""
    workspace = open_workspace(context.settings)
    config, staging = workspace.config, workspace.staging
    marker = staging.read_extract_marker(shard.index)
    wanted = failed_records(marker.failures)
    kept = (row for row in staging.read_rows(marker) if row.record_id not in wanted)
    fresh: list[SpooledSample] = []
    failures = [failure for failure in marker.failures if failure.record_id not in wanted]
    mended, failed = Ledger(), Ledger()

    def finish(record: ExtractedRecord) -> tuple[list[SpooledSample], tuple[Failure, ...]]:
        books = ledger_for(record, mended, failed)
        record = select_and_count(record, config, workspace.split_file, books, ShardSummary())
        return spool_record(record, config.naming, spool), record.failures

    patched = patch_staging(staging)
    with Spool() as spool:
        for part in runs_of(shard, wanted):
            for samples, own in workspace.source.extract_each(part, finish, needs_payload=workspace.needs_payload):
                fresh += samples
                failures += own
        fresh.sort(key=lambda spooled: _position(spooled.row))
        sha256 = patched.write_samples(shard.index, merge(kept, unspool(fresh, spool), key=_position))
    sound = merge_ledgers((marker.sound, mended))
    failures.sort(key=lambda failure: failure.record_id)
    ledger = merge_ledgers((sound, failed))
    outcome = ExtractMarker(
        fingerprint=context.fingerprint,
        index=shard.index,
        sha256=sha256,
        summary=ShardSummary(listed=marker.summary.listed),
        ledger=ledger,
        sound=sound,
        failures=tuple(failures),
    )
    for _, staged in groupby(patched.read_samples(outcome), key=lambda row: row[0].id):
        rows = list(staged)
        summarise(rows[0][0], [sample for _, sample, _ in rows], config.split, workspace.split_file, outcome.summary)
    patched.write_extract_marker(outcome)
    return ShardResult(
        len(wanted),
        mended.bytes + failed.bytes,
        ledger.failed_records,
        shard.index,
        workspace.source.take_retries(),
        failure_reasons(failures),
    )


def _position(row: StagedSample) -> tuple[int, int]:
    return row.record_id, row.ordinal


def record_patch(staging: Staging, fetched: Sequence[int], rewritten: Sequence[int]) -> None:
    """Record the patch and remove ``_SUCCESS.json``: the export is unfinished until the patch is done."""
    storage = staging.storage
    lists = 0
    for paths in batched(listed_paths(storage), _LISTED_AT_ONCE):
        storage.write(_list(staging, lists), seal(paths), durable=True)
        lists += 1
    patch = Patch(tuple(fetched), tuple(rewritten), lists)
    storage.write(_record(staging), seal(patch), durable=True)
    storage.delete([metadata.SUCCESS])


def install_patch(staging: Staging) -> None:
    """Install the fetched shards and void what was made of the old ones. Does nothing when that is done already."""
    patch, storage = read_patch(staging), staging.storage
    if patch is None or patch.placed:
        return
    patched = patch_staging(staging)
    for index in patch.fetched:
        try:
            marker = patched.read_extract_marker(index)
            # The samples first, then the marker: between the two the old marker does not fit, and nothing is concluded.
            sha256 = staging.write_samples(index, patched.read_rows(marker))
        except StagingError as error:
            # What was fetched for a patch is not made again by the run that installs it.
            problem = "is missing or damaged; start anew with on_existing: overwrite"
            raise StagingError(error.args[0], problem) from error
        staging.write_extract_marker(msgspec.structs.replace(marker, sha256=sha256))
    void = [staging.render_marker_path(index) for index in patch.rewritten]
    storage.delete([*void, staging.catalog_path])
    storage.write(_record(staging), seal(msgspec.structs.replace(patch, placed=True)), durable=True)


def remove_unlisted(staging: Staging) -> None:
    """Remove the files that were listed before the patch and no longer are. Does nothing without a patch."""
    patch, storage = read_patch(staging), staging.storage
    for number in range(patch.lists if patch else 0):
        path = _list(staging, number)
        before = unseal(storage.find(path), list[str])
        if before is None:
            raise StagingError(path, "is missing or damaged; start anew with on_existing: overwrite")
        gone = set(before)
        gone.difference_update(listed_paths(storage))
        storage.delete(sorted(gone))


def discard_patch(staging: Staging) -> None:
    """Remove the record of a finished patch, then what it needed."""
    patch = read_patch(staging)
    if patch is None:
        return
    staging.storage.delete([_record(staging)])
    staging.storage.delete(_list(staging, number) for number in range(patch.lists))
    staging.storage.delete_tree(patch_staging(staging).root)
