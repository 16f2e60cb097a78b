"""What commands print with: lines without markup, numbers and sizes for people, and progress."""

import json
import os
import shutil
import sys
from typing import Any, TextIO

from rich.console import Console

from pipeline.cli.options import Voice, announce
from pipeline.progress import Lines, Listener, Silence, printable


def make_console() -> Console:
    """The console that results are printed on: no line is broken, and nothing is coloured by guess."""
    return Console(soft_wrap=True, highlight=False)


def make_listener() -> Listener:
    """Progress as a screen where errors are shown on a terminal, as lines of the output in a log.

    A terminal that can only print (``TERM=dumb``) gets lines, too. What a run is about to do is told beside the errors.
    With ``--quiet`` nothing is shown.
    """
    if Voice.quiet:
        return Silence()
    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        from pipeline.progress.screen import Screen

        return Screen(console)
    return Lines(lambda line: print(printable(line), flush=True), tell=announce)


def say(console: Console, text: str) -> None:
    """Print a line, in which names from the server are neither markup nor commands to the terminal."""
    console.print(printable(text), markup=False)


def json_text(value: Any, stream: TextIO | None = None) -> str:
    """A JSON value on one line, for ``stream`` or standard output.

    What is not printable is escaped, so that it cannot drive a terminal either.
    """
    encoding = (stream or sys.stdout).encoding or ""
    text = json.dumps(value, ensure_ascii=encoding.lower().replace("-", "") != "utf8")
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def program() -> str:
    """How to call this program again from the current folder."""
    if shutil.which("synapse-export"):
        return "synapse-export"
    return f"{os.path.relpath(sys.executable)} -m pipeline"


def number(value: int) -> str:
    """``12,345``."""
    return f"{value:,}"


def size(value: float) -> str:
    """Bytes as ``12 kB`` or ``3 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
