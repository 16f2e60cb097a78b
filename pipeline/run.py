"""Run one export from beginning to end: :func:`run` and its :class:`Result`.

The stages themselves are in :mod:`pipeline.stages.sequence`.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

from pipeline.commands.estimate import check_space
from pipeline.commands.executor import open_executor
from pipeline.commands.session import Result, Session, open_session
from pipeline.config.export import ExportConfig
from pipeline.destination.existing import State, examine, remove_export
from pipeline.destination.lock import Lock, hold_lock
from pipeline.errors import StorageError
from pipeline.progress import Listener, Reporter
from pipeline.stages.patch import install_patch
from pipeline.stages.plan import frozen_plan, make_plan, read_given
from pipeline.stages.preflight import check_destination, check_selection
from pipeline.stages.sequence import finish_export
from pipeline.stages.workspace import Workspace
from pipeline.staging.markers import Plan

__all__ = ["Result", "run"]


def run(
    config: ExportConfig, *, listener: Listener | None = None, search_path: str = "", break_lock: bool = False
) -> Result:
    """Export what ``config`` describes.

    ``listener`` is told of progress. ``search_path`` is a folder with the user's own formats, by default that of
    the configuration file. One run at a time works on a path; ``break_lock`` takes over the lock of a run that is known
    to be dead.

    Several exports may run at once in threads of one process, to different paths. It may also be called while an event
    loop runs in the same thread, as in Jupyter.

    Raises an ExportError, whose ``exit_code`` says what kind: 2 before any work, 3 above ``max_failures``, 4 for a
    filter that matches no record, else 1. After 1 and 3 the same call continues where this one stopped.
    """
    with open_session(config, listener=listener, search_path=search_path) as session:
        storage, export = session.workspace.storage, session.workspace.identity
        state = examine(storage, export, session.config.on_existing)
        if state is State.FINISHED:
            return session.finished()
        records = _count(session, state)
        with open_executor(session, records) as waiting:
            check_destination(session.workspace)
            with hold_lock(storage, session.run_id, break_lock=break_lock) as lock:
                # Again: until the path was ours, another run may have changed what is there.
                state = examine(storage, export, session.config.on_existing)
                if state is State.FINISHED:
                    return session.finished()
                if state is State.REPLACE:
                    waiting.ready()  # while there still is something to keep
                plan = _prepare(session, state, lock)
                success = finish_export(session.workspace, plan, lock, waiting.ready(), session.reporter)
            return session.result(success)


def _count(session: Session, state: State) -> int:
    """How many records the export is of, by its plan where it has one."""
    plan = frozen_plan(session.workspace) if state is State.RESUME else None
    if plan is not None:
        return plan.records
    records = session.workspace.source.count()
    if state is not State.RESUME:
        check_selection(session.config, records)
    return records


def _prepare(session: Session, state: State, lock: Lock) -> Plan:
    """Make room for this export and make its plan, or find the plan of the export that is continued."""
    workspace, reporter = session.workspace, session.reporter
    if not lock.is_exclusive():
        reporter.message(
            f"{workspace.storage.url} lets a file be created twice: two runs at once would not notice each other there"
        )
    if state is State.REPLACE:
        # Refuse what cannot be used while there still is something to keep.
        read_given(workspace, session.project)
        remove_export(workspace.storage)
    if state in (State.REPLACE, State.RESUME):
        _abort_uploads(workspace, reporter)
    plan = frozen_plan(workspace)
    if plan is None:
        plan = _make_plan(session, state)
    install_patch(workspace.staging)
    if state is State.RESUME:
        reporter.message(f"continuing an unfinished export of {plan.records:,} records")
    return plan


def _make_plan(session: Session, state: State) -> Plan:
    """List the records, and sample some of them meanwhile to see whether there is room for all."""
    with ThreadPoolExecutor(1, "sample") as thread:
        sampled = thread.submit(check_space, session.workspace, session.project) if state is State.START else None

        def check() -> None:
            if sampled is not None:
                sampled.result()

        try:
            return make_plan(session.workspace, session.project, session.reporter, check)
        except BaseException:
            session.workspace.interrupt()  # the sample is not wanted any more
            raise


def _abort_uploads(workspace: Workspace, reporter: Reporter) -> None:
    """Abort the uploads of a killed run: nothing will finish them, and the store charges for them."""
    try:
        workspace.storage.abort_uploads()
    except StorageError as error:  # not every account that may write may list uploads
        reporter.message(f"unfinished uploads of an earlier run may stay behind: {error}")


class _CallableModule(ModuleType):
    """The type of this module, which makes it callable like :func:`run`.

    ``pipeline.run`` is both this module and a public name of the package. Python binds the name to the module as soon
    as anything imports it, so that ``from pipeline import run`` may give either; both do the same.
    """

    def __call__(
        self,
        config: ExportConfig,
        *,
        listener: Listener | None = None,
        search_path: str = "",
        break_lock: bool = False,
    ) -> Result:
        """See :func:`run`."""
        return run(config, listener=listener, search_path=search_path, break_lock=break_lock)


sys.modules[__name__].__class__ = _CallableModule
