"""A configuration in the making: its values so far, what is missing, and the commented YAML file of it."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.config.commented_yaml import yaml_of, yaml_scalar
from pipeline.config.export import ExportConfig
from pipeline.config.loading import override_values, parse_config
from pipeline.config.yaml_text import read_yaml
from pipeline.errors import ConfigError, StorageError
from pipeline.storage import STAGING, open_storage

SCOPES = {"assignment": "project", "task": "project", "ground_truth": "ground_truth_dataset_version"}
"""The key of ``filter`` that a target cannot do without."""
_OTHER_WORDS = {
    "project": ("project_id",),
    "ground_truth_dataset_version": ("ground_truth_dataset_versions", "version", "dataset_version"),
}
_LONGEST_NAME = 60
_MOST_FILES = 1000


def read_draft(path: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """The values of a configuration that may lack keys. Raises ConfigError for what is no mapping in YAML.

    Values are not checked here: :func:`pipeline.config.load_config` does that when nothing is missing.
    """
    values: Any = {}
    if path is not None:
        try:
            values = read_yaml(Path(path).read_text(), path)[0] or {}
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ConfigError(path, f"cannot read the file: {reason}") from error
    if not isinstance(values, dict):
        raise ConfigError(str(path), "must be a mapping of keys to values")
    override_values(values, overrides)
    return values


def missing_keys(values: Mapping[str, Any]) -> list[str]:
    """The required keys that ``values`` lacks, in the order in which they are best asked for."""
    missing = [] if values.get("target") else ["target"]
    scope = SCOPES.get(str(values.get("target")))
    if scope is not None and not has_scope(values):
        missing.append(f"filter.{scope}")
    elif scope is None and not values.get("filter"):
        missing.append("filter")
    if not (values.get("formats") or values.get("format")):
        missing.append("formats")
    return missing + [key for key in ("name", "path") if not values.get(key)]


def has_scope(values: Mapping[str, Any]) -> bool:
    """Whether the filter names the project or the version that the target is exported from."""
    given = values.get("filter")
    scope = SCOPES.get(str(values.get("target")), "")
    return isinstance(given, Mapping) and any(given.get(word) for word in (scope, *_OTHER_WORDS.get(scope, ())))


def name_from(title: str) -> str:
    """A name for an export of what is called ``title``: letters and digits of any script, joined by hyphens."""
    joined = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", title).casefold()).strip("-")
    return joined[:_LONGEST_NAME].strip("-") or "export"


def checked(values: Mapping[str, Any]) -> ExportConfig:
    """The configuration that ``values`` make. Raises ConfigError for what is wrong with them."""
    return parse_config(yaml_of(values, {}), source="the answers")


def save_new(name: str, text: str) -> Path:
    """Write ``text`` to ``name.yaml`` in the current folder, or to ``name-2.yaml`` … when that is there.

    The file appears whole or not at all, and no file is replaced. Raises DestinationError or StorageError.
    """
    with closing(open_storage(str(Path.cwd()))) as storage:
        try:
            for number in range(1, _MOST_FILES):
                file = f"{name}.yaml" if number == 1 else f"{name}-{number}.yaml"
                if storage.create_new(file, text.encode()):
                    return Path(file)
        finally:
            storage.delete([f"{STAGING}/side-file"])  # is never there, but its folder is: a disk is written through it
    raise StorageError(f"{name}.yaml", "is there, as are all names like it; move some away")


def overrides_of(values: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """``KEY=VALUE`` for ``--set``, of each of the ``keys``."""

    def value(key: str) -> Any:
        found: Any = values
        for part in key.split("."):
            found = found[part]
        return found

    return [f"{key}={yaml_scalar(value(key))}" for key in keys]
