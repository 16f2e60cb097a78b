"""Extract: fetch a shard's records, turn them into samples, stage them. Shards are extracted in parallel."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from pipeline.config.export import ExportConfig
from pipeline.config.sections import RunConfig, SplitConfig
from pipeline.config.split_file import SplitFile, split_of
from pipeline.executors.base import Executor
from pipeline.model.catalog import ShardSummary, count_parts
from pipeline.model.labels import class_names
from pipeline.model.ledger import Ledger, failed_records, failure_reasons, merge_ledgers
from pipeline.model.naming import fold_hash, proposed_stem_and_suffix
from pipeline.model.shards import Shard, unpack_keys
from pipeline.model.source import ExtractedRecord
from pipeline.model.trees import count_shapes
from pipeline.progress import Reporter, ticker
from pipeline.reasons import Reason
from pipeline.records import Failure, Point, Record, Sample
from pipeline.stages.empty_images import drop_empty_images
from pipeline.stages.one_by_one import extract_one_by_one
from pipeline.stages.workspace import Settings, TaskContext, Workspace, open_workspace
from pipeline.staging.area import Staging
from pipeline.staging.markers import ExtractMarker, Plan
from pipeline.staging.samples import StagedSample, encode
from pipeline.staging.spool import HELD, Spool
from pipeline.storage import Extent

_FEW_VANISHED = 10
_VANISHED_SHARE = 20
_MOST_LANES = 8


class SpooledSample(NamedTuple):
    """A sample to stage: its row without bytes, and where the bytes of its record and of the sample are in the spool.

    ``record`` is None except for the first sample of a record.
    """

    row: StagedSample
    record: Extent | None
    sample: Extent


class ShardResult(msgspec.Struct, frozen=True):
    """What the driver needs to know of a finished shard at once. Everything else is in the shard's marker.

    ``shard`` is its index, ``retries`` how many requests were repeated, ``reasons`` why records failed.
    """

    records: int
    bytes: int
    failures: int
    shard: int
    retries: int = 0
    reasons: dict[str, int] = {}

    def tell(self, reporter: Reporter) -> None:
        """Count the shard as complete."""
        reporter.advance(
            self.records, self.bytes, self.failures, shard=self.shard, retries=self.retries, reasons=self.reasons
        )


def extract(settings: Settings, plan: Plan, executor: Executor, reporter: Reporter) -> int:
    """Extract every shard that is not extracted yet, and return how many those were.

    Until the catalog is frozen, shards with failures that may have passed are extracted again, and those of which more
    vanished than is believed.
    """
    todo = _unfinished(plan, open_workspace(settings).staging)
    waiting = sum(shard.count for shard in todo)
    reporter.begin("extract", plan.records, resumed=plan.records - waiting)
    # All workers share the limit on requests: where there are more workers than requests, some wait for their turn.
    context, at_once = shared_context(settings, plan, executor, len(todo))
    results = executor.map(
        extract_shard,
        context,
        todo,
        at_most=at_once,
        careful=context.carefully(),
        lanes=lanes_of(open_workspace(settings).config.run, context.settings.requests),
        interrupt=open_workspace(settings).interrupt,
    )
    with reporter.following():
        for result in results:
            result.tell(reporter)
    reporter.end()
    return len(todo)


def _unfinished(plan: Plan, staging: Staging) -> list[Shard]:
    frozen = staging.read_catalog() is not None
    todo: list[Shard] = []
    vanished: dict[int, set[int]] = {}
    for shard, marker in zip(plan.shards, staging.extract_markers(plan), strict=True):
        if marker is None or (marker.retryable and not frozen):
            todo.append(shard)
        elif ids := vanished_records(marker.failures):
            vanished[shard.index] = ids
    if frozen or not are_too_many(plan, sum(map(len, vanished.values()))):
        return todo
    return sorted([*todo, *(plan.shards[index] for index in vanished)], key=lambda shard: shard.index)


def shared_context(settings: Settings, plan: Plan, executor: Executor, shards: int) -> tuple[TaskContext, int]:
    """The context of tasks that ask the API, and how many of them may run at once within ``run.requests``."""
    requests = open_workspace(settings).config.run.requests
    at_once = max(1, min(requests, executor.workers, shards))
    return TaskContext(msgspec.structs.replace(settings, requests=requests // at_once), plan.fingerprint), at_once


def lanes_of(run: RunConfig, requests: int) -> int:
    """How many shards a process fetches at once that may have so many ``requests`` under way.

    One shard has only as many pages to ask for as it has rows, and while it is converted and staged, nothing is asked
    for on its behalf. A lane takes memory, so there are few.
    """
    pages = max(1, math.ceil(run.shard_size / run.page_size))
    return max(1, min(_MOST_LANES, math.ceil(requests / pages) + 1))


def extract_shard(context: TaskContext, shard: Shard) -> ShardResult:
    """Fetch, convert and stage one shard. The marker is written last. Running it twice is safe."""
    workspace = open_workspace(context.settings)
    config = workspace.config
    sound, failed = Ledger(), Ledger()
    summary = ShardSummary()
    tick = ticker(shard.index, shard.count)

    def finish(record: ExtractedRecord) -> tuple[list[SpooledSample], tuple[Failure, ...]]:
        tick((sound.records.seen + failed.records.seen + 1) / shard.count)
        record = select_and_count(record, config, workspace.split_file, ledger_for(record, sound, failed), summary)
        return spool_record(record, config.naming, spool), record.failures

    summary.listed = count_listed(shard, config.split, workspace.split_file)
    with Spool(HELD // lanes_of(config.run, context.settings.requests)) as spool:
        records = extract_all(workspace, shard, finish, careful=context.careful)
        samples = (sample for spooled, _ in records for sample in spooled)
        # What is written takes memory by its size: of large shards, one lane writes at a time.
        with workspace.staging_large if spool.is_in_file else contextlib.nullcontext():
            sha256 = workspace.staging.write_samples(shard.index, unspool(samples, spool))
    failures = [failure for _, own in records for failure in own]
    ledger = merge_ledgers((sound, failed))
    workspace.staging.write_extract_marker(
        ExtractMarker(
            fingerprint=context.fingerprint,
            index=shard.index,
            sha256=sha256,
            summary=summary,
            ledger=ledger,
            sound=sound,
            failures=tuple(failures),
        )
    )
    return ShardResult(
        shard.count,
        ledger.bytes,
        ledger.failed_records,
        shard.index,
        workspace.source.take_retries(),
        failure_reasons(failures),
    )


def ledger_for(record: ExtractedRecord, sound: Ledger, failed: Ledger) -> Ledger:
    """The ledger that a record is entered into: a failed one may be fetched again, which replaces its ledger."""
    return failed if failed_records(record.failures) else sound


def select_and_count(
    record: ExtractedRecord, config: ExportConfig, listed: SplitFile | None, ledger: Ledger, summary: ShardSummary
) -> ExtractedRecord:
    """Leave out what the configuration drops, and count the record for the ledger and for the catalog."""
    if config.empty == "drop":
        record = drop_empty_images(record, class_names(config.classes.rename, config.classes.drop))
    record = leave_out_images(record, config)
    account(record, ledger)
    summarise(record.record, record.samples, config.split, listed, summary)
    return record


def leave_out_images(record: ExtractedRecord, config: ExportConfig) -> ExtractedRecord:
    """Return the record with those images marked that no format may train on, each with the reason."""
    reasons: dict[str, Reason] = {}
    if config.on_missing_original == "drop_image":
        reasons = {
            sample.media: Reason.ORIGINAL_MISSING for sample in record.samples if misses_original(sample, config)
        }
    if config.on_failed_annotation == "drop_image":
        for failure in record.failures:
            if failure.of == "annotation" and failure.outcome == "failed":
                reasons[failure.media] = Reason.ANNOTATION_FAILED
    if not reasons:
        return record
    samples = tuple(
        msgspec.structs.replace(sample, left_out=reasons.get(sample.media, "") if sample.kind == "image" else "")
        for sample in record.samples
    )
    return msgspec.structs.replace(record, samples=samples)


def misses_original(sample: Sample, config: ExportConfig) -> bool:
    """Whether originals are copied, and the API has no URL of this one."""
    return config.save_original_file and sample.file is not None and not sample.file.is_fetchable


def account(record: ExtractedRecord, ledger: Ledger) -> None:
    """Enter one extracted record into the ledger."""
    ledger.bytes += record.bytes
    ledger.records.seen += 1
    failed = [failure for failure in record.failures if failure.outcome == "failed"]
    if failed:
        ledger.records.fail(failed[0].reason)
        ledger.partial += bool(record.samples)
    elif record.samples:
        ledger.records.written += 1
    else:
        left_out = [failure.reason for failure in record.failures if failure.outcome == "skipped"]
        ledger.records.skip(left_out[0] if left_out else Reason.UNSUPPORTED_DOCUMENT)
    ledger.annotations.seen += record.seen
    ledger.annotations.written += sum(len(sample.annotations) for sample in record.samples)
    books = ledger.annotations
    count = {"failed": books.fail, "skipped": books.skip, "corrected": books.lose}
    for failure in record.failures:
        if failure.of == "annotation":
            count[failure.outcome](failure.reason)


def vanished_records(failures: Iterable[Failure]) -> set[int]:
    """Ids of the records that were planned and are not there any more."""
    return {failure.record_id for failure in failures if failure.reason == Reason.RECORD_VANISHED}


def are_too_many(plan: Plan, vanished: int) -> bool:
    """Tell whether more records vanished than is believed.

    Up to a twentieth, and always ten, may be deleted while an export runs: those are skipped and reported. Of more,
    the list of the API is more likely to be wrong, and only ``max_failures`` allows to publish without them.
    """
    return vanished > max(_FEW_VANISHED, plan.records // _VANISHED_SHARE)


def summarise(
    record: Record, samples: Sequence[Sample], split: SplitConfig, listed: SplitFile | None, summary: ShardSummary
) -> None:
    """Add what the samples of a record contribute to the catalog to ``summary``."""
    labels, splits, points = summary.labels, summary.splits, summary.points
    summary.samples += len(samples)
    if samples and split.groups and not record.group:
        summary.ungrouped += 1
    name = split_of(record, split, listed) if samples else ""
    for sample in samples:
        if sample.has_image:
            splits[name] = splits.get(name, 0) + 1
        summary.annotations += len(sample.annotations)
        if sample.kind == "image":
            count_parts(sample.annotations, summary.parts)
        count_shapes(sample.annotations, summary.shapes)
        objects: dict[str, int] | None = None
        for annotation in sample.annotations:
            if label := annotation.label:
                labels[label] = labels.get(label, 0) + 1
                if objects is None:
                    objects = summary.objects.setdefault(name, {})
                objects[label] = objects.get(label, 0) + 1
                if annotation.group and isinstance(annotation.shape, Point):
                    points[label] = points.get(label, 0) + 1


def spool_record(record: ExtractedRecord, naming: Literal["original", "id"], spool: Spool) -> list[SpooledSample]:
    """Encode a record and its samples into ``spool``, and return the rows to stage.

    They are encoded as they come, because bytes take a fraction of the memory of objects.
    """
    rows: list[SpooledSample] = []
    shared = spool.put(encode(record.record)) if record.samples else None
    for sample in record.samples:
        stem, _ = proposed_stem_and_suffix(sample, naming)
        row = StagedSample(sample.record_id, sample.ordinal, stem, fold_hash(stem), b"", b"")
        rows.append(SpooledSample(row, None if rows else shared, spool.put(encode(sample))))
    return rows


def unspool(spooled: Iterable[SpooledSample], spool: Spool) -> Iterator[StagedSample]:
    """Return the rows to stage, each with its bytes when its turn comes."""
    for row, record, sample in spooled:
        yield row._replace(record=spool.get(record) if record else b"", sample=spool.get(sample))


def extract_all[T](
    workspace: Workspace, shard: Shard, finish: Callable[[ExtractedRecord], T], *, careful: bool
) -> list[T]:
    """What ``finish`` makes of each record of a shard, in order."""
    if careful:
        return extract_one_by_one(workspace, shard, finish)
    return workspace.source.extract_each(shard, finish, needs_payload=workspace.needs_payload)


def count_listed(shard: Shard, split: SplitConfig, listed: SplitFile | None) -> int:
    """How many of a shard's records ``split.file`` names; 0 for a file that names groups."""
    if listed is None or split.groups:
        return 0
    return sum(1 for key in unpack_keys(shard.keys).tolist() if listed.find(str(key)) is not None)
