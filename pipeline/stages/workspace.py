"""What a process needs to work on an export, built from plain data.

Only :class:`Settings` crosses a process border. Clients, sessions and credentials are made in the process that uses
them, from its own environment, so that no secret is ever an argument of a task.

A run owns its workspaces (:class:`Workspaces`): two runs in two threads share nothing, and the end of one does not
touch the other. Tasks ask :func:`open_workspace`, which finds those of the run that the thread works for or, in a
worker process, those of the process.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Self, overload, override
from urllib.parse import urlsplit

import msgspec

from pipeline.config.export import ExportConfig
from pipeline.config.split_file import SplitFile
from pipeline.config.variables import expand_variables
from pipeline.errors import ConfigError
from pipeline.executors.memory import give_back_memory
from pipeline.formats import BaseFormat, load_formats
from pipeline.formats.foreign import find_beside
from pipeline.staging.area import Staging
from pipeline.staging.markers import Identity
from pipeline.storage import Storage, open_access, open_storage
from pipeline.synapse.client import SynapseClient
from pipeline.synapse.limits import DEFAULT_LIMITS
from pipeline.synapse.source import Source
from pipeline.version import __version__

VERSION = __version__


class Settings(msgspec.Struct, frozen=True):
    """What crosses a process border.

    ``config`` is the configuration as JSON values, in which ``${VAR}`` of ``storage_options`` stays unexpanded.
    ``requests`` bounds a process's requests in flight at each host; ``search_path`` is the folder of the configuration
    file, where the user's own formats are looked for.
    """

    config: dict[str, Any]
    requests: int = 32
    search_path: str = ""


class TaskContext(msgspec.Struct, frozen=True):
    """What all tasks of a stage share. ``fingerprint`` is the plan's.

    A ``careful`` task processes its shard one record at a time (:mod:`pipeline.stages.one_by_one`).
    """

    settings: Settings
    fingerprint: str
    careful: bool = False

    def carefully(self) -> "TaskContext":
        """The same context for careful tasks."""
        return msgspec.structs.replace(self, careful=True)


class opened_once[T](cached_property[T]):  # noqa: N801  a decorator, like cached_property
    """A property of a :class:`Workspace` that is opened when it is first used, once, whichever thread asks first."""

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    @override
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Self | T:
        if instance is None:
            return self
        with instance.opening:
            value: T = super().__get__(instance, owner)
            return value


class Workspace:
    """Storage, source and formats of one export, in this process. Each is opened when it is first used.

    A thread holds ``opening`` while it opens one of them, ``rendering`` while it calls formats (those of users may keep
    something between two samples), and ``staging_large`` while it stages more than it may keep in memory.
    """

    def __init__(self, settings: Settings) -> None:
        give_back_memory()
        self.settings = settings
        self.opening = threading.RLock()
        self.rendering = threading.Lock()
        self.staging_large = threading.Lock()
        self.config = ExportConfig.model_validate(settings.config)
        find_beside(settings.search_path)

    @opened_once
    def identity(self) -> Identity:
        """What makes two runs the same export. Raises CredentialsError when this process has no token."""
        return Identity(values=self.config.identity(), origin=self.client.origin, version=VERSION)

    @opened_once
    def client(self) -> SynapseClient:
        """The connection to the API. Raises CredentialsError when this process has no token."""
        hosts = (*self.config.run.file_hosts, *_storage_hosts(self.config))
        return SynapseClient.from_environment(requests=self.settings.requests, file_hosts=hosts)

    @opened_once
    def source(self) -> Source:
        """The records to export."""
        config = self.config
        return Source(
            self.client,
            config.target,
            config.filter,
            page_size=config.run.page_size,
            split_key=config.split.key,
            limits=replace(DEFAULT_LIMITS, largest_original=config.run.largest_original_mb * 2**20),
        )

    @opened_once
    def storage(self) -> Storage:
        """The destination. Raises DestinationError or ConfigError when it cannot be opened."""
        config = self.config
        if isinstance(config.storage, str):
            raise ConfigError("storage", f"{config.storage!r} is a name, and only ids reach a worker; give the id")
        if config.storage is not None:
            grant = partial(self.client.open_storage, config.storage, config.path)
            return open_access(grant(), grant)
        return open_storage(config.path, expand_variables(config.storage_options, "storage_options"))

    @opened_once
    def formats(self) -> tuple[BaseFormat, ...]:
        """The requested formats, with their options. Raises ConfigError."""
        formats = load_formats((entry.name, entry.options) for entry in self.config.formats)
        if not self.config.save_original_file:
            for format_ in formats:
                if format_.needs_originals:
                    raise ConfigError("formats", f"{format_.name} holds the images, so save_original_file must be true")
        return formats

    @opened_once
    def staging(self) -> Staging:
        """The staging area of this export."""
        return Staging(self.storage, self.identity.key)

    @opened_once
    def split_file(self) -> SplitFile | None:
        """What ``split.file`` says, as it was when the plan was made; None without one."""
        return self.staging.read_split_file() if self.config.split.by == "file" else None

    @property
    def needs_payload(self) -> bool:
        """Whether any format asks for the documents themselves."""
        return any(format_.needs_payload for format_ in self.formats)

    def interrupt(self) -> None:
        """Make threads return that wait for the API; they get a CancelledError."""
        if "client" in self.__dict__:
            self.client.interrupt()

    def close(self) -> None:
        """Close the connections, if there are any."""
        if "storage" in self.__dict__:
            self.storage.close()
        if "client" in self.__dict__:
            self.client.close()


def _storage_hosts(config: ExportConfig) -> list[str]:
    """The host of the destination, where its options name one: files may be kept there too."""
    options = config.storage_options
    inner = options.get("client_kwargs")
    endpoints = [options.get("endpoint_url"), inner.get("endpoint_url") if isinstance(inner, dict) else None]
    # What s3fs goes by when the options name none (docs.aws.amazon.com/sdkref, "service-specific endpoints").
    endpoints += [os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")]
    addresses = [expand_variables(text, "storage_options.endpoint_url") for text in endpoints if isinstance(text, str)]
    return [host for address in addresses if (host := urlsplit(address).hostname)]


class Workspaces:
    """The workspaces of one run, or of a worker process, by their settings. Closing them closes all connections.

    A worker process works for one run at a time and keeps the workspace of that one only (``most=1``).
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._open: dict[str, Workspace] = {}
        self._opening = threading.Lock()

    def open(self, settings: Settings) -> Workspace:
        """The workspace for ``settings``: the one that is open, or a new one."""
        key = hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest()
        with self._opening:
            if key not in self._open:
                if len(self._open) == self._most:
                    self.close()
                self._open[key] = Workspace(settings)
            return self._open[key]

    def close(self) -> None:
        """Close every workspace. A later :meth:`open` makes a new one."""
        while self._open:
            self._open.popitem()[1].close()

    @contextmanager
    def in_use(self) -> Iterator[Self]:
        """Let tasks that run in this thread find these workspaces; close them at the end."""
        token = _of_run.set(self)
        try:
            yield self
        finally:
            _of_run.reset(token)
            self.close()


_of_run: ContextVar[Workspaces | None] = ContextVar("workspaces of the run", default=None)
_of_process = Workspaces(most=1)


def open_workspace(settings: Settings) -> Workspace:
    """The workspace for a task: of the run that this thread works for, else of this worker process."""
    return (_of_run.get() or _of_process).open(settings)
