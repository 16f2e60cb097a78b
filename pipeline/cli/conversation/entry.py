"""Where commands get their configuration: a file, flags, or, on a terminal, a conversation about what is missing."""

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from pipeline.cli.about.completion import complete_format
from pipeline.cli.options import load
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config import ExportConfig

MaybeConfig = Annotated[
    str | None,
    typer.Argument(metavar="[CONFIG]", help="a YAML file that describes the export; on a terminal it is asked for"),
]
TargetFlag = Annotated[str | None, typer.Option("--target", help="assignment, ground_truth or task")]
ProjectFlag = Annotated[str | None, typer.Option("--project", metavar="ID|NAME", help="the project to export from")]
VersionFlag = Annotated[
    int | None, typer.Option("--dataset-version", metavar="ID", help="the ground truth dataset version to export")
]
FormatFlag = Annotated[
    list[str] | None,
    typer.Option("--format", metavar="NAME", help="a format; may be repeated", autocompletion=complete_format),
]
NameFlag = Annotated[str | None, typer.Option("--name", help="what the export is called")]
PathFlag = Annotated[str | None, typer.Option("--path", metavar="PATH|URL", help="where the export is written")]
StorageFlag = Annotated[
    str | None,
    typer.Option("--storage", metavar="ID|NAME", help="a storage of Synapse, or default, in which --path is then"),
]
NoInput = Annotated[bool, typer.Option("--no-input", help="ask nothing; say in one line what is missing")]

_FLAGS = {
    "target": "--target",
    "filter": "--project",
    "filter.project": "--project",
    "filter.ground_truth_dataset_version": "--dataset-version",
    "formats": "--format",
    "name": "--name",
    "path": "--path",
}


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What flags say of a configuration. ``no_input`` forbids to ask."""

    target: str | None = None
    project: str | None = None
    version: int | None = None
    formats: Sequence[str] | None = None
    name: str | None = None
    path: str | None = None
    storage: str | None = None
    no_input: bool = False

    def overrides(self) -> list[str]:
        """The flags as ``KEY=VALUE`` of ``--set``."""
        given = {
            "target": self.target,
            "filter.project": _id_or_name(self.project),
            "filter.ground_truth_dataset_version": self.version,
            "formats": self.formats or None,
            "name": self.name,
            "path": self.path,
            "storage": _id_or_name(self.storage),
        }
        return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value is not None]


def _id_or_name(given: str | None) -> int | str | None:
    return int(given) if given and given.isdecimal() else given


def can_ask() -> bool:
    """Whether a person can be asked: questions are read from the input, and written beside the errors."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def find_configuration(
    config: str | None, overrides: Sequence[str] | None, given: Given, command: str
) -> "tuple[ExportConfig, str] | None":
    """The configuration for ``command``, and the path of its file (``""`` where flags alone describe it).

    What is missing is asked for on a terminal; None when the person has had the file written and nothing else.
    Raises ConfigError, which off a terminal names all that is missing in one line.
    """
    chosen = [*given.overrides(), *(overrides or ())]
    asks = can_ask() and not given.no_input
    if config is not None and not asks:
        return load(config, chosen), config
    from pipeline.commands.draft import missing_keys, read_draft

    values = read_draft(config, chosen)
    missing = missing_keys(values)
    if not missing and config is not None:
        return load(config, chosen), config
    if not missing and not asks:
        from pipeline.config.loading import parse_config

        return parse_config("", chosen, source="the flags"), ""
    if not asks:
        flags = ", ".join(_FLAGS[key] for key in missing)
        raise ConfigError(f"CONFIG is missing; name a file, or give {flags}")
    # Only a conversation needs the libraries that draw one.
    from pipeline.cli.conversation.flow import complete, converse
    from pipeline.cli.conversation.prompts import open_prompter

    if config is not None:
        more = complete(open_prompter(), config, values, missing, command)
        return load(config, [*chosen, *more]), config
    file = converse(open_prompter(), values, runs=command != "plan")
    return (load(file, None), file) if file else None


def run_and_verify(loaded: "ExportConfig", source: str) -> None:
    """Run what a conversation has made, and prove the result as ``verify --full`` does."""
    import time

    from pipeline.cli import verify
    from pipeline.cli.console import make_listener
    from pipeline.cli.result import print_result
    from pipeline.run import run

    began = time.monotonic()
    result = run(loaded, listener=make_listener())
    print_result(result, loaded, source, seconds=time.monotonic() - began)
    is_url = "://" in result.url
    verify.command(source if is_url else os.path.relpath(result.url), full=True)
