"""One export from beginning to end: the stages in order. The page to read first.

::

    check ─► plan ─► extract (per shard) ─► catalog ─► write (per shard) ─► merge (per manifest) ─► publish

Every stage leaves its result on storage before the next one starts, so a run that is killed at any moment is
continued by running the same command again: what is done is not done twice, and the bytes are the same.
"""

import uuid
from typing import Any

import msgspec

from pipeline import metadata
from pipeline.class_lock import LOCK, lock_document, save_lock
from pipeline.config import ExportConfig
from pipeline.destination import State, Success, examine, read_success, remove_export
from pipeline.errors import FailureLimitError, PreflightError, StagingError
from pipeline.executors import Executor, SerialExecutor
from pipeline.extract import extract, failed_records
from pipeline.machines import settle_paths
from pipeline.merge import declared, merge
from pipeline.numbering import make_catalog
from pipeline.plan import check, check_destination, frozen_plan, identify, make_plan, read_given
from pipeline.progress import Listener, Reporter, Silence
from pipeline.publish import publish
from pipeline.records import Failure
from pipeline.staging import Plan
from pipeline.storage import STAGING
from pipeline.workspace import Settings, Workspace, close_workspace, open_workspace
from pipeline.write import write

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
    from pipeline.ray_executor import RayExecutor  # noqa: PLC0415  a serial run needs no Ray

    return RayExecutor(config.run.address, config.run.workers, config.run.memory_mb)


def run(config: ExportConfig, *, listener: Listener | None = None, search_path: str = "") -> Result:
    """Export what ``config`` describes; ``search_path`` is a folder with the user's own formats.

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
        state = examine(workspace.storage, export, config.on_existing)
        if state is State.FINISHED:
            return _finished(workspace, reporter)
        with make_executor(config) as executor:
            check_destination(workspace, executor)
            if executor.description:
                reporter.message(executor.description)
            if state is State.REPLACE:
                read_given(workspace, project)  # refuses what cannot be used while there still is something to keep
                remove_export(workspace.storage)
            plan = frozen_plan(workspace) or make_plan(workspace, export, project, reporter)
            if state is State.RESUME:
                reporter.message(f"continuing an unfinished export of {plan.records:,} records")
            # Writing asks object stores for originals, which bear more; the bound for the API is kept by extract.
            shared = min(config.run.requests, max(_LEAST_REQUESTS, config.run.requests // executor.workers))
            success = _stages(msgspec.structs.replace(settings, requests=shared), plan, executor, reporter)
        return _result(success, workspace)
    finally:
        close_workspace()
        reporter.close()


def _stages(settings: Settings, plan: Plan, executor: Executor, reporter: Reporter) -> Success:
    workspace = open_workspace(settings)
    staging = workspace.staging

    redone, failures = _extract(workspace, plan, executor, reporter)
    try:
        staged, digest = make_catalog(workspace.config, plan, staging, reporter, redone=redone)
    except StagingError:
        # What an earlier run staged is damaged; its marker is gone now, so exactly that is extracted again.
        again, failures = _extract(workspace, plan, executor, reporter)
        staged, digest = make_catalog(workspace.config, plan, staging, reporter, redone=redone + again)

    declared(workspace.formats, staged.catalog)  # a format that cannot do with this catalog says so before any writing
    markers = write(settings, plan, staged, digest, executor, reporter)
    _enforce_failure_limit(workspace, plan, failures + [f for marker in markers for f in marker.failures])
    manifests = merge(settings, staged, markers, executor, reporter)
    success = publish(workspace, plan, staged, markers, manifests, reporter, uuid.uuid4().hex[:12])
    _save_lock(workspace, lock_document(staged.catalog), reporter)
    if not workspace.config.run.keep_staging:
        workspace.storage.delete_tree(STAGING)
    return success


def _extract(workspace: Workspace, plan: Plan, executor: Executor, reporter: Reporter) -> tuple[int, list[Failure]]:
    """Extract what is missing; how many shards that were, and the failures of all shards.

    The limit is checked before the catalog is frozen, because until then a passing failure is tried again.
    """
    redone = extract(workspace.settings, plan, executor, reporter)
    failures = [failure for marker in workspace.staging.extract_markers(plan) if marker for failure in marker.failures]
    _enforce_failure_limit(workspace, plan, failures)
    return redone, failures


def _enforce_failure_limit(workspace: Workspace, plan: Plan, failures: list[Failure]) -> None:
    failed = len(failed_records(failures))
    if failed <= workspace.config.failure_limit(plan.records):
        return
    report = f"{workspace.staging.root}/failures.jsonl"
    workspace.storage.write(report, b"".join(metadata.failure_lines(failures)))
    raise FailureLimitError(
        f"{failed} of {plan.records} records failed, max_failures is {workspace.config.max_failures}: nothing was "
        f"published; they are listed in {workspace.storage.url}/{report}; run the same command again to retry what "
        "may have been passing trouble, or raise max_failures to publish without them"
    )


def _save_lock(workspace: Workspace, document: bytes, reporter: Reporter, *, again: bool = False) -> None:
    """Give the ids of a published export to the next ones, where the configuration asks for it."""
    if workspace.config.classes.lock:
        told = save_lock(workspace.config, workspace.settings.search_path, document, again=again)
        if told:
            reporter.message(told)


def _finished(workspace: Workspace, reporter: Reporter) -> Result:
    """Nothing to do but what a run that was killed after its verdict had left."""
    success = read_success(workspace.storage)
    if success is None:
        raise PreflightError(workspace.storage.url, "the export that was there has just been removed")
    if not workspace.config.run.keep_staging:
        workspace.storage.delete_tree(STAGING)
    if (document := workspace.storage.find(LOCK)) is not None:
        _save_lock(workspace, document, reporter, again=True)
    return _result(success, workspace, already_finished=True)


def _result(success: Success, workspace: Workspace, *, already_finished: bool = False) -> Result:
    summary = msgspec.json.decode(workspace.storage.find(metadata.SUMMARY) or b"{}")
    return Result(success, summary, workspace.storage.url, already_finished)
