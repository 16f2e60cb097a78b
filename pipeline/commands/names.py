"""Names in a configuration become the ids that they mean, before anything else is done with it.

Everything after this sees ids: what is staged, published and compared is the same, whichever way it was written.
"""

import contextlib
import difflib
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.config.export import ExportConfig
from pipeline.errors import ConfigError
from pipeline.synapse.client import SynapseClient
from pipeline.synapse.directory import Directory, Rows

DEFAULT_STORAGE = "default"
"""The word for the storage that the platform calls its default."""

DATASET = "ground_truth_dataset"
VERSION = "ground_truth_dataset_version"

type Connect = Callable[[], SynapseClient]

_PROJECT_WORDS = ("project", "project_id")
_VERSION_WORDS = ("version", "dataset_version")
_SHOWN = 5
_NEAREST = 0.6


def resolve_names(config: ExportConfig, connect: Connect | None = None) -> ExportConfig:
    """Return the configuration with ids in place of names; the same object when it has none, and then nothing is asked.

    ``connect`` returns the client to ask with, which stays open; without it one is made from the environment and
    closed. A project, a ground truth dataset (with a version) and a storage may be named. Digits are an id.

    Raises ConfigError for a name that nothing or more than one thing has, with near misses or the ids, and what
    :class:`pipeline.synapse.directory.Directory` raises.
    """
    return _resolve_filter(resolve_storage(config, connect), connect)


def resolve_storage(config: ExportConfig, connect: Connect | None = None) -> ExportConfig:
    """Return the configuration with the id of its storage, as :func:`resolve_names` does for all names."""
    name = config.storage
    if not isinstance(name, str):
        return config
    with _directory(connect) as directory:
        found = directory.storages()
    if name != DEFAULT_STORAGE:
        return config.model_copy(update={"storage": _only("storage", "storage", name, found, "name", "storages")})
    defaults = [row["id"] for row in found.rows if row.get("is_default") is True and isinstance(row.get("id"), int)]
    if len(defaults) != 1:
        why = f"says so of several ({', '.join(map(str, defaults))})" if defaults else "says so of none that it lists"
        raise ConfigError(
            "storage", f"the API does not tell which storage is the default: it {why}; give the id of one: `storages`"
        )
    return config.model_copy(update={"storage": defaults[0]})


def stand_in_filter(config: ExportConfig) -> dict[str, Any]:
    """Return the filter with a meaningless id in place of each name, to check its other keys without the API."""
    chosen = dict(config.filter)
    if config.target == "ground_truth" and DATASET in chosen:
        words = (DATASET, VERSION, *_VERSION_WORDS)
        return {VERSION: 1, **{key: value for key, value in chosen.items() if key not in words}}
    return {key: 1 if key in _PROJECT_WORDS and _is_name(value) else value for key, value in chosen.items()}


def _resolve_filter(config: ExportConfig, connect: Connect | None) -> ExportConfig:
    chosen = dict(config.filter)
    if config.target == "ground_truth":
        if DATASET not in chosen:
            return config
        with _directory(connect) as directory:
            chosen = _with_version(chosen, directory)
    else:
        key = next((word for word in _PROJECT_WORDS if _is_name(chosen.get(word))), None)
        if key is None:
            return config
        with _directory(connect) as directory:
            chosen[key] = _only(f"filter.{key}", "project", chosen[key], directory.projects(), "title", "projects")
    return config.model_copy(update={"filter": chosen})


def _with_version(chosen: dict[str, Any], directory: Directory) -> dict[str, Any]:
    """The filter with the id of a version in place of a dataset and the version's name."""
    if chosen.get(VERSION) not in (None, ""):
        raise ConfigError(f"filter.{DATASET}", f"{VERSION} says the dataset, too; give one of them")
    dataset = chosen.pop(DATASET)
    where = f"filter.{DATASET}"
    if _is_name(dataset):
        dataset = _only(where, "ground truth dataset", dataset, directory.datasets(None), "name", "ground-truths")
    elif not str(dataset).strip().isdecimal():
        raise ConfigError(where, f"is the id or the name of a dataset, not {dataset!r}")
    chosen.pop(VERSION, None)
    found = directory.versions(int(dataset))
    word = next((word for word in _VERSION_WORDS if word in chosen), None)
    if word is not None:
        name = chosen.pop(word)
        if isinstance(name, float):  # 1.10 would be 1.1
            raise ConfigError(f"filter.{word}", f"write the name of a version in quotes, not as the number {name}")
        what = f"version of ground truth dataset {dataset}"
        return {VERSION: _only(f"filter.{word}", what, str(name), found, "version", f"versions {dataset}"), **chosen}
    rows = [row for row in found.rows if not row.get("is_archived")]
    if len(rows) != 1 or not found.is_complete:
        raise ConfigError(
            where,
            f"dataset {dataset} has {len(rows)} versions: {_told(rows, 'version')}; name one: version: NAME"
            if rows
            else f"dataset {dataset} has no version; make one in Synapse, or choose another dataset: `ground-truths`",
        )
    return {VERSION: rows[0]["id"], **chosen}


@contextlib.contextmanager
def _directory(connect: Connect | None) -> Iterator[Directory]:
    client = connect() if connect else SynapseClient.from_environment()
    try:
        yield Directory(client)
    finally:
        if connect is None:
            client.close()


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not value.strip().isdecimal()


def _only(where: str, what: str, name: str, found: Rows, key: str, command: str) -> int:
    """The id of the one row that is called ``name``; exactly so, or else when case and width do not count."""
    rows = [row for row in found.rows if isinstance(row.get("id"), int) and isinstance(row.get(key), str)]
    exact = [row for row in rows if _tidy(row[key]) == _tidy(name)]
    same = exact or [row for row in rows if _folded(row[key]) == _folded(name)]
    if len(same) > 1:
        raise ConfigError(
            where,
            f"is not unique: {len(same)} have the name {name!r}: {_told(same, key)}; give the id of one",
        )
    if not found.is_complete:
        raise ConfigError(where, f"the server has more than could be listed; give the id of the {what}: `{command}`")
    if not same:
        near = _near(name, rows, key)
        hint = f"did you mean {_told(near, key)}?" if near else f"`{command}` lists what there is"
        raise ConfigError(where, f"no {what} is called {name!r}; {hint}")
    return int(same[0]["id"])


def _near(name: str, rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The rows whose names resemble ``name``, the nearest first, then those that contain it."""
    wanted = _folded(name)
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(_folded(row[key]), []).append(row)
    near = difflib.get_close_matches(wanted, by_name, n=_SHOWN, cutoff=_NEAREST)
    near += [told for told in by_name if wanted in told and told not in near]
    return [row for told in near for row in by_name[told]]


def _told(rows: list[dict[str, Any]], key: str) -> str:
    shown = ", ".join(f"{row['id']} ({row[key]!r})" for row in rows[:_SHOWN])
    return f"{shown}, …" if len(rows) > _SHOWN else shown


def _tidy(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()
