"""Preflight: everything that can be checked before work starts, cheapest first.

A cluster that lacks something on one machine would otherwise report it in the middle of the work, or not at all: files
on a disk that only one machine sees are lost without an error. So each machine runs a small task first.
"""

import uuid
from pathlib import Path

import msgspec

from pipeline.config.export import ExportConfig
from pipeline.errors import ConfigError, DestinationError, EmptySelectionError, ExportError, PreflightError
from pipeline.executors.base import Executor
from pipeline.executors.ray_job import submitted_job
from pipeline.model.source import Project
from pipeline.stages.workspace import Settings, Workspace, open_workspace
from pipeline.storage import TEMPORARY, Storage
from pipeline.version import __version__

_PROBES = f"{TEMPORARY}/probe"


class MachineCheck(msgspec.Struct, frozen=True):
    """What each machine is asked to do: find the driver's probe, and write an answer of its own beside it."""

    settings: Settings
    probe: str


class MachineReport(msgspec.Struct, frozen=True):
    """What a machine has: the version of this package, the API it would ask, and whether it sees the driver's probe."""

    version: str
    origin: str
    sees_probe: bool


def settle_paths(config: ExportConfig) -> ExportConfig:
    """The configuration with a local ``path`` that means the same folder in every process of this export.

    Raises ConfigError in a submitted job, as :func:`check_job_paths` does.
    """
    if submitted_job():
        check_job_paths(config)
    if config.storage is not None or "://" in config.path:
        return config
    return config.model_copy(update={"path": str(Path(config.path).expanduser().absolute())})


def check_job_paths(config: ExportConfig) -> None:
    """Raise ConfigError for a path that a job would write into its own folder, because Ray removes that copy."""
    written = {"path": config.path if config.storage is None else "", "classes.lock": config.classes.lock or ""}
    for key, path in written.items():
        if path and "://" not in path and not Path(path).expanduser().is_absolute():
            raise ConfigError(
                key, f"{path!r} is relative, and a job's folder is a copy that is removed; write it in full or as a URL"
            )


def check(workspace: Workspace) -> Project:
    """Check what can be checked without work, cheapest first, and return the project. Writes nothing.

    Raises ConfigError (formats, filter), CredentialsError, PreflightError (project, version) or DestinationError.
    """
    _ = workspace.formats
    project = workspace.source.check()
    _ = workspace.storage
    return project


def check_selection(config: ExportConfig, records: int) -> None:
    """Raise EmptySelectionError for no ``records``, unless ``allow_empty`` says that this may be.

    A filter that has become wrong is noticed by that, before an empty export takes the place of a good one.
    """
    if not records and not config.allow_empty:
        raise EmptySelectionError(
            "filter",
            "matches no record: nothing was exported; correct the filter, or set allow_empty: true "
            "where an export without records is right",
        )


def check_place(workspace: Workspace) -> None:
    """Check what is known of the destination without writing there. Raises DestinationError."""
    storage = workspace.storage
    if workspace.config.run.executor not in ("auto", "serial") and storage.url.startswith("memory://"):
        raise DestinationError(storage.url, "is the memory of one process; use run.executor: serial")
    storage.check_writable()


def check_destination(workspace: Workspace) -> None:
    """Check that this process can write to the destination. Raises DestinationError."""
    check_place(workspace)
    workspace.storage.probe()


def check_machines(workspace: Workspace, executor: Executor) -> None:
    """Check that every machine of a cluster can run this package, asks the same API, and sees what the others write.

    Raises PreflightError, or DestinationError for a disk that not all machines share; both name the machine.
    """
    if not executor.has_machines:
        return
    storage = workspace.storage
    probe = f"{_PROBES}/{uuid.uuid4().hex}"
    asked = MachineCheck(workspace.settings, probe)
    try:
        storage.write(f"{probe}/driver", b"probe", durable=True)
        for number, (machine, report) in enumerate(executor.run_on_machines(check_this_machine, asked)):
            _judge(machine, report, workspace.client.origin, storage)
            if not storage.find(f"{probe}/{number}"):
                raise _not_shared(storage, f"the driver does not see what {machine} wrote there")
    finally:
        storage.delete([path for path, _ in storage.files(probe)])


def check_this_machine(asked: MachineCheck, number: int) -> MachineReport:
    """Open, on a machine of the cluster, all that work will need; if the driver's probe is seen, answer beside it."""
    workspace = open_workspace(asked.settings)
    _ = workspace.formats
    sees_probe = workspace.storage.find(f"{asked.probe}/driver") == b"probe"
    if sees_probe:
        workspace.storage.write(f"{asked.probe}/{number}", b"answer", durable=True)
    return MachineReport(__version__, workspace.client.origin, sees_probe)


def _judge(machine: str, report: MachineReport | ExportError, origin: str, storage: Storage) -> None:
    if isinstance(report, ExportError):
        raise PreflightError(machine, str(report)) from report
    if report.version != __version__:
        raise PreflightError(
            machine, f"has synapse-export {report.version}, the driver {__version__}; install one of them"
        )
    if report.origin != origin:
        raise PreflightError(
            machine, f"would ask {report.origin}, the driver {origin}; SYNAPSE_HOST must be the same everywhere"
        )
    if not report.sees_probe:
        raise _not_shared(storage, f"{machine} does not see what the driver wrote there")


def _not_shared(storage: Storage, why: str) -> DestinationError:
    return DestinationError(
        storage.url,
        f"is not one place for all machines: {why}; use a storage URL, a Synapse storage, or a file system that is "
        "mounted at the same path everywhere",
    )
