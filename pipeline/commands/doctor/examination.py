"""What the checks look at: a configuration, and the workspace that a run would open for it, opened when needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from pipeline.config.export import ExportConfig
from pipeline.config.loading import load_config
from pipeline.config.sections import RunConfig
from pipeline.errors import ConfigError, ExportError

if TYPE_CHECKING:
    from pipeline.executors.base import Executor
    from pipeline.stages.workspace import Workspace
    from pipeline.synapse.client import SynapseClient

_OWN_MACHINE = (None, "", "local")


class Terminal(msgspec.Struct, frozen=True):
    """What the command line prints to: whether it is a terminal, its kind (``TERM``), columns and encoding."""

    is_terminal: bool = False
    kind: str = ""
    width: int = 80
    encoding: str = "utf-8"


class Examination:
    """One configuration (or none, ``path`` is None) with its overrides, and what is opened of it.

    Nothing of the Synapse SDK is imported before ``client`` or ``workspace`` is asked for.
    """

    def __init__(self, path: str | None, overrides: tuple[str, ...] = (), terminal: Terminal | None = None) -> None:
        self.path = path
        self.terminal = terminal or Terminal()
        self._overrides = overrides
        self._executor: Executor | None = None
        self._opened: list[Workspace] = []

    @cached_property
    def config(self) -> ExportConfig:
        """The configuration. Raises ConfigError."""
        from pipeline.stages.preflight import settle_paths  # noqa: PLC0415  imports the SDK

        if self.path is None:
            raise ConfigError("CONFIG", "no configuration was given")
        return settle_paths(load_config(self.path, self._overrides))

    @cached_property
    def usable(self) -> ExportConfig | None:
        """The configuration where there is one and it is right; what is wrong with it is a check of its own."""
        try:
            return None if self.path is None else self.config
        except (ConfigError, ImportError):  # without the SDK nothing is read of it
            return None

    @cached_property
    def workspace(self) -> "Workspace":
        """What a run would open, with the names as they are. Raises ConfigError."""
        return self._open(self.config)

    @cached_property
    def resolved(self) -> "Workspace":
        """The same with ids in place of all names. Raises ConfigError, and what lists of the API raise."""
        from pipeline.commands.names import resolve_names  # noqa: PLC0415  imports the SDK

        return self._open(resolve_names(self.config, lambda: self.client))

    @cached_property
    def destination(self) -> "Workspace":
        """The same with the id of the storage in place of its name; a project that is not found is no matter here."""
        from pipeline.commands.names import resolve_storage  # noqa: PLC0415  imports the SDK

        return self._open(resolve_storage(self.config, lambda: self.client))

    def _open(self, config: ExportConfig) -> "Workspace":
        from pipeline.stages.workspace import Settings, Workspace  # noqa: PLC0415  imports the SDK

        if config is self.config and "workspace" in self.__dict__:
            return self.workspace
        values = config.model_dump(mode="json")
        opened = Workspace(Settings(values, requests=config.run.requests, search_path=config.folder))
        self._opened.append(opened)
        return opened

    @cached_property
    def client(self) -> "SynapseClient":
        """The client that a run would use, or without a usable configuration one with its credentials."""
        from pipeline.synapse.client import SynapseClient  # noqa: PLC0415  imports the SDK

        return self.workspace.client if self.usable else SynapseClient.from_environment()

    @cached_property
    def refusal(self) -> ExportError | None:
        """What the API says against the cheapest question there is, or None when it answers it."""
        try:
            self.client.answer("agents", "agents/")
        except ExportError as problem:
            return problem
        return None

    @property
    def executor(self) -> str:
        """``run.executor``, or ``""`` without a usable configuration."""
        return self.usable.run.executor if self.usable else ""

    @property
    def cluster(self) -> str:
        """The address of the Ray cluster that a run would join, or ``""`` where it would work on this machine."""
        if self.executor not in ("", "auto", "ray"):
            return ""
        own = self.usable.run.address if self.usable else None
        address = own or os.environ.get("RAY_ADDRESS")
        return "" if address in _OWN_MACHINE else str(address)

    def open_executor(self) -> "Executor":
        """The cluster, joined as a run joins it. Raises PreflightError or ConfigError."""
        if self._executor is None:
            from pipeline.executors.ray import RayExecutor  # noqa: PLC0415  imports Ray

            run = self.usable.run if self.usable else RunConfig()
            self._executor = RayExecutor(self.cluster, run.workers, run.memory_mb, run.shard_timeout)
        return self._executor

    def command(self, *words: str) -> str:
        """A command of this program for this configuration."""
        return " ".join(("synapse-export", *words))

    def close(self) -> None:
        """Close what was opened."""
        if self._executor is not None:
            self._executor.close()
        for opened in self._opened:
            opened.close()
        if not self._opened and "client" in self.__dict__:
            self.client.close()


@contextmanager
def examination(
    path: str | None, overrides: tuple[str, ...] = (), terminal: Terminal | None = None
) -> Iterator[Examination]:
    """An examination, closed at the end."""
    found = Examination(path, overrides, terminal)
    try:
        yield found
    finally:
        found.close()
