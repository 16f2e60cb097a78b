"""Arguments and options that several commands share."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.config import ExportConfig
    from pipeline.storage import Storage

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="a YAML file that describes the export")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override a key of the configuration: --set run.workers=4"),
]
BreakLock = Annotated[
    bool,
    typer.Option(
        "--break-lock",
        help="take over the lock of a run that is known to be dead, for example because its machine was lost",
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="print one JSON object for programs; an error is one, too (docs/json.md)")
]
JsonProgress = Annotated[
    bool,
    typer.Option("--json-progress", help="like --json, with progress before it: an object a line, each with a type"),
]
FailIfNothing = Annotated[
    bool, typer.Option("--fail-if-nothing", help="end with exit code 6, not 0, when there was nothing to do")
]
ExportPlace = Annotated[
    str,
    typer.Argument(
        metavar="PATH|CONFIG",
        help="a folder or URL that holds an export, or the configuration it was made with (for its storage and "
        "credentials)",
    ),
]


class Voice:
    """How much a command says besides its result: ``--quiet``, which is for the whole process."""

    quiet = False


def announce(text: str) -> None:
    """Tell a person what happens next, beside the errors. A program that reads those is told nothing but errors."""
    if sys.stderr.isatty() and not Voice.quiet:
        from pipeline.progress import printable

        print(printable(text), file=sys.stderr, flush=True)


def load(path: str, overrides: list[str] | None) -> "ExportConfig":
    """The configuration in a file, with its overrides. Raises ConfigError."""
    from pipeline.config import load_config

    return load_config(path, overrides or ())


def open_place(place: str) -> "Storage":
    """The storage at a path or URL, or the one that a configuration names, with its options and credentials."""
    if Path(place).suffix in {".yaml", ".yml"}:
        from pipeline.commands.names import resolve_storage
        from pipeline.stages.workspace import Settings, Workspace

        config = resolve_storage(load(place, None))
        return Workspace(Settings(config.model_dump(mode="json"))).storage
    from pipeline.storage import open_storage

    return open_storage(place)
