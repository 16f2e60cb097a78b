"""The status of a run for people, once or until it ends, and as JSON for programs."""

import json
import time
from collections.abc import Callable

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pipeline.cli.console import make_console, number, say
from pipeline.commands.status import ENDED, State, Status
from pipeline.progress import clock, printable, to_go
from pipeline.progress.screen import picture

_SENTENCES = {
    State.NOTHING: "no run is at work here, and there is no finished export",
    State.RUNNING: "a run is at work",
    State.SILENT: "a run holds this path, but has given no sign of life for a while",
    State.KILLED: "a run was at work and was killed",
    State.FAILED: "a run ended with an error",
    State.INTERRUPTED: "a run was interrupted",
    State.FINISHED: "the export is complete",
    State.UNKNOWN: "a run was at work, but what it left cannot be read",
}


def print_json(status: Status) -> None:
    """Print one line of JSON, which any terminal and any pipe can take."""
    print(json.dumps(msgspec.to_builtins(status)), flush=True)


def print_status(status: Status) -> None:
    """Print what is known, a fact per line."""
    console = make_console()
    for item in _page(status, console.width):
        if isinstance(item, str):
            say(console, item)
        else:
            console.print(item)


def watch_status(look: Callable[[], Status], seconds: float, *, as_json: bool) -> Status:
    """Look every ``seconds`` until no run is at work, and return what was seen last.

    It is drawn anew on a terminal; elsewhere there is a line each time that something changed.
    """
    console = Console(highlight=False)
    if as_json or not console.is_terminal or console.is_dumb_terminal:
        return _watch_in_lines(look, seconds, print_json if as_json else _print_line)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            status = look()
            page = _page(status, console.width)
            drawn = (Text(printable(item)) if isinstance(item, str) else item for item in page)
            live.update(Group(*drawn), refresh=True)
            if status.state in ENDED:
                return status
            time.sleep(seconds)


def _watch_in_lines(look: Callable[[], Status], seconds: float, show: Callable[[Status], None]) -> Status:
    shown: object = None
    while True:
        status = look()
        key = (status.state, status.run and status.run.renewed)
        if key != shown:
            show(status)
            shown = key
        if status.state in ENDED:
            return status
        time.sleep(seconds)


def _print_line(status: Status) -> None:
    """Print one line of a log."""
    parts = [f"{status.url}: {_SENTENCES[status.state]}"]
    if run := status.run:
        progress = run.progress
        now = next((stage for stage in progress.stages if stage.state == "running"), None)
        parts += [f"{now.stage} {number(now.done)} of {number(now.total)} {now.unit}"] if now else []
        parts += [to_go(progress.to_go, progress.is_guess)] if progress.to_go is not None else []
        parts += [f"error: {run.error}"] if run.error else []
    print(printable(", ".join(parts)), flush=True)


def _page(status: Status, width: int) -> list[str | Group]:
    """All that is known of a run: lines, and the picture of its stages."""
    found: list[str | Group] = [f"{status.url}: {_SENTENCES[status.state]}"]
    if verdict := status.verdict:
        failed = f", {number(verdict.failed_records)} failed" if verdict.failed_records else ""
        found.append(
            f"run {verdict.run_id} finished {verdict.finished}: {number(verdict.records)} records{failed}, "
            f"{number(verdict.files)} files, content {verdict.content[:16]}"
        )
    if run := status.run:
        found.append(f"{run.name}: run {run.run_id}, process {run.pid} on {run.host}, since {run.started}")
        age = "unknown" if status.silent_for is None else f"{clock(status.silent_for)} ago"
        found += [f"last sign of life: {age} ({run.renewed})", picture(run.progress, width)]
        found += [f"  {reason} {number(many)}" for reason, many in sorted(run.progress.failures.items())]
        found += [f"  tried again: {problem}" for problem in run.progress.problems]
        found += [f"error: {run.error}"] if run.error else []
    elif status.holder:
        found.append(f"held by {status.holder}; there is no sign of life of it that could be read")
    return [*found, *status.next]
