"""One export from beginning to end: the stages in order. The page to read first.

::

    check ─► plan ─► extract (per shard) ─► catalog ─► write (per shard) ─► merge (per manifest) ─► publish

Every stage leaves its result on storage before the next one starts, so a run that is killed at any moment is
continued by running the same command again: what is done is not done twice, and the bytes are the same.
"""

import contextlib
import uuid
from collections import Counter
from typing import Any

import msgspec

from pipeline.commands.forecast import check_space
from pipeline.config.class_lock import LOCK, lock_document, save_lock
from pipeline.config.export import ExportConfig
from pipeline.destination import metadata
from pipeline.destination.existing import State, Success, examine, read_success, remove_export
from pipeline.destination.lock import Lock, clear_staging, hold
from pipeline.errors import DestinationError, FailureLimitError, PreflightError, StagingError, StorageError
from pipeline.executors.base import Executor, SerialExecutor
from pipeline.progress import Listener, Reporter, Silence
from pipeline.records import Failure
from pipeline.stages.catalog import make_catalog
from pipeline.stages.extract import extract, failed_records
from pipeline.stages.machines import settle_paths
from pipeline.stages.merge import declared, merge
from pipeline.stages.patch import forget, place, read_patch
from pipeline.stages.plan import check, check_destination, frozen_plan, identify, make_plan, read_given
from pipeline.stages.publish import publish
from pipeline.stages.render import write
from pipeline.stages.workspace import Settings, Workspace, close_workspace, open_workspace
from pipeline.staging.area import Identity, Plan
from pipeline.storage import STAGING
from pipeline.synapse.source import Project

_LEAST_REQUESTS = 4


class Result(msgspec.Struct, frozen=True):
    """How a run ended: the verdict, what ``export_summary.json`` says, where the export is, and whether it was
    complete before, so that nothing was left to do.
    """

    success: Success
    summary: dict[str, Any]
    url: str
    already_finished: bool = False


def make_executor(config: ExportConfig) -> Executor:
    """The executor that ``run.executor`` names. Raises PreflightError when Ray cannot be reached."""
    if config.run.executor == "serial":
        return SerialExecutor()
    from pipeline.executors.ray import RayExecutor  # noqa: PLC0415  a serial run needs no Ray

    return RayExecutor(config.run.address, config.run.workers, config.run.memory_mb, config.run.shard_timeout)


def run(
    config: ExportConfig, *, listener: Listener | None = None, search_path: str = "", break_lock: bool = False
) -> Result:
    """Export what ``config`` describes; ``search_path`` is a folder with the user's own formats.

    One run at a time works on a path; ``break_lock`` says that the one that seems to be at it is not any more.

    Raises an ExportError, whose ``exit_code`` says what kind: 2 before any work, 3 above ``max_failures``, else 1.
    After any error but 2 the same call continues where this one stopped.
    """
    reporter = Reporter(listener or Silence())
    try:
        config = settle_paths(config)
        settings = Settings(config.model_dump(mode="json"), requests=config.run.requests, search_path=search_path)
        workspace = open_workspace(settings)
        project = check(workspace)
        export = identify(config, workspace.client.origin)
        settings = msgspec.structs.replace(settings, key=export.key)
        workspace = open_workspace(settings)
        run_id = uuid.uuid4().hex[:12]
        if examine(workspace.storage, export, config.on_existing) is State.FINISHED:
            return finished(workspace, reporter, run_id)
        with make_executor(config) as executor:
            check_destination(workspace, executor)
            if executor.description:
                reporter.message(executor.description)
            with hold(workspace.storage, run_id, break_lock=break_lock) as lock:
                # Again: until the path was ours, another run may have changed what is there.
                state = examine(workspace.storage, export, config.on_existing)
                if state is State.FINISHED:
                    return finished(workspace, reporter, run_id)
                plan = _prepare(workspace, state, export, project, lock, reporter)
                success = finish_export(share_requests(settings, executor), plan, lock, executor, reporter)
            return result_of(success, workspace)
    finally:
        close_workspace()
        reporter.close()


def _prepare(
    workspace: Workspace, state: State, export: Identity, project: Project, lock: Lock, reporter: Reporter
) -> Plan:
    """Make room for this export, and its plan, or find the plan of the one that is continued."""
    if not lock.excludes():
        reporter.message(
            f"{workspace.storage.url} lets a file be created twice: two runs at once would not notice each other there"
        )
    if state is State.START:
        check_space(workspace, project)
    if state is State.REPLACE:
        read_given(workspace, project)  # refuses what cannot be used while there still is something to keep
        remove_export(workspace.storage)
    if state in (State.REPLACE, State.RESUME):
        _abort_uploads(workspace, reporter)
    plan = frozen_plan(workspace) or make_plan(workspace, export, project, reporter)
    place(workspace.staging)
    if state is State.RESUME:
        reporter.message(f"continuing an unfinished export of {plan.records:,} records")
    return plan


