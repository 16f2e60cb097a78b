"""A session: one configuration, opened and checked, with what every command that works on an export needs."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.commands.names import resolve_names
from pipeline.config.class_lock import LOCK
from pipeline.config.export import ExportConfig
from pipeline.destination import metadata
from pipeline.destination.existing import Success, read_success
from pipeline.destination.lock import hold_lock
from pipeline.errors import DestinationError, DuplicatesError, PreflightError
from pipeline.model.source import Project
from pipeline.progress import Listener, Reporter, Silence
from pipeline.stages.patch import read_patch
from pipeline.stages.preflight import check, settle_paths
from pipeline.stages.sequence import tidy_up, update_class_lock
from pipeline.stages.workspace import Settings, Workspace, Workspaces
from pipeline.storage import STAGING


class Result(msgspec.Struct, frozen=True):
    """How a run ended: its verdict, the content of ``export_summary.json``, and where the export is.

    ``already_finished`` says that the export was complete before, so that nothing was left to do.
    """

    success: Success
    summary: dict[str, Any]
    url: str
    already_finished: bool = False


@dataclass(frozen=True)
class Session:
    """One command at work on an export.

    ``workspace`` is this process's, with everything open; ``project`` is where the records come from.
    """

    workspace: Workspace
    project: Project
    reporter: Reporter
    run_id: str

    @property
    def config(self) -> ExportConfig:
        """The configuration, with a local path made absolute."""
        return self.workspace.config

    def result(self, success: Success, *, already_finished: bool = False) -> Result:
        """What a command returns of the export that is there."""
        summary = msgspec.json.decode(self.workspace.storage.find(metadata.SUMMARY) or b"{}")
        return Result(success, summary, self.workspace.storage.url, already_finished)

    def finished(self) -> Result:
        """The result of an export that is complete already, after tidying up what a killed run left behind it.

        Raises DuplicatesError for one with leaks that ``duplicates: fail`` does not allow.
        """
        workspace = self.workspace
        success = read_success(workspace.storage)
        if success is None:
            raise PreflightError(workspace.storage.url, "the export that was there has just been removed")
        kept = workspace.config.run.keep_staging or success.ledger.failed_records
        if read_patch(workspace.staging) or (not kept and workspace.storage.entries(STAGING)):
            # When another run holds the path, that one tidies up itself.
            with contextlib.suppress(DestinationError), hold_lock(workspace.storage, self.run_id):
                tidy_up(workspace, success)
        if (document := workspace.storage.find(LOCK)) is not None:
            update_class_lock(workspace, document, self.reporter, again=True)
        result = self.result(success, already_finished=True)
        leaks = result.summary.get("duplicates", {}).get("across_splits", 0)
        if leaks and workspace.config.duplicates == "fail":
            raise DuplicatesError(
                f"{result.url} is published with {leaks} originals in more than one split; {metadata.DUPLICATES} lists "
                "them, and duplicates: same_split with on_existing: overwrite keeps copies together"
            )
        return result


@contextlib.contextmanager
def open_session(config: ExportConfig, *, listener: Listener | None = None, search_path: str = "") -> Iterator[Session]:
    """Open what ``config`` describes and check it; close all of it at the end.

    ``listener`` is told of progress; ``search_path`` is a folder with the user's own formats, by default that of the
    configuration file. Sessions share nothing, so several may be open at once, each in a thread of its own.

    Raises ConfigError, CredentialsError, PreflightError or DestinationError.
    """
    reporter = Reporter(listener or Silence())
    try:
        reporter.step("asking Synapse for the project")
        config = resolve_names(settle_paths(config))
        values = config.model_dump(mode="json")
        settings = Settings(values, requests=config.run.requests, search_path=search_path or config.folder)
        with Workspaces().in_use() as workspaces:
            workspace = workspaces.open(settings)
            yield Session(workspace, check(workspace), reporter, uuid.uuid4().hex[:12])
    finally:
        reporter.close()
