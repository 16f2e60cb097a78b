"""The dry run: what an export would give and lose, from the API's count and a page of the newest records.

Nothing is written, neither at the destination nor to the API.
"""

import msgspec

from pipeline.config.export import ExportConfig
from pipeline.destination.existing import State, examine
from pipeline.destination.shard_writer import ShardOutput
from pipeline.errors import DestinationError
from pipeline.model.catalog import Catalog, ShardSummary
from pipeline.model.ledger import Ledger
from pipeline.model.shards import Shard
from pipeline.records import Failure
from pipeline.stages.catalog import catalog_of
from pipeline.stages.extract import take
from pipeline.stages.plan import check, identify, read_given
from pipeline.stages.render import WriteInput, number
from pipeline.stages.workspace import Settings, Workspace, close_workspace, open_workspace
from pipeline.staging.area import Offset
from pipeline.storage import open_storage
from pipeline.synapse.source import ExtractedRecord, Project

SAMPLED_RECORDS = 100
_LEAST_SAMPLED_FROM = 1000


class Forecast(msgspec.Struct, frozen=True):
    """What ``plan`` shows. Everything below ``sampled`` is of the newest ``sampled`` records only, as most warnings.

    ``record_bytes`` is what the API sends for one record, ``output_bytes`` what the formats make of it (originals
    not included), ``state`` what is at the destination.
    """

    url: str
    state: State
    project_title: str
    records: int
    shards: int
    warnings: tuple[str, ...]
    sampled: int
    classes: tuple[str, ...]
    splits: dict[str, int]
    record_bytes: float
    output_bytes: float
    original_bytes: float
    failures: tuple[Failure, ...]
    ledger: Ledger


def forecast(config: ExportConfig, *, search_path: str = "") -> Forecast:
    """Check everything a run would check, except that the destination can be written, and sample a page.

    Raises what :func:`pipeline.run.run` raises before any work.
    """
    try:
        workspace = open_workspace(Settings(config.model_dump(mode="json"), search_path=search_path))
        project = check(workspace)
        state = examine(workspace.storage, identify(config, workspace.client.origin), config.on_existing)
        records = workspace.source.count()
        sampled = _sample(workspace, project)
        catalog, shard = sampled.catalog, sampled.shard
        return Forecast(
            url=workspace.storage.url,
            state=state,
            project_title=project.title,
            records=records,
            shards=-(-records // config.run.shard_size),
            warnings=(*((project.warning,) if project.warning else ()), *catalog.warnings),
            sampled=shard.count,
            classes=catalog.classes,
            splits=catalog.splits,
            record_bytes=sampled.payload_bytes / max(shard.count, 1),
            output_bytes=sampled.output.rendered_bytes / max(shard.count, 1),
            original_bytes=sampled.original_bytes / max(shard.count, 1),
            failures=tuple(failure for record in sampled.records for failure in record.failures),
            ledger=sampled.output.ledger,
        )
    finally:
        close_workspace()


class _Sample(msgspec.Struct):
    """The newest records as they would be exported. ``original_bytes`` counts the files whose size the API tells."""

    shard: Shard
    records: list[ExtractedRecord]
    catalog: Catalog
    output: ShardOutput
    payload_bytes: int
    original_bytes: int


def _sample(workspace: Workspace, project: Project) -> _Sample:
    config = workspace.config
    given, split_file = read_given(workspace, project)
    shard = workspace.source.sample(SAMPLED_RECORDS)
    ledger, summary = Ledger(), ShardSummary()
    records = [
        take(record, config, split_file, ledger, summary)
        for record in workspace.source.extract(shard, needs_payload=workspace.needs_payload)
    ]
    samples = [sample for record in records for sample in record.samples]
    # Most keys of a file of splits are of other records than these.
    catalog = catalog_of(config, msgspec.structs.replace(given, split_keys=0), summary)
    # The real formats over the real samples, into memory: the losses are those of the run, not a table's.
    output = ShardOutput(open_storage("memory://forecast"), workspace.formats, catalog, ledger)
    item = WriteInput(Shard(0, shard.count, b""), Offset(), {})
    for sample in number([(sample, str(sample.record_id)) for sample in samples], item, config, split_file):
        output.add(sample, None)
    originals = (sample.file.size or 0 for sample in samples if sample.file) if config.save_original_file else ()
    return _Sample(shard, records, catalog, output, ledger.bytes, sum(originals))


def check_space(workspace: Workspace, project: Project) -> None:
    """Compare the room at the destination, where that can be told, with what a sample of the records lets expect.

    Raises DestinationError when it will not do. A small export is not worth asking the API for a sample.
    """
    free = workspace.storage.free_bytes()
    if free is None or (records := workspace.source.count()) < _LEAST_SAMPLED_FROM:
        return
    sampled = _sample(workspace, project)
    # Staged samples take about half of their documents; what is joined stands in the staging area and in its file.
    each = sampled.payload_bytes / 2 + 2 * sampled.output.rendered_bytes + sampled.original_bytes
    needed = int(each / max(sampled.shard.count, 1) * records)
    if needed > free:
        raise DestinationError(
            workspace.storage.url,
            f"has {free / 1e6:,.0f} MB free, and {records:,} records will take about {needed / 1e6:,.0f} MB "
            f"(estimated from the newest {sampled.shard.count}); make room, or use another path",
        )
