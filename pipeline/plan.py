"""Plan: everything checkable is checked, then the records are listed once and cut into shards.

What is planned is frozen: rows that appear later are out by rule, rows that vanish are reported.
"""

import hashlib
from importlib.metadata import version

from pipeline.config import ExportConfig
from pipeline.errors import DestinationError
from pipeline.executors import Executor
from pipeline.progress import Reporter
from pipeline.staging import Identity, Plan
from pipeline.synapse.source import Project
from pipeline.workspace import Workspace

VERSION = version("synapse-export")


def identify(config: ExportConfig, origin: str) -> Identity:
    """What this export is, before any record is listed."""
    return Identity(values=config.identity(), origin=origin, version=VERSION)


def check(workspace: Workspace) -> Project:
    """Prove what can be proven before work, cheapest first; writes nothing that stays.

    Raises ConfigError (formats, filter), CredentialsError, PreflightError (project, version) or DestinationError.
    """
    _ = workspace.formats
    project = workspace.source.check()
    _ = workspace.storage
    return project


def check_destination(workspace: Workspace, executor: Executor) -> None:
    """Prove that the destination can be written, by everyone who will write there."""
    storage = workspace.storage
    if workspace.config.run.executor != "serial" and storage.url.startswith("memory://"):
        raise DestinationError(storage.url, "is the memory of one process; use run.executor: serial")
    if executor.shares_nothing and not storage.is_shared:
        raise DestinationError(storage.url, "is a disk of this machine, but the cluster has several; use a storage URL")
    storage.probe()


def make_plan(workspace: Workspace, export: Identity, project: Project, reporter: Reporter) -> Plan:
    """List the target's records, cut them into shards, and freeze that."""
    source = workspace.source
    counted = source.count()
    reporter.begin("plan", counted)
    shards = tuple(source.plan(workspace.config.run.shard_size, reporter.advance))
    reporter.end()
    records = sum(shard.count for shard in shards)
    digest = hashlib.sha256(export.key.encode())
    for shard in shards:
        digest.update(shard.keys)
    warnings = [project.warning] if project.warning else []
    if records != counted:
        warnings.append(f"the API counted {counted} records, listing them gave {records}")
    if source.plan_report.duplicates:
        warnings.append(f"the API listed {source.plan_report.duplicates} rows more than once; each is exported once")
    plan = Plan(
        fingerprint=digest.hexdigest(),
        export=export,
        project_id=project.id,
        project_title=project.title,
        classes=project.classes,
        warnings=tuple(warnings),
        counted=counted,
        records=records,
        shards=shards,
    )
    workspace.staging.write_plan(plan)
    return plan
