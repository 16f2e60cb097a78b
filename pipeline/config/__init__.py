"""The configuration: a YAML file, checked in full before any work, and the files that it names."""

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
