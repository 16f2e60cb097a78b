"""Rows as a table on a terminal, as tab-separated lines elsewhere, or as JSON. Names in them are data, never markup."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.console import json_text, number
from pipeline.progress import printable

_DAY = len("2026-07-01")


def print_rows(name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, end: str = "") -> None:
    """Print rows (values by column) with a line of headings. ``end`` is printed below a table on a terminal."""
    rows = list(rows)
    headings = [column.removeprefix("is_") for column in columns]
    console = Console(highlight=False)
    if not console.is_terminal or os.environ.get("TERM") == "dumb":
        print("\t".join(headings))
        for row in rows:
            print("\t".join(_cell(row[column]) for column in columns))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column, heading in zip(columns, headings, strict=True):
        is_number = all(isinstance(row[column], int) and not isinstance(row[column], bool) for row in rows)
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold", no_wrap=column == "id")
    for row in rows:
        cells = {column: _cell(row[column]) for column in columns}
        if "created" in cells:
            cells["created"] = cells["created"][:_DAY]
        table.add_row(*map(Text, cells.values()))
    console.print(table)
    console.print(Text(f"{number(len(rows))} {name}{'; ' if end else ''}{end}"))


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on a line of its own."""
    print(json_text(value))


def say_incomplete(what: str) -> None:
    """Say beside the rows that they are not all."""
    print(f"warning: the server has more {what}, or some without an id, which are not shown", file=sys.stderr)


def _cell(value: Any) -> str:
    """A value as one line of text, in which what drives a terminal or ends a cell is visible."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return printable(str(value)).replace("\n", "\ufffd")
