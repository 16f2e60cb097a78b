"""Load a configuration: YAML with the line of every key, ``--set`` overrides, and errors that name both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config.export import ExportConfig
from pipeline.config.sections import ClassConfig, RunConfig, SkeletonConfig, SplitConfig
from pipeline.config.variables import expand_variables
from pipeline.errors import ConfigError


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExportConfig:
    """Read, expand and check a configuration file.

    ``overrides`` are ``a.b=value`` strings, the value in YAML. Raises ConfigError, whose text names the file, the
    line where there is one, and the key; nothing else is raised for a bad file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(str(path), f"cannot read the file: {reason}") from error
    config = parse_config(text, overrides, source=str(path))
    config._folder = str(path.resolve().parent)  # noqa: SLF001  it is not a key of the file
    return config


def parse_config(text: str, overrides: Sequence[str] = (), *, source: str = "<config>") -> ExportConfig:
    """Check a configuration given as text; error messages call it ``source``."""
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = _construct(node, (), lines, source) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(where, f"not valid YAML: {problem}") from error
    if not isinstance(values, dict):
        raise ConfigError(source, "must be a mapping of keys to values")
    for override in overrides:
        _override(values, override)
    values = {
        key: value if key == "storage_options" else expand_variables(value, f"{_where(source, lines, (key,))}: {key}")
        for key, value in values.items()
    }
    try:
        return ExportConfig.model_validate(values)
    except ValidationError as error:
        problems = [_describe(problem, source, lines) for problem in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(problems))) from error


def _construct(
    node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], source: str
) -> Any:
    """Return the plain values of a YAML node, record the line of every key and reject duplicate keys."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            dotted = ".".join(map(str, (*path, key)))
            if not isinstance(key_node, yaml.ScalarNode) or key == "<<":
                raise ConfigError(f"{source}:{line}", dotted, "only plain keys are allowed here")
            if key in result:
                first = lines[(*path, key)]
                raise ConfigError(f"{source}:{line}", dotted, f"this key is given twice (first on line {first})")
            result[key] = _construct(value_node, (*path, key), lines, source)
            lines[(*path, key)] = line
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*path, position), lines, source) for position, item in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node)
    finally:
        loader.dispose()
    return value if isinstance(value, str | int | float | bool | None) else str(node.value)


def read_value(text: str, where: str) -> Any:
    """Return a value written in YAML. Raises ConfigError naming ``where``."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(where, "the value is not valid YAML") from error


def _override(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}", "write it as key.path=value")
    value = read_value(text, f"--set {override}")
    target = values
    for key in keys[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}", f"{key!r} is not a mapping")
        target = inner
    target[keys[-1]] = value


def _where(source: str, lines: Mapping[tuple[str | int, ...], int], path: Sequence[str | int]) -> str:
    for length in range(len(path), 0, -1):
        if tuple(path[:length]) in lines:
            return f"{source}:{lines[tuple(path[:length])]}"
    return source


def _describe(problem: Any, source: str, lines: Mapping[tuple[str | int, ...], int]) -> str:
    path = [
        part for part in problem["loc"] if not (isinstance(part, str) and part.startswith(("function-", "literal")))
    ]
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key" + _suggestion(path)
    elif problem["type"] == "missing":
        message = "is required"
    dotted = ".".join(map(str, path))
    return ": ".join(part for part in (_where(source, lines, path), dotted, message) if part)


def _suggestion(path: Sequence[Any]) -> str:
    models: dict[str, type[BaseModel]] = {
        "split": SplitConfig,
        "classes": ClassConfig,
        "skeletons": SkeletonConfig,
        "run": RunConfig,
    }
    model = models.get(str(path[0]), ExportConfig) if len(path) > 1 else ExportConfig
    return f"; known keys: {', '.join(model.model_fields)}"
