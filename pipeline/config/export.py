"""The configuration: a YAML file, checked in full before any work, as a frozen model.

The keys that the platform's own export parameters have keep their names and meaning, so that a plugin run and a
YAML run read alike. See ``configs/`` for commented examples and ``docs/configuration.md`` for every key.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from pipeline.config.plain_values import Problem, unusable_values
from pipeline.config.sections import (
    ClassConfig,
    FormatConfig,
    Model,
    ReportConfig,
    RunConfig,
    SkeletonConfig,
    SplitConfig,
)
from pipeline.config.variables import exposed_secrets


def _failure_limit(value: int | str) -> int | str:
    if isinstance(value, str):
        if not re.fullmatch(r"\d+(\.\d+)?%", value) or float(value[:-1]) > 100:
            raise ValueError('must be a whole number or a percentage such as "0.1%"')
    elif value < 0:
        raise ValueError("must not be negative")
    return value


def _storage(value: Any) -> Any:
    """The id of a storage, or its name; digits are an id."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("must be the id of a storage, its name, or default")
        return int(value) if value.strip().isdecimal() else value
    return value


class ExportConfig(Model):
    """One export, as the YAML file describes it.

    ``storage_options`` keeps its ``${VAR}`` references: they are expanded in the process that opens the storage
    (:func:`pipeline.config.variables.expand_variables`), so that no secret is in a task argument, a log or the summary.
    A ``storage``, project or ground truth dataset may be a name, which is looked up before any work.
    """

    name: str = Field(min_length=1, max_length=200)
    description: str = ""
    target: Literal["assignment", "ground_truth", "task"]
    filter: dict[str, Any]
    storage: Annotated[int | str | None, BeforeValidator(_storage)] = None
    path: str = Field(min_length=1)
    storage_options: dict[str, Any] = Field(default_factory=dict)
    save_original_file: bool = True
    formats: tuple[FormatConfig, ...] = Field(min_length=1)
    split: SplitConfig = SplitConfig()
    classes: ClassConfig = ClassConfig()
    skeletons: dict[Annotated[str, Field(min_length=1)], SkeletonConfig] | None = None
    empty: Literal["keep", "drop"] = "keep"
    on_failed_annotation: Literal["drop_image", "keep"] = "drop_image"
    on_missing_original: Literal["keep", "drop_image"] = "keep"
    exif: Literal["record", "bake", "ignore"] = "record"
    masks: Literal["instance", "semantic", "exclude"] = "instance"
    naming: Literal["original", "id"] = "original"
    packaging: Literal["files", "tar"] = "files"
    duplicates: Literal["report", "same_split", "fail"] = "report"
    on_existing: Literal["resume", "fail", "overwrite"] = "resume"
    max_failures: Annotated[int | str, AfterValidator(_failure_limit)] = 0
    allow_empty: bool = False
    extra_params: dict[str, Any] = Field(default_factory=dict)
    report: ReportConfig | None = ReportConfig()
    run: RunConfig = RunConfig()

    _folder: str = PrivateAttr(default="")

    @property
    def folder(self) -> str:
        """The folder of the configuration file, which is searched for the user's own formats, or ``""``."""
        return self._folder

    @model_validator(mode="before")
    @classmethod
    def _read_formats(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        _refuse(unusable_values(values))
        _refuse(exposed_secrets(values))
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
        if isinstance(values.get("report"), bool):
            values["report"] = ReportConfig() if values["report"] else None
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
        if self.duplicates != "report" and not self.save_original_file:
            raise ValueError(
                f"duplicates: {self.duplicates} needs save_original_file: true, because the bytes of originals are "
                "compared"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return the values that decide the bytes of the result; a resumed run must have the same.

        Whether duplicates are reported or refused decides none.
        """
        excluded = {"storage", "path", "storage_options", "on_existing", "max_failures", "allow_empty"}
        excluded |= {"extra_params", "run"}
        if self.duplicates != "same_split":
            excluded |= {"duplicates"}
        return self.model_dump(mode="json", exclude=excluded)

    def failure_limit(self, records: int) -> int:
        """Return how many of ``records`` may fail."""
        if isinstance(self.max_failures, str):
            return int(float(self.max_failures[:-1]) / 100 * records)
        return self.max_failures


def _refuse(problems: Iterable[Problem]) -> None:
    """Raise ValidationError for the problems, each at its place, so that its line can be told."""
    found = [
        InitErrorDetails(
            type=PydanticCustomError("value_error", "{problem}", {"problem": problem}), loc=path, input=None
        )
        for path, problem in problems
    ]
    if found:
        raise ValidationError.from_exception_data("ExportConfig", found)


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
