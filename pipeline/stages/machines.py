"""What must hold on every machine before work starts there, proven by a small task on each of them.

A cluster that lacks something on one machine would otherwise say so in the middle of the work, or not at all: files
on a disk that only one machine sees are lost without an error.
"""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import msgspec

from pipeline import __version__
from pipeline.config.export import ExportConfig
from pipeline.errors import ConfigError, DestinationError, ExportError, PreflightError
from pipeline.executors.base import Executor
from pipeline.stages.workspace import Settings, Workspace, open_workspace
from pipeline.storage import TEMPORARY, Storage

_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_PROBES = f"{TEMPORARY}/probe"


class Proof(msgspec.Struct, frozen=True):
    """What every machine is asked: to see the driver's probe, and to put an answer of its own beside it."""

    settings: Settings
    probe: str


class Answer(msgspec.Struct, frozen=True):
    """What a machine has: the version of this package, the API it would ask, whether it sees the driver's probe."""

    version: str
    origin: str
    sees_probe: bool


def submitted_job() -> str:
    """The id of the submitted Ray job this process is the driver of, or nothing."""
    try:
        told: Any = json.loads(os.environ.get(_JOB_VARIABLE, "{}"))
    except ValueError:
        return ""
    metadata = told.get("metadata") if isinstance(told, dict) else None
    return str(metadata.get("job_submission_id", "")) if isinstance(metadata, dict) else ""


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
    """Raise ConfigError for what a job would write into its own folder: that is a copy, which Ray removes."""
    written = {"path": config.path if config.storage is None else "", "classes.lock": config.classes.lock or ""}
    for key, path in written.items():
        if path and "://" not in path and not Path(path).expanduser().is_absolute():
            raise ConfigError(
                key, f"{path!r} is relative, and a job's folder is a copy that is removed; write it in full or as a URL"
            )


def check_machines(workspace: Workspace, executor: Executor) -> None:
    """Prove that every machine can run this package, asks the same API, and sees what the others write.

    Raises PreflightError, or DestinationError for a disk that not all machines share; both name the machine.
    """
    storage = workspace.storage
    probe = f"{_PROBES}/{uuid.uuid4().hex}"
    try:
        storage.write(f"{probe}/driver", b"probe", durable=True)
        for number, (machine, answer) in enumerate(executor.everywhere(prove, Proof(workspace.settings, probe))):
            _check(machine, answer, workspace.client.origin, storage)
            if not storage.find(f"{probe}/{number}"):
                raise _not_shared(storage, f"the driver does not see what {machine} wrote there")
    finally:
        storage.delete([path for path, _ in storage.files(probe)])


def prove(proof: Proof, number: int) -> Answer:
    """Runs on the machine: opens all that work will need, and leaves an answer where the driver's probe is seen."""
    workspace = open_workspace(proof.settings)
    _ = workspace.formats
    sees_probe = workspace.storage.find(f"{proof.probe}/driver") == b"probe"
    if sees_probe:
        workspace.storage.write(f"{proof.probe}/{number}", b"answer", durable=True)
    return Answer(__version__, workspace.client.origin, sees_probe)


def _check(machine: str, answer: Answer | ExportError, origin: str, storage: Storage) -> None:
    if isinstance(answer, ExportError):
        raise PreflightError(machine, str(answer)) from answer
    if answer.version != __version__:
        raise PreflightError(
            machine, f"has synapse-export {answer.version}, the driver {__version__}; install one of them"
        )
    if answer.origin != origin:
        raise PreflightError(
            machine, f"would ask {answer.origin}, the driver {origin}; SYNAPSE_HOST must be the same everywhere"
        )
    if not answer.sees_probe:
        raise _not_shared(storage, f"{machine} does not see what the driver wrote there")


def _not_shared(storage: Storage, why: str) -> DestinationError:
    return DestinationError(
        storage.url,
        f"is not one place for all machines: {why}; use a storage URL, a Synapse storage, or a file system that is "
        "mounted at the same path everywhere",
    )
