"""``formats``: list the formats, or show what one does with each kind of annotation."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import ConfigError

Name = Annotated[str | None, typer.Argument(metavar="FORMAT", help="a format's name, or package.module:Class")]
Options = Annotated[
    list[str] | None, typer.Argument(metavar="OPTION=VALUE", help="options of the format: task=segment")
]

Beside = Annotated[
    Path | None,
    typer.Option("--config", metavar="CONFIG", help="a configuration; formats of your own are found in its folder"),
]


def command(name: Name = None, options: Options = None, config: Beside = None) -> None:
    """List the formats, or show what one does.

    With a format's name: what becomes of each kind of annotation, under the options given. A module of your own is
    found in the current folder, or in that of a configuration.
    """
    if name is None:
        _print_formats()
        return
    from pipeline.config import read_value
    from pipeline.formats.foreign import find_beside

    chosen = {}
    for option in options or ():
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(option, "write options as name=value")
        chosen[key] = read_value(value, key)
    find_beside(str(config.resolve().parent if config else Path.cwd()))
    _print_support(name, chosen)


def _print_formats() -> None:
    """Print each format's name, what it is, and its options with their defaults."""
    from pipeline.cli.console import make_console, program, say
    from pipeline.formats import list_formats

    console = make_console()
    for found in list_formats():
        package = f" (of the package {found.package})" if found.package else ""
        say(console, f"{found.name}{package}: {found.problem or found.summary}")
        if found.options:
            say(console, f"  options: {', '.join(found.options)}")
    say(console, f"what becomes of each kind of annotation: {program()} formats NAME [OPTION=VALUE ...]")


def _print_support(name: str, options: dict[str, object]) -> None:
    """Print what becomes of each kind of annotation in a format, as it declares."""
    from pipeline.cli.console import make_console, program, say
    from pipeline.formats import load_format

    console = make_console()
    format_ = load_format(name, options)
    support = format_.support()
    if not support:
        say(console, f"{format_.name} does not declare what it loses; a dry run counts it: {program()} plan my.yaml")
    for kind, found in support.items():
        text = " ".join(filter(None, (found.outcome, found.reason, found.how and f"({found.how})")))
        say(console, f"{kind.value + ':':34} {text}")
