"""Where the work of an export is done: what ``run.executor`` means, started beside what needs no workers."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.commands.session import Session
from pipeline.executors.base import Executor, SerialExecutor
from pipeline.executors.processes import ProcessExecutor, room
from pipeline.executors.ray_job import is_connected
from pipeline.stages.preflight import check_machines
from pipeline.stages.workspace import Workspace

_WORTH_PROCESSES = 3000
_WORTH_PROCESSES_WITH_FILES = 1000


def choose_executor(workspace: Workspace, records: int) -> str:
    """What ``auto`` means for an export of so many ``records``: the executor that is done first.

    A cluster is used where there is one: at ``run.address``, or at the address that Ray itself goes by, as in a
    submitted job. Else processes of this machine, unless the export is so small that it is done before they have
    started.
    """
    run = workspace.config.run
    if run.executor != "auto":
        return run.executor
    if has_cluster(workspace):
        return "ray"
    is_small = records < (_WORTH_PROCESSES_WITH_FILES if workspace.config.save_original_file else _WORTH_PROCESSES)
    if is_small or workspace.storage.url.startswith("memory://") or room(run.workers, run.memory_mb) == 1:
        return "serial"
    return "processes"


def has_cluster(workspace: Workspace) -> bool:
    """Tell whether the work may be done on a cluster that is running: one that is named, or that this process is in."""
    address = workspace.config.run.address or os.environ.get("RAY_ADDRESS") or "local"
    return workspace.config.run.executor in ("auto", "ray") and (address != "local" or is_connected())


class WaitingExecutor:
    """An executor that is starting; :meth:`ready` waits for it and checks it."""

    def __init__(self, session: Session, starting: Future[Executor]) -> None:
        self._session = session
        self._starting = starting
        self._is_checked = False

    def ready(self) -> Executor:
        """The executor, after every machine of it has been checked; raises what is wrong with it."""
        reporter = self._session.reporter
        if not self._starting.done():
            reporter.step("getting the workers ready")
        executor = self._starting.result()
        if not self._is_checked:
            self._is_checked = True
            if executor.description:
                reporter.message(executor.description)
            if executor.has_machines:
                reporter.step("checking every machine")
            check_machines(self._session.workspace, executor)
        return executor


@contextlib.contextmanager
def open_executor(session: Session, records: int) -> Iterator[WaitingExecutor]:
    """Start the executor for an export of so many ``records`` beside what is done in this block, and close it then.

    A cluster is waited for at once: when there is none at its address, the run ends before it has written anything.
    Raises PreflightError or ConfigError, as the executors do.
    """
    joins = has_cluster(session.workspace)  # asked before a thread imports Ray
    with ThreadPoolExecutor(1, "executor") as thread:
        starting = thread.submit(_make_executor, session, choose_executor(session.workspace, records))
        try:
            waiting = WaitingExecutor(session, starting)
            if joins:
                waiting.ready()
            yield waiting
        finally:
            with contextlib.suppress(Exception):  # who asked for it has been told
                starting.result().close()


def _make_executor(session: Session, kind: str) -> Executor:
    run = session.config.run
    match kind:
        case "serial":
            return SerialExecutor()
        case "processes":
            return ProcessExecutor(run.workers, run.memory_mb, run.shard_timeout)
        case _:
            from pipeline.executors.ray import RayExecutor  # noqa: PLC0415  others need no Ray

            return RayExecutor(run.address, run.workers, run.memory_mb, run.shard_timeout)
