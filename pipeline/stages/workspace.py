"""What a process needs to work on an export, built once per process from plain data.

Only :class:`Settings` crosses a process border. Clients, sessions and credentials are made in the process that
uses them, from its own environment, so that no secret is ever an argument of a task.
"""

import os
import sys
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pipeline.config.export import ExportConfig, expand_variables
from pipeline.config.split_file import SplitFile
from pipeline.errors import ConfigError
from pipeline.executors.memory import give_back_memory
from pipeline.formats import BaseFormat, load_formats
from pipeline.staging.area import Staging
from pipeline.storage import Storage, open_access, open_storage
from pipeline.synapse.client import SynapseClient
from pipeline.synapse.source import Source


class Settings(msgspec.Struct, frozen=True):
    """The configuration (``${VAR}`` references of ``storage_options`` unexpanded), as JSON values.

    ``key`` names the staging area, ``requests`` bounds a process's requests in flight at each host, ``search_path`` is
    a folder with the user's own formats (where the configuration file is).
    """

    config: dict[str, Any]
    key: str = ""
    requests: int = 32
    search_path: str = ""


class Workspace:
    """Storage, source and formats of one export, in this process. Everything is opened when first used."""

    def __init__(self, settings: Settings) -> None:
        give_back_memory()
        self.settings = settings
        self.config = ExportConfig.model_validate(settings.config)
        if settings.search_path and settings.search_path not in sys.path:
            sys.path.append(settings.search_path)

    @cached_property
    def client(self) -> SynapseClient:
        """The connection to the API. Raises CredentialsError when this process has no token."""
        hosts = (*self.config.run.file_hosts, *_storage_hosts(self.config))
        return SynapseClient.from_environment(requests=self.settings.requests, file_hosts=hosts)

    @cached_property
    def source(self) -> Source:
        """The records to export."""
        config = self.config
        return Source(
            self.client, config.target, config.filter, page_size=config.run.page_size, split_key=config.split.key
        )

    @cached_property
    def storage(self) -> Storage:
        """The destination. Raises DestinationError or ConfigError when it cannot be opened."""
        config = self.config
        if config.storage is not None:
            grant = partial(self.client.open_storage, config.storage, config.path)
            return open_access(grant(), grant)
        return open_storage(config.path, expand_variables(config.storage_options, "storage_options"))

    @cached_property
    def formats(self) -> tuple[BaseFormat, ...]:
        """The requested formats, with their options. Raises ConfigError."""
        formats = load_formats((entry.name, entry.options) for entry in self.config.formats)
        if not self.config.save_original_file:
            for format_ in formats:
                if format_.needs_originals:
                    raise ConfigError("formats", f"{format_.name} holds the images, so save_original_file must be true")
        return formats

    @cached_property
    def staging(self) -> Staging:
        """The staging area of this export."""
        return Staging(self.storage, self.settings.key)

    @cached_property
    def split_file(self) -> SplitFile | None:
        """What ``split.file`` says, as it was when the plan was made; None without one."""
        return self.staging.read_split_file() if self.config.split.by == "file" else None

    @property
    def needs_payload(self) -> bool:
        """Whether any format asks for the documents themselves."""
        return any(format_.needs_payload for format_ in self.formats)

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


_current: Workspace | None = None


def open_workspace(settings: Settings) -> Workspace:
    """The workspace of this process for ``settings``: the one it has, or a new one in its place."""
    global _current  # noqa: PLW0603  one connection pool per process is the purpose
    if _current is None or _current.settings != settings:
        close_workspace()
        _current = Workspace(settings)
    return _current


def close_workspace() -> None:
    """Close the workspace of this process; the next :func:`open_workspace` makes a new one."""
    global _current  # noqa: PLW0603  see above
    if _current is not None:
        _current.close()
        _current = None
