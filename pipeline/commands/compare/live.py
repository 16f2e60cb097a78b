"""What the API has now, as a run of a configuration would export it; no original is fetched."""

from collections.abc import Iterator

from pipeline.commands.compare.records import ComparedRecord, Picture, Side, things_of
from pipeline.commands.session import Session
from pipeline.config.split_file import split_of
from pipeline.model.catalog import ShardSummary
from pipeline.model.labels import class_names
from pipeline.model.ledger import Ledger
from pipeline.stages.extract import select_and_count
from pipeline.stages.plan import read_given


def open_live(session: Session) -> Side:
    """Return the records of a session's configuration as one side of a comparison.

    Raises what listing and fetching records raises (BackendError, TransientError).
    """
    return Side(f"the API now ({session.workspace.client.origin})", "the API", None, _records(session))


def _records(session: Session) -> Iterator[ComparedRecord]:
    workspace, config = session.workspace, session.config
    _, split_file = read_given(workspace, session.project)
    names = class_names(config.classes.rename, config.classes.drop)
    for shard in workspace.source.plan(config.run.shard_size, lambda _: None):
        for found in workspace.source.extract(shard, needs_payload=False):
            record = select_and_count(found, config, split_file, Ledger(), ShardSummary())
            if not record.samples:
                continue
            split = split_of(record.record, config.split, split_file)
            pictures = {
                sample.media: Picture(
                    split, sample.file.name if sample.file else "", size=sample.file.size if sample.file else None
                )
                for sample in record.samples
            }
            yield ComparedRecord(record.record.id, pictures, things_of(record.record, record.samples, names))
