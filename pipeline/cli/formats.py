"""``formats``: list the formats, or show what one does with each kind of annotation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.about.completion import complete_format
from pipeline.cli.options import AsJson
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.formats import FormatInfo

Name = Annotated[
    str | None,
    typer.Argument(metavar="FORMAT", help="a format's name, or package.module:Class", autocompletion=complete_format),
]
Options = Annotated[
    list[str] | None, typer.Argument(metavar="OPTION=VALUE", help="options of the format: task=segment")
]

Beside = Annotated[
    Path | None,
    typer.Option("--config", metavar="CONFIG", help="a configuration; formats of your own are found in its folder"),
]


def command(name: Name = None, options: Options = None, config: Beside = None, as_json: AsJson = False) -> None:
    """List the formats, or show what one does.

    With a format's name: what becomes of each kind of annotation, under the options given. A module of your own is
    found in the current folder, or in that of a configuration.
    """
    if name is None:
        _print_formats(as_json)
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
    _print_support(name, chosen, as_json)


def _print_formats(as_json: bool) -> None:
    """Print each format's name, what it is, and its options with their defaults."""
    from pipeline.cli.console import json_text, make_console, program, say
    from pipeline.formats import list_formats

    if as_json:
        print(json_text({"formats": [_format_object(found) for found in list_formats()]}))
        return
    console = make_console()
    for found in list_formats():
        package = f" (of the package {found.package})" if found.package else ""
        say(console, f"{found.name}{package}: {found.problem or found.summary}")
        if found.options:
            say(console, f"  options: {', '.join(found.options)}")
    say(console, f"what becomes of each kind of annotation: {program()} formats NAME [OPTION=VALUE ...]")


def _format_object(found: "FormatInfo") -> dict[str, Any]:
    options = [dict(zip(("name", "default"), option.split("=", 1), strict=True)) for option in found.options]
    return {
        "name": found.name,
        "package": found.package,
        "summary": found.summary,
        "options": options,
        "problem": found.problem,
    }


def _print_support(name: str, options: dict[str, object], as_json: bool) -> None:
    """Print what becomes of each kind of annotation in a format, as it declares."""
    from pipeline.cli.console import json_text, make_console, program, say
    from pipeline.formats import load_format

    format_ = load_format(name, options)
    support = format_.support()
    if as_json:
        rows = [
            {"kind": kind.value, "outcome": found.outcome, "reason": found.reason, "how": found.how}
            for kind, found in support.items()
        ]
        print(json_text({"name": format_.name, "support": rows}))
        return
    console = make_console()
    if not support:
        say(console, f"{format_.name} does not declare what it loses; a dry run counts it: {program()} plan my.yaml")
    for kind, found in support.items():
        text = " ".join(filter(None, (found.outcome, found.reason, found.how and f"({found.how})")))
        say(console, f"{kind.value + ':':34} {text}")
