"""``doctor``: check what a run needs, and say how to repair it."""

import os
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, Overrides

if TYPE_CHECKING:
    from pipeline.commands.doctor import Finding, Report, Terminal

Config = Annotated[str | None, typer.Argument(metavar="CONFIG", help="a YAML file; what it needs is checked, too")]
Names = Annotated[
    list[str] | None, typer.Option("--check", metavar="NAME", help="make this check only; may be given several times")
]
Listed = Annotated[bool, typer.Option("--list-checks", help="list the checks, and make none")]
Strict = Annotated[bool, typer.Option("--strict", help="a warning is an error, too")]

_MARKS = {"ok": "ok", "warning": "warning", "error": "ERROR", "skipped": "skipped"}
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "skipped": "dim"}


def command(
    config: Config = None,
    names: Names = None,
    overrides: Overrides = None,
    list_checks: Listed = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> int:
    """Check what a run needs, and how to repair it.

    Packages, token, host, project, destination, cluster: each line says what was found and, where something is wrong,
    the command that repairs it. An error ends with exit code 1.
    """
    from pipeline.cli.discovery.tables import print_json
    from pipeline.commands.doctor import examine

    if list_checks:
        return _list_checks(as_json)
    listener = None if as_json else _print_finding
    report = examine(
        config, names=names or (), overrides=tuple(overrides or ()), terminal=_terminal(), listener=listener
    )
    is_ready = report.is_ready(strict=strict)
    if as_json:
        checks = [
            {"name": name, "state": one.state, "finding": one.finding, "fix": one.fix}
            for name, one in report.findings.items()
        ]
        print_json({"ready": is_ready, "checks": checks})
    else:
        _print_verdict(report, is_ready, config)
    return 0 if is_ready else 1


def _list_checks(as_json: bool) -> int:
    from pipeline.cli.discovery.tables import print_json
    from pipeline.commands.doctor import CHECKS

    if as_json:
        print_json({"checks": [{"name": name, "about": check.about} for name, check in CHECKS.items()]})
    else:
        for name, check in CHECKS.items():
            print(f"{name:14} {check.about}")
    return 0


def _terminal() -> "Terminal":
    from pipeline.commands.doctor import Terminal

    return Terminal(
        is_terminal=sys.stdout.isatty(),
        kind=os.environ.get("TERM", ""),
        width=shutil.get_terminal_size().columns,
        encoding=sys.stdout.encoding or "ascii",
    )


def _print_finding(name: str, found: "Finding") -> None:
    from rich.text import Text

    from pipeline.cli.console import make_console
    from pipeline.progress import printable

    text = Text(f"{_MARKS[found.state]:8}", style=_STYLES[found.state])
    console = make_console()
    # A problem of several lines stays one line: of the configuration, each names its key.
    console.print(text.append(f"{name:14} {printable(found.finding).replace('\n', ' | ')}", style="default"))
    if found.fix:
        console.print(Text(f"{'':8}{'':14} fix: {printable(found.fix)}"))


def _print_verdict(report: "Report", is_ready: bool, config: str | None) -> None:
    from pipeline.cli.console import make_console, program, say
    from pipeline.commands.doctor import State

    errors, warnings = report.count(State.ERROR), report.count(State.WARNING)
    counts = [
        f"{count} {noun}{'s' if count > 1 else ''}"
        for count, noun in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    told = f" ({', '.join(counts)})" if counts else ""
    following = f"plan {config}" if config else "projects"
    console = make_console()
    say(
        console,
        f"next: {program()} {following}" if is_ready else "repair what has a fix, and run the same command again",
    )
    say(console, f"{'ready' if is_ready else 'not ready'}{told}")
