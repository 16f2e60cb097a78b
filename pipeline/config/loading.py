"""Load a configuration: YAML with the line of every key, ``--set`` overrides, and errors that name both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.config.export import ExportConfig
from pipeline.config.plain_values import unusable_values
from pipeline.config.sections import ClassConfig, RunConfig, SkeletonConfig, SplitConfig
from pipeline.config.variables import expand_variables
from pipeline.config.yaml_text import KeyPath, read_yaml
from pipeline.errors import ConfigError, did_you_mean

_MOST_BYTES = 2**20


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExportConfig:
    """Read, expand and check a configuration file.

    ``overrides`` are ``a.b=value`` strings, the value in YAML. Raises ConfigError, whose text names the file, the
    line where there is one, and the key; nothing else is raised for a bad file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode()
    except (OSError, ValueError) as error:  # a path with NUL is a ValueError, as is what is not UTF-8
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(str(path), f"cannot read the file: {reason}") from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(
            str(path), f"is larger than {_MOST_BYTES:,} bytes, so it is no configuration; name another file"
        )
    config = parse_config(text, overrides, source=str(path))
    config._folder = str(path.resolve().parent)  # noqa: SLF001  it is not a key of the file
    return config


def parse_config(text: str, overrides: Sequence[str] = (), *, source: str = "<config>") -> ExportConfig:
    """Check a configuration given as text; error messages call it ``source``."""
    values, lines = read_yaml(text, source)
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ConfigError(source, "must be a mapping of keys to values")
    override_values(values, overrides)
    for path, problem in unusable_values(values):  # before anything walks through them
        raise ConfigError(_located(source, lines, path, problem))
    values = {
        key: value if key == "storage_options" else expand_variables(value, f"{_where(source, lines, (key,))}: {key}")
        for key, value in values.items()
    }
    try:
        return ExportConfig.model_validate(values)
    except ValidationError as error:
        problems = [_describe(problem, source, lines) for problem in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(problems))) from error


def read_value(text: str, where: str) -> Any:
    """Return a value written in YAML. Raises ConfigError naming ``where``."""
    try:
        return read_yaml(text, where)[0]
    except ConfigError as error:
        raise ConfigError(where, f"the value is not usable: {error.args[-1]}") from error


def override_values(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Put ``a.b=value`` strings into ``values``, in place. Raises ConfigError for one that cannot be put there."""
    for override in overrides:
        _override(values, override)


def _override(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}", "write it as key.path=value")
    where = f"--set {dotted.strip()}"  # without the value, which could be a secret
    value = read_value(text, where)
    target = values
    for key in keys[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(where, f"{key!r} is not a mapping")
        target = inner
    target[keys[-1]] = value


def _where(source: str, lines: Mapping[KeyPath, int], path: Sequence[str | int]) -> str:
    for length in range(len(path), 0, -1):
        if tuple(path[:length]) in lines:
            return f"{source}:{lines[tuple(path[:length])]}"
    return source


def _describe(problem: Any, source: str, lines: Mapping[KeyPath, int]) -> str:
    path = [
        part for part in problem["loc"] if not (isinstance(part, str) and part.startswith(("function-", "literal")))
    ]
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key" + _suggestion(path)
    elif problem["type"] == "missing":
        message = "is required"
    return _located(source, lines, path, message)


def _located(source: str, lines: Mapping[KeyPath, int], path: Sequence[str | int], message: str) -> str:
    return ": ".join(part for part in (_where(source, lines, path), ".".join(map(str, path)), message) if part)


def _suggestion(path: Sequence[Any]) -> str:
    models: dict[str, type[BaseModel]] = {
        "split": SplitConfig,
        "classes": ClassConfig,
        "skeletons": SkeletonConfig,
        "run": RunConfig,
    }
    model = models.get(str(path[0]), ExportConfig) if len(path) > 1 else ExportConfig
    return f"{did_you_mean(str(path[-1]), model.model_fields)}; known keys: {', '.join(model.model_fields)}"
