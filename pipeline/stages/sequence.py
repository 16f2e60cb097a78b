"""The stages of an export in order, after its plan. The page to read first.

::

    preflight ─► plan ─► extract (per shard) ─► catalog ─► render (per shard) ─► merge (per manifest) ─► publish

Each stage leaves its result on storage before the next one starts. A run that is killed at any moment is continued by
running the same command again: finished work is not done twice, and the bytes are the same.
"""

from collections.abc import Sequence

import msgspec

from pipeline.config.class_lock import lock_document, save_lock
from pipeline.config.split_file import SplitFile
from pipeline.destination import metadata
from pipeline.destination.existing import Success
from pipeline.destination.lock import Lock, clear_staging
from pipeline.errors import FailureLimitError, StagingError
from pipeline.executors.base import Executor
from pipeline.model.ledger import commonest_reason, failed_records
from pipeline.progress import Reporter
from pipeline.records import Failure
from pipeline.stages.catalog import make_catalog
from pipeline.stages.duplicates.hashing import hash_originals
from pipeline.stages.duplicates.listing import Duplicates, list_duplicates
from pipeline.stages.duplicates.one_split import freeze_splits
from pipeline.stages.extract import are_too_many, extract, vanished_records
from pipeline.stages.merge import declared_manifests, merge, refuse_repeated_files
from pipeline.stages.patch import discard_patch
from pipeline.stages.publish import publish
from pipeline.stages.render import render_shards
from pipeline.stages.workspace import Settings, Workspace
from pipeline.staging.markers import Plan

_LEAST_REQUESTS = 4


def finish_export(
    workspace: Workspace, plan: Plan, lock: Lock, executor: Executor, reporter: Reporter, *, patched: bool = False
) -> Success:
    """Run the stages after the plan and return the verdict. A ``patched`` export is rendered from what is staged.

    Raises FailureLimitError when more records failed than ``max_failures`` allows, and DuplicatesError when
    ``duplicates: fail`` finds copies of an original in several splits; nothing is published then.
    """
    settings, staging = workspace.settings, workspace.staging
    reporter.expect(plan.records, originals=workspace.config.save_original_file)

    redone, failures = (
        (0, _check_failures(workspace, plan)) if patched else _extract(workspace, plan, executor, reporter)
    )
    formats = workspace.formats
    try:
        moves = _settle_splits(workspace, plan, executor, reporter)
        staged, digest = make_catalog(
            workspace.config, plan, staging, reporter, redone=redone, formats=formats, moves=moves
        )
    except StagingError:
        # What an earlier run staged is damaged; its marker is gone now, so exactly that is extracted again.
        again, failures = _extract(workspace, plan, executor, reporter)
        redone += again
        moves = _settle_splits(workspace, plan, executor, reporter)
        staged, digest = make_catalog(
            workspace.config, plan, staging, reporter, redone=redone, formats=formats, moves=moves
        )

    declared_manifests(workspace, staged.catalog)  # a format that cannot use this catalog raises before it is rendered
    shared = share_requests(settings, executor)
    markers = render_shards(shared, plan, staged, digest, executor, reporter)
    enforce_failure_limit(workspace, plan, failures + [f for marker in markers for f in marker.failures])
    refuse_repeated_files(workspace, markers)
    manifests = merge(shared, staged, markers, executor, reporter)
    copied = any(marker.ledger.originals.written for marker in markers)
    policy = workspace.config.duplicates
    duplicates = list_duplicates(workspace.storage, policy) if copied else Duplicates(policy=policy)
    lock.check()
    success = publish(workspace, plan, staged, markers, manifests, reporter, lock.run_id, duplicates)
    update_class_lock(workspace, lock_document(staged.catalog), reporter)
    tidy_up(workspace, success)
    return success


def share_requests(settings: Settings, executor: Executor) -> Settings:
    """Settings for one worker among all those of ``executor``.

    Rendering asks object stores for originals, which bear more; extract keeps the bound for the API itself.
    """
    shared = min(settings.requests, max(_LEAST_REQUESTS, settings.requests // executor.workers))
    return msgspec.structs.replace(settings, requests=shared)


def tidy_up(workspace: Workspace, success: Success) -> None:
    """Remove what a published export no longer needs: all staged work, unless some of it may be patched."""
    if workspace.config.run.keep_staging or success.ledger.failed_records:
        discard_patch(workspace.staging)
    else:
        clear_staging(workspace.storage)


def update_class_lock(workspace: Workspace, document: bytes, reporter: Reporter, *, again: bool = False) -> None:
    """Pass the ids of a published export on to the next ones, where the configuration asks for it."""
    if workspace.config.classes.lock:
        told = save_lock(workspace.config, workspace.settings.search_path, document, again=again)
        if told:
            reporter.message(told)


def _settle_splits(workspace: Workspace, plan: Plan, executor: Executor, reporter: Reporter) -> SplitFile | None:
    """Decide which records change their split so that copies of an original are in one; None where that is not asked.

    The limit of failures is checked before this is frozen: an original that was not fetched has no copies.
    """
    config = workspace.config
    if config.duplicates != "same_split" or config.split.by == "none":
        return None
    failures = hash_originals(workspace.settings, plan, executor, reporter)
    if workspace.staging.read_catalog() is None:
        extracted = [
            failure for marker in workspace.staging.extract_markers(plan) if marker for failure in marker.failures
        ]
        enforce_failure_limit(workspace, plan, extracted + failures)
    return freeze_splits(plan, workspace.staging)


def _extract(workspace: Workspace, plan: Plan, executor: Executor, reporter: Reporter) -> tuple[int, list[Failure]]:
    """Extract the missing shards; returns how many those were, and the failures of all shards.

    The limit is checked before the catalog is frozen, because until then a passing failure is tried again.
    """
    redone = extract(workspace.settings, plan, executor, reporter)
    return redone, _check_failures(workspace, plan)


def _check_failures(workspace: Workspace, plan: Plan) -> list[Failure]:
    failures = [failure for marker in workspace.staging.extract_markers(plan) if marker for failure in marker.failures]
    enforce_failure_limit(workspace, plan, failures)
    return failures


def enforce_failure_limit(workspace: Workspace, plan: Plan, failures: Sequence[Failure]) -> None:
    """Raise FailureLimitError when more records failed than ``max_failures`` allows, and write the list of all.

    Records that vanished count as failed when they are too many to be believed.
    """
    vanished = vanished_records(failures)
    doubted = vanished if are_too_many(plan, len(vanished)) else set()
    failed = failed_records(failures) | doubted
    if len(failed) <= workspace.config.failure_limit(plan.records):
        return
    report = f"{workspace.staging.root}/failures.jsonl"
    workspace.storage.write(report, b"".join(metadata.failure_lines(failures)))
    counted = [msgspec.structs.replace(f, outcome="failed") if f.record_id in doubted else f for f in failures]
    raise FailureLimitError(
        f"{len(failed)} of {plan.records} records failed, max_failures is {workspace.config.max_failures}: nothing was "
        f"published; most often: {commonest_reason(counted)}; all are listed in {workspace.storage.url}/{report}; "
        "run the same command again to retry failures that may pass, or raise max_failures to publish without them"
    )
