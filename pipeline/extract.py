"""Extract: fetch a shard's records, turn them into samples, stage them. Parallel; no shard knows of another."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from pipeline.catalog import ShardSummary, split_by_category, split_by_hash
from pipeline.config import SplitConfig
from pipeline.executors import Executor
from pipeline.ledger import Ledger
from pipeline.naming import fold_hash, proposed_stem_and_suffix
from pipeline.progress import Reporter
from pipeline.reasons import Reason
from pipeline.records import Failure, Sample
from pipeline.shards import Shard
from pipeline.staging import ExtractMarker, Plan, StagedSample, encode_sample
from pipeline.synapse.source import ExtractedRecord
from pipeline.workspace import Settings, open_workspace


class ExtractContext(msgspec.Struct, frozen=True):
    """What all extract tasks of a run share."""

    settings: Settings
    fingerprint: str


class ShardResult(msgspec.Struct, frozen=True):
    """What the driver needs to know at once of a finished shard; everything else is in its marker."""

    records: int
    bytes: int
    failures: int


def extract(settings: Settings, plan: Plan, executor: Executor, reporter: Reporter) -> int:
    """Extract every shard that is not extracted yet; returns how many that were.

    Until the catalog is frozen, shards that failed for reasons that may have gone away are extracted again.
    """
    staging = open_workspace(settings).staging
    frozen = staging.read_catalog() is not None
    todo = [
        shard
        for shard, marker in zip(plan.shards, staging.extract_markers(plan), strict=True)
        if marker is None or (marker.retryable and not frozen)
    ]
    waiting = sum(shard.count for shard in todo)
    reporter.begin("extract", plan.records, resumed=plan.records - waiting)
    context = ExtractContext(settings, plan.fingerprint)
    for result in executor.map(extract_shard, context, todo):
        reporter.advance(result.records, result.bytes, result.failures)
    reporter.end()
    return len(todo)


def extract_shard(context: ExtractContext, shard: Shard) -> ShardResult:
    """Fetch, convert and stage one shard; the marker comes last. Safe to run twice."""
    workspace = open_workspace(context.settings)
    config = workspace.config
    ledger = Ledger()
    summary = ShardSummary()

    def finish(record: ExtractedRecord) -> tuple[list[StagedSample], tuple[Failure, ...]]:
        # Here and not after the shard: bytes take a fraction of the memory of what they were made from.
        account(record, ledger)
        summarise(record.samples, config.split, summary)
        return [stage(sample, config.naming) for sample in record.samples], record.failures

    records = workspace.source.extract_each(shard, finish, needs_payload=workspace.needs_payload)
    failures = [failure for _, own in records for failure in own]
    sha256 = workspace.staging.write_samples(shard.index, [sample for samples, _ in records for sample in samples])
    ledger.failed_records = len(failed_records(failures))
    workspace.staging.write_extract_marker(
        ExtractMarker(
            fingerprint=context.fingerprint,
            index=shard.index,
            sha256=sha256,
            summary=summary,
            ledger=ledger,
            failures=tuple(failures),
        )
    )
    return ShardResult(shard.count, ledger.bytes, ledger.failed_records)


def account(record: ExtractedRecord, ledger: Ledger) -> None:
    """Enter one extracted record into the books."""
    ledger.bytes += record.bytes
    ledger.records.seen += 1
    if record.samples:
        ledger.records.written += 1
    else:
        failed = [failure for failure in record.failures if failure.outcome == "failed"]
        whole = (failed or list(record.failures) or [Failure(record.record_id, Reason.UNSUPPORTED_DOCUMENT)])[0]
        (ledger.records.fail if failed else ledger.records.skip)(whole.reason)
    ledger.annotations.seen += record.seen
    ledger.annotations.written += sum(len(sample.annotations) for sample in record.samples)
    for failure in record.failures:
        if failure.media:
            (ledger.annotations.fail if failure.outcome == "failed" else ledger.annotations.skip)(failure.reason)


def failed_records(failures: Iterable[Failure]) -> set[int]:
    """Ids of the records of which something failed; what is skipped by rule is no failure."""
    return {failure.record_id for failure in failures if failure.outcome == "failed"}


def summarise(samples: Sequence[Sample], split: SplitConfig, summary: ShardSummary) -> None:
    """Add to ``summary`` what these samples contribute to the catalog."""
    labels, splits = summary.labels, summary.splits
    summary.samples += len(samples)
    for sample in samples:
        if sample.has_image:
            name = split_of(sample, split)
            splits[name] = splits.get(name, 0) + 1
        summary.annotations += len(sample.annotations)
        for annotation in sample.annotations:
            if annotation.label:
                labels[annotation.label] = labels.get(annotation.label, 0) + 1


def stage(sample: Sample, naming: Literal["original", "id"]) -> StagedSample:
    """The sample as it is staged, with the stem it asks for."""
    stem, _ = proposed_stem_and_suffix(sample, naming)
    return StagedSample(sample.record_id, sample.ordinal, stem, fold_hash(stem), encode_sample(sample))


def split_of(sample: Sample, split: SplitConfig) -> str:
    """The split of a sample, from the sample alone; all samples of a record are in one split."""
    if split.by == "category":
        return split_by_category(sample.category)
    if split.by == "hash":
        return split_by_hash(str(sample.record_id), split.ratios)
    return "train"
