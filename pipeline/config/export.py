"""The configuration: a YAML file, checked in full before any work, as a frozen model.

The keys that the platform's own export parameters have keep their names and meaning, so that a plugin run and a
YAML run read alike. See ``configs/`` for commented examples and ``docs/configuration.md`` for every key.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, ValidationError, field_validator, model_validator

from pipeline.config.sections import ClassConfig, FormatConfig, Model, RunConfig, SkeletonConfig, SplitConfig
from pipeline.errors import ConfigError

__all__ = [
    "ClassConfig",
    "ExportConfig",
    "FormatConfig",
    "RunConfig",
    "SkeletonConfig",
    "SplitConfig",
    "expand_variables",
    "load_config",
    "parse_config",
    "read_value",
]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_KEY = re.compile(
    r"secret|token|password|passwd|credential|private_key|access_key|account_key|^key$|sas", re.IGNORECASE
)


def _failure_limit(value: int | str) -> int | str:
    if isinstance(value, str):
        if not re.fullmatch(r"\d+(\.\d+)?%", value) or float(value[:-1]) > 100:
            raise ValueError('must be a whole number or a percentage such as "0.1%"')
    elif value < 0:
        raise ValueError("must not be negative")
    return value


class ExportConfig(Model):
    """One export, as the YAML file describes it.

    ``storage_options`` keeps its ``${VAR}`` references: they are expanded in the process that opens the storage
    (:func:`expand_variables`), so that no secret is in a task argument, a log or the summary.
    """

    name: str = Field(min_length=1, max_length=200)
    description: str = ""
    target: Literal["assignment", "ground_truth", "task"]
    filter: dict[str, Any]
    storage: int | None = None
    path: str = Field(min_length=1)
    storage_options: dict[str, Any] = Field(default_factory=dict)
    save_original_file: bool = True
    formats: tuple[FormatConfig, ...] = Field(min_length=1)
    split: SplitConfig = SplitConfig()
    classes: ClassConfig = ClassConfig()
    skeletons: dict[Annotated[str, Field(min_length=1)], SkeletonConfig] | None = None
    empty: Literal["keep", "drop"] = "keep"
    exif: Literal["record", "bake", "ignore"] = "record"
    masks: Literal["instance", "semantic", "exclude"] = "instance"
    naming: Literal["original", "id"] = "original"
    packaging: Literal["files", "tar"] = "files"
    on_existing: Literal["resume", "fail", "overwrite"] = "resume"
    max_failures: Annotated[int | str, AfterValidator(_failure_limit)] = 0
    extra_params: dict[str, Any] = Field(default_factory=dict)
    run: RunConfig = RunConfig()

    _folder: str = PrivateAttr(default="")

    @property
    def folder(self) -> str:
        """The folder of the file this was loaded from, where the user's own formats are looked for, or ``""``."""
        return self._folder

    @model_validator(mode="before")
    @classmethod
    def _read_formats(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if "format" in values:
            if "formats" in values:
                raise ValueError("give 'format' or 'formats', not both")
            values["formats"] = [values.pop("format")]
        formats = values.get("formats")
        if isinstance(formats, str | dict):
            formats = [formats]
        if isinstance(formats, list | tuple):
            extra = values.get("extra_params") or {}
            values["formats"] = tuple(_format_config(entry, extra) for entry in formats)
            _reject_unknown_extras(extra, values["formats"])
        if values.get("split") == "none" or values.get("split", "") is None:
            values["split"] = SplitConfig()
        return values

    @field_validator("formats")
    @classmethod
    def _formats_differ(cls, formats: tuple[FormatConfig, ...]) -> tuple[FormatConfig, ...]:
        seen = [msgspec.json.encode(entry.model_dump(), order="deterministic") for entry in formats]
        if len(set(seen)) < len(seen):
            raise ValueError("the same format with the same options is listed twice")
        return formats

    @model_validator(mode="after")
    def _fits_together(self) -> "ExportConfig":
        if self.split.by == "category" and self.target != "ground_truth":
            raise ValueError("split.by: category needs target: ground_truth (only ground truth has categories)")
        if self.split.key.startswith("data_unit.") and self.target == "ground_truth":
            raise ValueError(
                f"split.key: {self.split.key} needs target: task or assignment; ground truth lists no more of a data "
                "unit than its id (key: data_unit) and its file (key: file_name)"
            )
        _refuse_literal_secrets(self.storage_options)
        return self

    def identity(self) -> dict[str, Any]:
        """The part that decides the bytes of the result: what a resumed run must have in common with the first."""
        excluded = {"storage", "path", "storage_options", "on_existing", "max_failures", "extra_params", "run"}
        return self.model_dump(mode="json", exclude=excluded)

    def failure_limit(self, records: int) -> int:
        """How many failed records are tolerated among ``records``."""
        if isinstance(self.max_failures, str):
            return int(float(self.max_failures[:-1]) / 100 * records)
        return self.max_failures


def _format_config(entry: Any, extra: Any) -> FormatConfig:
    if isinstance(entry, FormatConfig):
        return entry
    if isinstance(entry, str):
        name, options = entry, {}
    elif isinstance(entry, dict) and set(entry) == {"name", "options"}:
        name, options = entry["name"], entry["options"]
    elif isinstance(entry, dict) and len(entry) == 1:
        name, options = next(iter(entry.items()))
    else:
        raise ValueError("each format is a name, or one name with its options: {yolo: {task: detect}}")
    if not isinstance(options, dict | None):
        raise ValueError(f"the options of {name!r} must be a mapping")
    shared = extra.get(name, {}) if isinstance(extra, dict) else {}
    if not isinstance(shared, dict):
        raise ValueError(f"extra_params.{name} must be a mapping of options")
    return FormatConfig(name=name, options={**shared, **(options or {})})


def _reject_unknown_extras(extra: Any, formats: Sequence[FormatConfig]) -> None:
    names = {entry.name for entry in formats}
    for key in extra if isinstance(extra, dict) else ():
        if key not in names:
            raise ValueError(f"extra_params.{key} is not one of the requested formats: {', '.join(sorted(names))}")


def _refuse_literal_secrets(options: Any, path: str = "storage_options") -> None:
    if isinstance(options, dict):
        for key, value in options.items():
            where = f"{path}.{key}"
            if isinstance(value, str) and _SECRET_KEY.search(str(key)) and value and not _VARIABLE.search(value):
                raise ValueError(
                    f"{where} holds a secret in plain text; write ${{VARIABLE}} and set it in the environment"
                )
            _refuse_literal_secrets(value, where)
    elif isinstance(options, list):
        for position, value in enumerate(options):
            _refuse_literal_secrets(value, f"{path}[{position}]")


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
    """The same for a text; ``source`` is what error messages call it."""
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


def expand_variables(value: Any, where: str) -> Any:
    """``value`` with every ``${VAR}`` in its strings replaced from the environment.

    Raises ConfigError naming ``where`` and the variable when it is not set.
    """
    if isinstance(value, str):

        def replace(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in os.environ:
                raise ConfigError(where, f"environment variable {name} is not set")
            return os.environ[name]

        return _VARIABLE.sub(replace, value)
    if isinstance(value, dict):
        return {key: expand_variables(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [expand_variables(item, f"{where}[{position}]") for position, item in enumerate(value)]
    return value


def _construct(
    node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], source: str
) -> Any:
    """Plain values from a YAML node; remembers the line of every key and rejects a key given twice."""
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
    """A value as it is written in YAML. Raises ConfigError naming ``where``."""
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
