"""The dry run: what an export would give and lose, from the API's count and a page of the newest records.

Nothing is written, neither at the destination nor to the API.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from pipeline.commands.estimate import Sampled, Volume, check_free, extrapolate, sample_records
from pipeline.commands.executor import choose_executor
from pipeline.commands.session import open_session
from pipeline.config.export import ExportConfig
from pipeline.destination.existing import State, examine
from pipeline.errors import ConfigError, ExportError, FailureLimitError
from pipeline.model.ledger import Ledger, commonest_reason, failed_records
from pipeline.records import Failure
from pipeline.stages.catalog import UnknownName, unknown_names
from pipeline.stages.preflight import check_place, check_selection
from pipeline.stages.publish import missing_warning, unheld_warnings
from pipeline.stages.workspace import Workspace


class Forecast(msgspec.Struct, frozen=True):
    """What ``plan`` shows. Everything below ``sampled``, and most warnings, are of the newest ``sampled`` records only.

    ``read`` is what the API sends for all records, ``written`` all that would be at the destination;
    ``unknown_originals`` counts the originals of the sample whose size nobody tells, which are not in it. ``state`` is
    what is at the destination. ``obstacles`` are the errors that a run would end with, the first one first;
    ``mistakes`` are in the configuration and would be warnings of a run.
    """

    url: str
    state: State
    project_title: str
    records: int
    shards: int
    executor: str
    obstacles: tuple[ExportError, ...]
    mistakes: tuple[ConfigError, ...]
    warnings: tuple[str, ...]
    read: Volume
    written: Volume
    sampled: int
    classes: tuple[str, ...]
    splits: dict[str, int]
    unknown_originals: int
    failures: tuple[Failure, ...]
    ledger: Ledger

    @property
    def exit_code(self) -> int:
        """The exit code that a run would end with, as far as the sample shows, or 2 for mistakes."""
        return next((error.exit_code for error in (*self.obstacles, *self.mistakes)), 0)


def forecast(config: ExportConfig, *, search_path: str = "") -> Forecast:
    """Check everything a run would check, except what takes a write or a cluster, and sample a page.

    Raises what :func:`pipeline.run.run` raises before any work, except for what is in ``obstacles``.
    """
    with open_session(config, search_path=search_path) as session:
        workspace, project = session.workspace, session.project
        state = examine(workspace.storage, workspace.identity, config.on_existing)
        records = workspace.source.count()
        sampled = sample_records(workspace, project)
        catalog = sampled.catalog
        mistakes, warnings = _name_findings(config, sampled, records)
        states = _state_warning(workspace.source.count_states())
        which = "the" if sampled.count == records else f"the newest {sampled.count} records'"
        missing = missing_warning(sampled.output.ledger, which)
        warnings += unheld_warnings(workspace.formats, sampled.output.ledger)
        warnings = [project.warning, states, missing, *warnings, _failure_warning(config, sampled, records)]
        return Forecast(
            url=workspace.storage.url,
            state=state,
            project_title=project.title,
            records=records,
            shards=-(-records // config.run.shard_size),
            executor=choose_executor(workspace, records),
            obstacles=() if state is State.FINISHED else tuple(_obstacles(workspace, state, sampled, records)),
            mistakes=tuple(mistakes),
            warnings=tuple(filter(None, warnings)),
            read=extrapolate([record.bytes for record in sampled.records], records),
            written=extrapolate(sampled.sizes, records),
            sampled=sampled.count,
            classes=catalog.classes,
            splits=catalog.splits,
            unknown_originals=sampled.unknown_originals,
            failures=tuple(sampled.failures),
            ledger=sampled.output.ledger,
        )


def _name_findings(config: ExportConfig, sampled: Sampled, records: int) -> tuple[list[ConfigError], list[str]]:
    """Names of classes that are wrong, and the catalog's warnings without those about them.

    A name that resembles no other may be of a record that was not sampled: it is a warning.
    """
    unknown = list(unknown_names(config, sampled.given, sampled.summary))
    told = set(map(UnknownName.warning, unknown))
    warnings = [warning for warning in sampled.catalog.warnings if warning not in told]
    data = "the data" if sampled.count == records else f"the newest {sampled.count} records"
    wrong = [name for name in unknown if name.near or sampled.count == records]
    warnings += [name.warning(data) for name in unknown if name not in wrong]
    return [ConfigError(name.key, name.problem(data)) for name in wrong], warnings


def _obstacles(workspace: Workspace, state: State, sampled: Sampled, records: int) -> Iterator[ExportError]:
    """The errors that a run would end with, in the order in which it would meet them."""
    config, storage = workspace.config, workspace.storage
    if state is not State.RESUME:
        yield from _errors_of(lambda: check_selection(config, records))
    yield from _errors_of(lambda: check_place(workspace))
    free = storage.free_bytes()
    if free is not None and state is State.START:
        yield from _errors_of(lambda: check_free(storage.url, free, sampled, records))
    failed = len(failed_records(sampled.failures))
    if failed > config.failure_limit(records):
        yield FailureLimitError(
            f"{failed} of the newest {sampled.count} records fail, max_failures is {config.max_failures}: nothing "
            f"would be published; most often: {commonest_reason(sampled.failures)}; correct them, or raise max_failures"
        )


def _errors_of(check: Callable[[], None]) -> Iterator[ExportError]:
    try:
        check()
    except ExportError as error:
        yield error


_WITHOUT = {"is_discarded": "false", "status_review": "completed", "status_label": "completed"}


def _state_warning(states: Mapping[tuple[str, str], int]) -> str:
    """What is said when records are exported that a dataset may not want: the API lists them like all others."""
    if not states:
        return ""
    told = ", ".join(f"{number:,} {'discarded' if value == 'true' else value}" for (_, value), number in states.items())
    keys = ", ".join(f"{key}: {_WITHOUT[key]}" for key in dict.fromkeys(key for key, _ in states))
    return f"records in these states are exported too: {told}; a filter leaves them out: {{{keys}}}"


def _failure_warning(config: ExportConfig, sampled: Sampled, records: int) -> str:
    """What is said when the sample stays below the limit of failures, and all records are likely not to."""
    failed, limit = len(failed_records(sampled.failures)), config.failure_limit(records)
    expected = round(failed / max(sampled.count, 1) * records)
    if failed > limit or expected <= limit:
        return ""
    return (
        f"{failed} of the newest {sampled.count} records fail; if all are like these, about {expected} will, and "
        f"max_failures allows {limit}: nothing would be published"
    )
