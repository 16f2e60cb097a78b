"""The configuration: a YAML file, checked in full before any work, and the files that it names."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config.export import ExportConfig
    from pipeline.config.loading import load_config, parse_config, read_value
    from pipeline.config.sections import ClassConfig, FormatConfig, RunConfig, SkeletonConfig, SplitConfig
    from pipeline.config.variables import expand_variables

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

# Imported when first used: commands that read no configuration do without YAML and its model.
_HOMES = {
    "ClassConfig": "sections",
    "ExportConfig": "export",
    "FormatConfig": "sections",
    "RunConfig": "sections",
    "SkeletonConfig": "sections",
    "SplitConfig": "sections",
    "expand_variables": "variables",
    "load_config": "loading",
    "parse_config": "loading",
    "read_value": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline.config' has no attribute {name!r}")
    return getattr(import_module(f"pipeline.config.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
