"""What the member of the token can choose from, by name: the lists of the discovery commands.

Host and token are found as a run finds them. Nothing is written, and no record is read.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from pipeline.commands.names import resolve_names
from pipeline.config.export import ExportConfig
from pipeline.errors import ConfigError
from pipeline.model.labels import classes_by_tool, configured_classes, configured_points
from pipeline.model.skeletons import Skeleton, derive_skeletons
from pipeline.stages.workspace import Settings, Workspace
from pipeline.synapse.client import SynapseClient
from pipeline.synapse.directory import Directory, Rows
from pipeline.synapse.http.tries import RequestLimits

LIMITS = RequestLimits(attempt=60.0, largest_body=16 * 2**20)
"""Bounds of the requests of a person who waits for a list."""


class Found[T](msgspec.Struct, frozen=True):
    """Rows of a list in the server's order. ``is_complete`` is False when the server has more, or rows without an id.

    Names are the server's own words: whoever shows them takes care of what is in them.
    """

    rows: tuple[T, ...]
    is_complete: bool


class ProjectRow(msgspec.Struct, frozen=True):
    """A project. ``tasks`` and ``is_archived`` are None where the server does not say them (the v1 API)."""

    id: int
    title: str
    category: str
    tasks: int | None
    is_archived: bool | None
    created: str


class DatasetRow(msgspec.Struct, frozen=True):
    """A ground truth dataset."""

    id: int
    name: str


class VersionRow(msgspec.Struct, frozen=True):
    """A version of a ground truth dataset; its ``id`` is what a filter asks for as ``ground_truth_dataset_version``."""

    id: int
    version: str
    is_archived: bool | None
    created: str
    description: str


class StorageRow(msgspec.Struct, frozen=True):
    """A storage of Synapse; its ``id`` is the configuration's ``storage``."""

    id: int
    name: str
    provider: str
    category: str
    is_default: bool | None


class TagRow(msgspec.Struct, frozen=True):
    """A tag of tasks; filters take its ``id``."""

    id: int
    name: str


class ClassRow(msgspec.Struct, frozen=True):
    """A class, and the tools that a project's configuration gives it."""

    name: str
    tools: tuple[str, ...]


class ProjectClasses(msgspec.Struct, frozen=True):
    """The classes of a project in their official order, and the skeletons that its keypoints make."""

    id: int
    title: str
    classes: tuple[ClassRow, ...]
    skeletons: tuple[Skeleton, ...]


@contextmanager
def _directory() -> Iterator[Directory]:
    client = SynapseClient.from_environment(limits=LIMITS)
    try:
        yield Directory(client)
    finally:
        client.close()


def list_projects(search: str = "") -> Found[ProjectRow]:
    """The projects whose title holds ``search`` (in any case), or whose id it is; without it all of them.

    Raises, as all lists here do, CredentialsError, PreflightError, TransientError or BackendError.
    """
    with _directory() as directory:
        found = directory.projects()

    def row(number: int, told: Mapping[str, Any]) -> ProjectRow:
        return ProjectRow(
            id=number,
            title=_text(told.get("title")),
            category=_text(told.get("category")),
            tasks=_number(told.get("task_count")),
            is_archived=_truth(told.get("is_archived")),
            created=_text(told.get("created")),
        )

    every = _found(found, row)
    kept = (one for one in every.rows if matches(search, one.title, one.id))
    return Found(tuple(kept), every.is_complete)


def list_ground_truths(project: int | None) -> Found[DatasetRow]:
    """The ground truth datasets of a project, or of all projects."""
    with _directory() as directory:
        return _found(directory.datasets(project), lambda number, told: DatasetRow(number, _text(told.get("name"))))


def list_versions(dataset: int) -> Found[VersionRow]:
    """The versions of a ground truth dataset."""

    def row(number: int, told: Mapping[str, Any]) -> VersionRow:
        return VersionRow(
            id=number,
            version=_text(told.get("version")),
            is_archived=_truth(told.get("is_archived")),
            created=_text(told.get("created")),
            description=_text(told.get("description")),
        )

    with _directory() as directory:
        return _found(directory.versions(dataset), row)


def list_storages() -> Found[StorageRow]:
    """The storages of the tenant. Their credentials are not asked for."""

    def row(number: int, told: Mapping[str, Any]) -> StorageRow:
        return StorageRow(
            id=number,
            name=_text(told.get("name")),
            provider=_text(told.get("provider")),
            category=_text(told.get("category")),
            is_default=_truth(told.get("is_default")),
        )

    with _directory() as directory:
        return _found(directory.storages(), row)


def list_tags(project: int) -> Found[TagRow]:
    """The tags of a project's tasks."""
    with _directory() as directory:
        return _found(directory.tags(project), lambda number, told: TagRow(number, _text(told.get("name"))))


def list_classes(project: int) -> ProjectClasses:
    """The classes that a project's configuration names, with their tools, and the skeletons of its keypoints."""
    client = SynapseClient.from_environment(limits=LIMITS)
    try:
        told = client.project(project)
    finally:
        client.close()
    configuration = told.get("configuration")
    tools = classes_by_tool(configuration)
    rows = (
        ClassRow(name, tuple(tool for tool, names in tools.items() if name in names))
        for name in configured_classes(configuration)
    )
    skeletons = derive_skeletons(configured_points(configuration), {})
    return ProjectClasses(project, _text(told.get("title")), tuple(rows), skeletons)


def project_of(config: ExportConfig) -> int:
    """The project that a configuration exports from; for ground truth the server is asked for it.

    Raises ConfigError when it has none, and what :func:`list_projects` raises.
    """
    config = resolve_names(config)
    workspace = Workspace(Settings(config.model_dump(mode="json"), search_path=config.folder))
    try:
        number = workspace.source.project_id
        number = workspace.source.check().id if number is None else number
    finally:
        workspace.close()
    if number is None:
        raise ConfigError("filter", "names a version whose project is not known; give PROJECT")
    return number


def _found[T](found: Rows, make: Callable[[int, Mapping[str, Any]], T]) -> Found[T]:
    numbered = [(_number(told.get("id")), told) for told in found.rows]
    # Nothing can be asked for without an id.
    rows = tuple(make(number, told) for number, told in numbered if number is not None)
    return Found(rows, found.is_complete and len(rows) == len(found.rows))


def matches(search: str, name: str, number: int | None = None) -> bool:
    """Whether what is called ``name`` is found by ``search``: a part of the name in any case, or the id itself."""
    wanted = _folded(search.strip())
    return wanted in _folded(name) or wanted == str(number)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
