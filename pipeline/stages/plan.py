"""Plan: list the records once and cut them into shards.

The plan is frozen: rows that appear later are left out by rule, rows that vanish are reported.
"""

import hashlib
from collections.abc import Callable

from pipeline.config.class_lock import check_drift, encode_lock, find_lock
from pipeline.config.export import ExportConfig
from pipeline.config.side_files import read_side_file
from pipeline.config.split_file import SplitFile, read_split_file
from pipeline.errors import BackendError, ConfigError, StagingError
from pipeline.model.source import Project
from pipeline.progress import Reporter
from pipeline.stages.preflight import check_selection
from pipeline.stages.workspace import Workspace
from pipeline.staging.markers import Given, Plan

_COME_AND_GO = 1000


def frozen_plan(workspace: Workspace) -> Plan | None:
    """The plan of an earlier run, or None when it, or the split file that it depends on, is missing or damaged."""
    plan = workspace.staging.read_plan()
    if plan is not None and plan.given.split_file:
        try:
            split_file = workspace.staging.read_split_file()
        except StagingError:
            return None
        return plan if split_file.digest == plan.given.split_file else None
    return plan


def read_given(workspace: Workspace, project: Project) -> tuple[Given, SplitFile | None]:
    """Read what the catalog will depend on, as it is now. Writes nothing.

    Raises ConfigError for a class lock the configuration drifts from, and for files that cannot be read.
    """
    config, folder = workspace.config, workspace.settings.search_path
    lock, split_file = find_lock(config, folder), None
    if lock is not None:
        check_drift(lock, config, project.classes)
    if config.split.by == "file":
        data = read_side_file(config, config.split.file, folder)
        if data is None:
            raise ConfigError("split.file", f"{config.split.file} does not exist")
        split_file = read_split_file(data, config.split)
    given = Given(
        classes=project.classes,
        points=project.points,
        lock=lock,
        split_file=split_file.digest if split_file else "",
        split_keys=len(split_file) if split_file else 0,
        tools=project.tools,
    )
    return given, split_file


def refuse_short_list(config: ExportConfig, counted: int, missing: int) -> None:
    """Raise BackendError when more records are missing from the list than come and go while it is read.

    One in a thousand may; ``max_failures`` allows more.
    """
    if missing > max(counted // _COME_AND_GO, config.failure_limit(counted)):
        raise BackendError(
            f"{config.target} records",
            f"the API counts {counted:,}, but leaves {missing:,} of them out of its list whenever it is read; "
            "run again, or set max_failures to that number to export without them",
        )


def make_plan(
    workspace: Workspace, project: Project, reporter: Reporter, before_freezing: Callable[[], None] | None = None
) -> Plan:
    """List the target's records, cut them into shards, and freeze these with all else that the export depends on.

    ``before_freezing`` is called when all of it is known and nothing is written yet.

    Raises ConfigError for a class lock or a file of splits that cannot be used, EmptySelectionError, and BackendError
    for a list that is not complete.
    """
    given, split_file = read_given(workspace, project)
    source = workspace.source
    counted = source.count()
    reporter.begin("plan", counted)
    shards = tuple(source.plan(workspace.config.run.shard_size, reporter.advance))
    reporter.end()
    records = sum(shard.count for shard in shards)
    refuse_short_list(workspace.config, counted, source.plan_report.missing)
    check_selection(workspace.config, records)
    export = workspace.identity
    digest = hashlib.sha256(export.key.encode())
    for shard in shards:
        digest.update(shard.keys)
    if given.lock is not None:
        digest.update(encode_lock(given.lock))
    digest.update(given.split_file.encode())
    warnings = [project.warning] if project.warning else []
    if not records:
        warnings.append("the filter matches no record: the export is empty")
    if records != counted:
        warnings.append(f"the API counted {counted} records, listing them gave {records}")
    if source.plan_report.duplicates:
        warnings.append(f"the API listed {source.plan_report.duplicates} rows more than once; each is exported once")
    plan = Plan(
        fingerprint=digest.hexdigest(),
        export=export,
        project_id=project.id,
        project_title=project.title,
        given=given,
        warnings=tuple(warnings),
        counted=counted,
        records=records,
        shards=shards,
    )
    if before_freezing is not None:
        before_freezing()
    if split_file is not None:
        workspace.staging.write_split_file(split_file.encode())
    workspace.staging.write_plan(plan)
    return plan