def _abort_uploads(workspace: Workspace, reporter: Reporter) -> None:
    """Give up what a killed run was uploading: nobody will finish it, and the store keeps it for money."""
    try:
        workspace.storage.abort_uploads()
    except StorageError as error:  # not everyone who may write may list uploads
        reporter.message(f"unfinished uploads of an earlier run may stay behind: {error}")


def share_requests(settings: Settings, executor: Executor) -> Settings:
    """Settings for a worker among all those of ``executor``.

    Writing asks object stores for originals, which bear more; the bound for the API is kept by extract.
    """
    shared = min(settings.requests, max(_LEAST_REQUESTS, settings.requests // executor.workers))
    return msgspec.structs.replace(settings, requests=shared)


def finish_export(
    settings: Settings, plan: Plan, lock: Lock, executor: Executor, reporter: Reporter, *, patched: bool = False
) -> Success:
    """The stages after the plan; returns the verdict. What is staged of a ``patched`` export is taken as it is."""
    workspace = open_workspace(settings)
    staging = workspace.staging

    redone, failures = (
        (0, _check_failures(workspace, plan)) if patched else _extract(workspace, plan, executor, reporter)
    )
    try:
        staged, digest = make_catalog(workspace.config, plan, staging, reporter, redone=redone)
    except StagingError:
        # What an earlier run staged is damaged; its marker is gone now, so exactly that is extracted again.
        again, failures = _extract(workspace, plan, executor, reporter)
        staged, digest = make_catalog(workspace.config, plan, staging, reporter, redone=redone + again)

    declared(workspace, staged.catalog)  # a format that cannot do with this catalog says so before any writing
    markers = write(settings, plan, staged, digest, executor, reporter)
    _enforce_failure_limit(workspace, plan, failures + [f for marker in markers for f in marker.failures])
    manifests = merge(settings, staged, markers, executor, reporter)
    lock.check()
    success = publish(workspace, plan, staged, markers, manifests, reporter, lock.run_id)
    _save_lock(workspace, lock_document(staged.catalog), reporter)
    tidy_up(workspace, success)
    return success


def tidy_up(workspace: Workspace, success: Success) -> None:
    """Remove what an export that is published needs no more: all that was staged, unless some of it may be patched."""
    if workspace.config.run.keep_staging or success.ledger.failed_records:
        forget(workspace.staging)
    else:
        clear_staging(workspace.storage)


def _extract(workspace: Workspace, plan: Plan, executor: Executor, reporter: Reporter) -> tuple[int, list[Failure]]:
    """Extract what is missing; how many shards that were, and the failures of all shards.

    The limit is checked before the catalog is frozen, because until then a passing failure is tried again.
    """
    redone = extract(workspace.settings, plan, executor, reporter)
    return redone, _check_failures(workspace, plan)


def _check_failures(workspace: Workspace, plan: Plan) -> list[Failure]:
    failures = [failure for marker in workspace.staging.extract_markers(plan) if marker for failure in marker.failures]
    _enforce_failure_limit(workspace, plan, failures)
    return failures


def _enforce_failure_limit(workspace: Workspace, plan: Plan, failures: list[Failure]) -> None:
    failed = len(failed_records(failures))
    if failed <= workspace.config.failure_limit(plan.records):
        return
    report = f"{workspace.staging.root}/failures.jsonl"
    workspace.storage.write(report, b"".join(metadata.failure_lines(failures)))
    reasons = Counter(" ".join(filter(None, (f.reason, f.detail))) for f in failures if f.outcome == "failed")
    why = reasons.most_common(1)[0][0]
    raise FailureLimitError(
        f"{failed} of {plan.records} records failed, max_failures is {workspace.config.max_failures}: nothing was "
        f"published; most often: {why}; all are listed in {workspace.storage.url}/{report}; run the same "
        "command again to retry what may have been passing trouble, or raise max_failures to publish without them"
    )


def _save_lock(workspace: Workspace, document: bytes, reporter: Reporter, *, again: bool = False) -> None:
    """Give the ids of a published export to the next ones, where the configuration asks for it."""
    if workspace.config.classes.lock:
        told = save_lock(workspace.config, workspace.settings.search_path, document, again=again)
        if told:
            reporter.message(told)


def finished(workspace: Workspace, reporter: Reporter, run_id: str) -> Result:
    """Nothing to do but what a run that was killed after its verdict had left."""
    success = read_success(workspace.storage)
    if success is None:
        raise PreflightError(workspace.storage.url, "the export that was there has just been removed")
    kept = workspace.config.run.keep_staging or success.ledger.failed_records
    if read_patch(workspace.staging) or (not kept and workspace.storage.entries(STAGING)):
        with contextlib.suppress(DestinationError), hold(workspace.storage, run_id):  # else its run tidies up itself
            tidy_up(workspace, success)
    if (document := workspace.storage.find(LOCK)) is not None:
        _save_lock(workspace, document, reporter, again=True)
    return result_of(success, workspace, already_finished=True)


def result_of(success: Success, workspace: Workspace, *, already_finished: bool = False) -> Result:
    """What a run returns of the export that is there."""
    summary = msgspec.json.decode(workspace.storage.find(metadata.SUMMARY) or b"{}")
    return Result(success, summary, workspace.storage.url, already_finished)
