"""``retry-failed``: try the failed records of a published export again, and patch the dataset.

The patched dataset is the one that a run without these failures would have written.
"""

from collections.abc import Sequence

from pipeline.commands.executor import open_executor
from pipeline.commands.session import Result, open_session
from pipeline.config.export import ExportConfig
from pipeline.destination.existing import Success, check_file_list, difference_error, read_success
from pipeline.destination.lock import Lock, hold_lock
from pipeline.errors import DestinationError, FailureLimitError
from pipeline.executors.base import Executor
from pipeline.model.ledger import failed_records
from pipeline.progress import Listener, Reporter
from pipeline.stages.extract import shared_context
from pipeline.stages.patch import fetch_failed, install_patch, patch_staging, read_patch, record_patch
from pipeline.stages.plan import frozen_plan
from pipeline.stages.preflight import check_destination
from pipeline.stages.sequence import finish_export
from pipeline.stages.workspace import Workspace
from pipeline.staging.markers import ExtractMarker, Plan, StagedCatalog

_ANEW = "cannot be patched; a full run with on_existing: overwrite is needed"


def retry_failed(
    config: ExportConfig, *, listener: Listener | None = None, search_path: str = "", break_lock: bool = False
) -> Result:
    """Try what failed of a finished export again, and nothing else; arguments as of :func:`pipeline.run.run`.

    Records of which something failed are fetched anew, failed originals are copied, and samples that a format could not
    render are rendered again. The dataset is touched only when a record came out differently. A call that was killed is
    continued by the same call.

    Raises an ExportError as ``run`` does; 2 also when there is nothing that could be patched.
    """
    with open_session(config, listener=listener, search_path=search_path) as session:
        workspace = session.workspace
        if _nothing_failed(workspace):
            session.reporter.message("no record failed: there is nothing to retry")
            return session.finished()
        success = read_success(workspace.storage)
        with open_executor(session, success.ledger.failed_records if success else 0) as waiting:
            check_destination(workspace)
            executor = waiting.ready()
            with hold_lock(workspace.storage, session.run_id, break_lock=break_lock) as lock:
                success = _retry(workspace, lock, executor, session.reporter)
            return session.result(success, already_finished=success.run_id != session.run_id)


def _nothing_failed(workspace: Workspace) -> bool:
    """Whether the export is complete without a failure.

    Raises DestinationError when it is another one, or none that a retry could be of.
    """
    storage, export = workspace.storage, workspace.identity
    success = read_success(storage)
    if success is None:
        if read_patch(workspace.staging) is None:
            raise DestinationError(storage.url, "holds no finished export to patch; finish it with `run` first")
        return False
    if success.export.key != export.key:
        raise difference_error(storage, "a finished export", success.export, export)
    return not success.ledger.failed_records


def _retry(workspace: Workspace, lock: Lock, executor: Executor, reporter: Reporter) -> Success:
    plan = frozen_plan(workspace)
    markers = [marker for marker in workspace.staging.extract_markers(plan) if marker] if plan else []
    if plan is None or len(markers) != len(plan.shards):
        raise DestinationError(workspace.storage.url, f"what was staged for it is gone or damaged: it {_ANEW}")
    success = read_success(workspace.storage)
    if success is not None:
        check_file_list(workspace.storage, success)  # a patch removes what this list names and the new one does not
        fetched = _fetch(workspace, plan, markers, executor, reporter)
        rewritten = sorted({*fetched, *_to_write_again(workspace, plan)})
        if not rewritten:
            reporter.message(f"{success.ledger.failed_records} records failed again: the dataset is left as it is")
            return success
        record_patch(workspace.staging, fetched, rewritten)
    elif read_patch(workspace.staging) is None:  # another one has begun and given up since we looked
        raise DestinationError(workspace.storage.url, "holds no finished export to patch; finish it with `run` first")
    install_patch(workspace.staging)
    return finish_export(workspace, plan, lock, executor, reporter, patched=True)


def _fetch(
    workspace: Workspace, plan: Plan, markers: Sequence[ExtractMarker], executor: Executor, reporter: Reporter
) -> list[int]:
    """Fetch the failed records of all shards; returns the shards that came out differently.

    Raises FailureLimitError when more of them failed than are allowed: then nothing was touched.
    """
    todo = [plan.shards[marker.index] for marker in markers if failed_records(marker.failures)]
    total = sum(len(failed_records(marker.failures)) for marker in markers)
    reporter.begin("retry", total)
    context, at_once = shared_context(workspace.settings, plan, executor, len(todo))
    for result in executor.map(fetch_failed, context, todo, at_most=at_once):
        reporter.advance(result.records, result.bytes, result.failures)
    reporter.end()
    patched = patch_staging(workspace.staging)
    after = [patched.read_extract_marker(shard.index) for shard in todo]
    failed = sum(marker.ledger.failed_records for marker in after)
    if failed > workspace.config.failure_limit(plan.records):
        raise FailureLimitError(
            f"{failed} records failed again, max_failures is {workspace.config.max_failures}: "
            "the dataset is left as it is"
        )
    return [marker.index for marker in after if _outcome(marker) != _outcome(markers[marker.index])]


def _outcome(marker: ExtractMarker) -> object:
    """What makes a difference in the dataset."""
    return marker.sha256, marker.failures, marker.ledger.annotations, marker.ledger.records


def _to_write_again(workspace: Workspace, plan: Plan) -> list[int]:
    """Shards of which an original or a rendering failed, and those of which nobody knows."""
    frozen: tuple[StagedCatalog, str] | None = workspace.staging.read_catalog()
    markers = workspace.staging.render_markers(plan, frozen[1] if frozen else "")
    return [
        shard.index
        for shard, marker in zip(plan.shards, markers, strict=True)
        if marker is None or failed_records(marker.failures)
    ]
