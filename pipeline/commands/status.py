"""How far the run at a path is: from its sign of life, its lock and the verdict. Lists nothing and changes nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from pipeline.destination.existing import Success, read_success
from pipeline.destination.heartbeat import SILENT_RENEWALS, RunStatus, read_status
from pipeline.destination.lock import Holder, Lock
from pipeline.errors import StagingError
from pipeline.storage import Storage


class State(StrEnum):
    """What is going on at a path."""

    NOTHING = "nothing"
    RUNNING = "running"
    SILENT = "silent"
    KILLED = "killed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"
    UNKNOWN = "unknown"


ENDED = frozenset(State) - {State.RUNNING, State.SILENT}
"""States that no run at work will change."""


class Verdict(msgspec.Struct, frozen=True):
    """What a finished export says of itself, in short."""

    run_id: str
    finished: str
    content: str
    files: int
    records: int
    failed_records: int


class Status(msgspec.Struct, frozen=True):
    """How far the run at ``url`` is.

    ``run`` is its last sign of life, ``holder`` the run that holds the path, ``verdict`` that of a finished export;
    each is None where there is none. ``silent_for`` is the age of the last sign of life in seconds, by the clocks of
    both machines. ``next`` are lines that say what to do.
    """

    url: str
    state: State
    silent_for: float | None = None
    holder: Holder | None = None
    run: RunStatus | None = None
    verdict: Verdict | None = None
    next: tuple[str, ...] = ()


def find_status(storage: Storage, *, program: str = "synapse-export", config: str = "") -> Status:
    """Return how far the run at a path is.

    ``program`` and ``config`` (the path of the configuration, if it is known) are for the commands that are suggested.
    Raises DamagedExportError for a verdict that cannot be read, and StorageError when the path cannot be.
    """
    chain = Lock(storage, "").chain()
    holder = chain[-1][1] if chain else None
    run, damaged = None, False
    try:
        run = read_status(storage)
    except StagingError:
        damaged = True
    if holder is not None and run is not None and run.run_id != holder.run_id:
        run = None  # the holder has not given a sign of life yet; this one is of the run before it
    silent = _age(run) if run is not None else None
    verdict = None
    state = _state(holder, run, silent)
    if state is not State.RUNNING:
        verdict = _verdict(read_success(storage))
        # A run that was killed while it tidied up has finished; one that is at work on a finished export has not.
        if verdict is not None and (holder is None or verdict.run_id == holder.run_id):
            state = State.FINISHED
        elif state is State.NOTHING and damaged:
            state = State.UNKNOWN
    if state is State.FINISHED:
        holder, run, silent = None, None, None
    lines = tuple(_next(state, storage.url, holder, run, verdict, program, config))
    return Status(storage.url, state, silent, holder, run, verdict, lines)


def _state(holder: Holder | None, run: RunStatus | None, silent: float | None) -> State:
    if holder is not None:
        if holder.is_gone:
            return State.KILLED
        late = run is not None and silent is not None and silent > SILENT_RENEWALS * run.renews_every
        return State.SILENT if late else State.RUNNING
    if run is None:
        return State.NOTHING
    return State.KILLED if run.state == "running" else State(run.state)


def _age(run: RunStatus) -> float | None:
    try:
        renewed = datetime.fromisoformat(run.renewed)
        return round(max(0.0, (datetime.now(UTC) - renewed).total_seconds()), 1)
    except (ValueError, TypeError):  # not a time, or one without a zone
        return None


def _verdict(success: Success | None) -> Verdict | None:
    if success is None:
        return None
    ledger = success.ledger
    return Verdict(
        success.run_id, success.finished, success.content, success.files, ledger.records.written, ledger.failed_records
    )


def _next(
    state: State,
    url: str,
    holder: Holder | None,
    run: RunStatus | None,
    verdict: Verdict | None,
    program: str,
    config: str,
) -> Iterator[str]:
    """Lines that say what to do."""
    place = config or url
    command = f"{program} {run.command if run else 'run'} {config or 'CONFIG'}"
    match state:
        case State.RUNNING:
            yield f"watch it: {program} status {place} --watch"
        case State.SILENT:
            yield f"if it is at work, wait: it may sleep, or its store may be slow ({holder})"
            yield f"if it is dead: {command} --break-lock"
        case State.KILLED:
            yield f"continue it: {command}"
            yield f"or remove it: {program} clean {place}"
        case State.FAILED | State.INTERRUPTED | State.UNKNOWN:
            yield f"continue it: {command}"
        case State.FINISHED:
            if verdict and verdict.failed_records:
                yield f"try the failed records again: {program} retry-failed {config or 'CONFIG'}"
            yield f"prove it: {program} verify {place} --full"
        case State.NOTHING:
            yield f"begin: {program} run {config or 'CONFIG'}"
