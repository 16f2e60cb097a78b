"""Estimate what an export will contain, lose and need, by exporting the newest records into memory."""

import math
import statistics
from collections.abc import Sequence

import msgspec

from pipeline.destination.shard_writer import ShardWriter
from pipeline.errors import DestinationError
from pipeline.model.catalog import Catalog, ShardSummary
from pipeline.model.ledger import Ledger, failed_records
from pipeline.model.naming import default_stem
from pipeline.model.shards import Shard
from pipeline.model.source import Copied, ExtractedRecord, Project, Wanted
from pipeline.records import Failure, NumberedSample
from pipeline.stages.catalog import catalog_of
from pipeline.stages.extract import select_and_count
from pipeline.stages.plan import read_given
from pipeline.stages.render import RenderInput, number_samples, wanted_originals
from pipeline.stages.workspace import Workspace
from pipeline.staging.markers import Given, Offset

SAMPLED_RECORDS = 100
MEASURED_ORIGINALS = 20
"""How many originals of the sample are asked for their size, where the API does not tell it."""
_LEAST_SAMPLED_FROM = 1000
_NO_DIGEST = "0" * 64
_PLENTY = 10**9  # fewer records than that hardly take as many bytes


class Volume(msgspec.Struct, frozen=True):
    """Bytes of all records, extrapolated from some, and between which numbers they lie 19 times out of 20."""

    bytes: int
    low: int
    high: int


class Sampled(msgspec.Struct):
    """The newest records as they would be exported.

    ``sizes`` are the bytes that each record would take at the destination, its originals included; records with an
    original of unknown size are left out, and ``unknown_originals`` counts these originals. With no size known at all,
    ``sizes`` are those of everything else. ``staged_bytes`` is what stands in the staging area and in its file at the
    end.
    """

    shard: Shard
    given: Given
    summary: ShardSummary
    records: list[ExtractedRecord]
    catalog: Catalog
    output: ShardWriter
    payload_bytes: int
    staged_bytes: int
    sizes: list[int]
    unknown_originals: int

    @property
    def failures(self) -> list[Failure]:
        """Return every failure of the sample."""
        return [*(failure for record in self.records for failure in record.failures), *self.output.failures]

    @property
    def count(self) -> int:
        """Return how many records were sampled."""
        return self.shard.count


def sample_records(workspace: Workspace, project: Project) -> Sampled:
    """Export the newest records into memory, with the formats of the configuration; writes nothing."""
    config = workspace.config
    given, split_file = read_given(workspace, project)
    # Most keys of a file of splits are of other records than these.
    given = msgspec.structs.replace(given, split_keys=0)
    shard = workspace.source.sample(SAMPLED_RECORDS)
    ledger, summary = Ledger(), ShardSummary()
    records = [
        select_and_count(record, config, split_file, ledger, summary)
        for record in workspace.source.extract(shard, needs_payload=workspace.needs_payload)
    ]
    # Stems that differ; those of the run are longer or shorter by a few bytes.
    samples = [
        (one.record, sample, default_stem(sample.record_id, sample.ordinal, sample.media))
        for one in records
        for sample in one.samples
    ]
    catalog = catalog_of(config, given, summary, workspace.formats)
    # The real formats over the real samples, into memory: the losses are those of the run, not a table's.
    output = ShardWriter(None, workspace.formats, catalog, ledger, packaging=config.packaging)
    numbered = list(number_samples(samples, RenderInput(Shard(0, shard.count, b""), Offset(), {}), config, split_file))
    wanted = wanted_originals(numbered, config) if config.save_original_file else []
    originals = _foresee_originals(workspace, shard, wanted)
    sizes, unknown = _render(records, numbered, output, {one.path for one in wanted}, originals)
    output.count_failed_records(failed_records(failure for record in records for failure in record.failures))
    return Sampled(
        shard=shard,
        given=given,
        summary=summary,
        records=records,
        catalog=catalog,
        output=output,
        payload_bytes=ledger.bytes,
        staged_bytes=output.held_bytes,
        sizes=sizes,
        unknown_originals=unknown,
    )


def _foresee_originals(workspace: Workspace, shard: Shard, wanted: Sequence[Wanted]) -> dict[str, int | Failure]:
    """The sizes of originals by path: as the API tells them, or asked for, evenly over the sample."""
    known: dict[str, int | Failure] = {one.path: one.size for one in wanted if one.size}
    unknown = [one for one in wanted if not one.size]
    step = max(1, math.ceil(len(unknown) / MEASURED_ORIGINALS))
    return known | (workspace.source.measure_originals(shard, unknown[::step]) if unknown else {})


def _render(
    records: Sequence[ExtractedRecord],
    numbered: Sequence[NumberedSample],
    output: ShardWriter,
    wanted: set[str],
    originals: dict[str, int | Failure],
) -> tuple[list[int], int]:
    """Give all samples to the writer; returns the bytes of each record whose originals' sizes are known, and, when
    none is, the number of originals.
    """
    sizes = [size for size in originals.values() if isinstance(size, int)]
    assumed = round(statistics.fmean(sizes)) if sizes else 0
    by_record = {record.record.id: 0 for record in records}
    guessed: set[int] = set()
    unknown = 0
    for sample in numbered:
        path, record_id, before = sample.original_path, sample.record.id, output.rendered_bytes
        found = originals.get(path)
        copied: Copied | Failure | None
        if path not in wanted:
            copied = None
        elif isinstance(found, Failure):
            copied = found
        else:
            unknown += found is None
            guessed |= {record_id} if found is None else set()
            copied = Copied(path, assumed if found is None else found, _NO_DIGEST)
        output.add(sample, copied)
        by_record[record_id] += output.rendered_bytes - before
    measured = [size for record_id, size in by_record.items() if record_id not in guessed]
    return measured or list(by_record.values()), unknown if not sizes else 0


def extrapolate(sizes: Sequence[int], records: int) -> Volume:
    """What ``records`` records take if they are like those of these ``sizes``."""
    if not sizes:
        return Volume(0, 0, 0)
    total = statistics.fmean(sizes) * records
    known_all = len(sizes) in (1, records)
    spread = 0.0 if known_all else 2 * statistics.stdev(sizes) / math.sqrt(len(sizes)) * records  # two standard errors
    return Volume(round(total), round(max(0.0, total - spread)), round(total + spread))


def check_space(workspace: Workspace, project: Project) -> None:
    """Compare the free space at the destination, where it is known, with what a sample of the records predicts.

    Raises DestinationError when there is too little. A small export is not worth asking the API for a sample.
    """
    free = workspace.storage.free_bytes()
    if free is None:
        return
    records = workspace.source.count()
    if records >= _LEAST_SAMPLED_FROM or free < _PLENTY:
        check_free(workspace.storage.url, free, sample_records(workspace, project), records)


def check_free(url: str, free: int, sampled: Sampled, records: int) -> None:
    """Raise DestinationError when ``free`` bytes are too little for ``records`` records like the ``sampled`` ones."""
    # Staged samples take about half of their documents; what is joined stands in the staging area and in its file.
    staged = (sampled.payload_bytes / 2 + sampled.staged_bytes) / max(sampled.count, 1) * records
    needed = int(staged) + extrapolate(sampled.sizes, records).bytes
    if needed > free:
        raise DestinationError(
            url,
            f"has {free / 1e6:,.0f} MB free, and {records:,} records will take about {needed / 1e6:,.0f} MB "
            f"(estimated from the newest {sampled.count}); make room, or use another path",
        )
