"""The dry run: what an export would give and lose, from the API's count and a page of the newest records.

Nothing is written, neither at the destination nor to the API.
"""

import msgspec

from pipeline.commands.estimate import sample_records
from pipeline.commands.session import open_session
from pipeline.config.export import ExportConfig
from pipeline.destination.existing import State, examine
from pipeline.model.ledger import Ledger
from pipeline.records import Failure


class Forecast(msgspec.Struct, frozen=True):
    """What ``plan`` shows. Everything below ``sampled``, and most warnings, are of the newest ``sampled`` records only.

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
    with open_session(config, search_path=search_path) as session:
        workspace, project = session.workspace, session.project
        state = examine(workspace.storage, workspace.identity, config.on_existing)
        records = workspace.source.count()
        sampled = sample_records(workspace, project)
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
