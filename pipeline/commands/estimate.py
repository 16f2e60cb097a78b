"""Estimate what an export will contain, lose and need, by exporting the newest records into memory."""

import msgspec

from pipeline.destination.shard_writer import ShardWriter
from pipeline.errors import DestinationError
from pipeline.model.catalog import Catalog, ShardSummary
from pipeline.model.ledger import Ledger
from pipeline.model.shards import Shard
from pipeline.model.source import ExtractedRecord, Project
from pipeline.stages.catalog import catalog_of
from pipeline.stages.extract import select_and_count
from pipeline.stages.plan import read_given
from pipeline.stages.render import RenderInput, number_samples
from pipeline.stages.workspace import Workspace
from pipeline.staging.markers import Offset
from pipeline.storage import open_storage

SAMPLED_RECORDS = 100
_LEAST_SAMPLED_FROM = 1000


class Sampled(msgspec.Struct):
    """The newest records as they would be exported. ``original_bytes`` counts the files whose size the API tells."""

    shard: Shard
    records: list[ExtractedRecord]
    catalog: Catalog
    output: ShardWriter
    payload_bytes: int
    original_bytes: int


def sample_records(workspace: Workspace, project: Project) -> Sampled:
    """Export the newest records into memory, with the formats of the configuration; writes nothing."""
    config = workspace.config
    given, split_file = read_given(workspace, project)
    shard = workspace.source.sample(SAMPLED_RECORDS)
    ledger, summary = Ledger(), ShardSummary()
    records = [
        select_and_count(record, config, split_file, ledger, summary)
        for record in workspace.source.extract(shard, needs_payload=workspace.needs_payload)
    ]
    samples = [(one.record, sample, str(one.record.id)) for one in records for sample in one.samples]
    # Most keys of a file of splits are of other records than these.
    catalog = catalog_of(config, msgspec.structs.replace(given, split_keys=0), summary)
    # The real formats over the real samples, into memory: the losses are those of the run, not a table's.
    output = ShardWriter(open_storage("memory://forecast"), workspace.formats, catalog, ledger)
    item = RenderInput(Shard(0, shard.count, b""), Offset(), {})
    for numbered in number_samples(samples, item, config, split_file):
        output.add(numbered, None)
    originals = (sample.file.size or 0 for _, sample, _ in samples if sample.file) if config.save_original_file else ()
    return Sampled(shard, records, catalog, output, ledger.bytes, sum(originals))


def check_space(workspace: Workspace, project: Project) -> None:
    """Compare the free space at the destination, where it is known, with what a sample of the records predicts.

    Raises DestinationError when there is too little. A small export is not worth asking the API for a sample.
    """
    free = workspace.storage.free_bytes()
    if free is None or (records := workspace.source.count()) < _LEAST_SAMPLED_FROM:
        return
    sampled = sample_records(workspace, project)
    # Staged samples take about half of their documents; what is joined stands in the staging area and in its file.
    each = sampled.payload_bytes / 2 + 2 * sampled.output.rendered_bytes + sampled.original_bytes
    needed = int(each / max(sampled.shard.count, 1) * records)
    if needed > free:
        raise DestinationError(
            workspace.storage.url,
            f"has {free / 1e6:,.0f} MB free, and {records:,} records will take about {needed / 1e6:,.0f} MB "
            f"(estimated from the newest {sampled.shard.count}); make room, or use another path",
        )
