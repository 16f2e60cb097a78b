"""What ``run`` and ``retry-failed`` print at the end: counts, losses, where things are, what to run next."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.books import exported, print_books
from pipeline.cli.console import make_console, number, program, say, size
from pipeline.config.export import ExportConfig
from pipeline.destination import metadata
from pipeline.progress import clock, printable
from pipeline.run import Result

# How to bring an export to the machine that trains: most readers cannot read from object stores.
_FETCHERS = {"s3": "aws s3 sync {url} {folder}", "gs": "gcloud storage rsync --recursive {url} {folder}"}


_SHOWN_CLASSES = 30


def print_result(result: Result, config: ExportConfig, source: str, seconds: float) -> None:
    """Print how a run of ``config`` ended. ``source`` is the path of the configuration file.

    ``seconds`` is how long the command took.
    """
    console = make_console()
    success = result.success
    protocol = result.url.partition("://")[0] if "://" in result.url else ""
    # The options and credentials that another command needs are in the configuration.
    place = source if protocol else result.url
    if result.already_finished:
        say(console, f"already complete: run {success.run_id} finished {success.finished}; nothing was done")
        say(console, f"prove it with: {program()} verify {place}")
        return
    ledger = success.ledger
    summary = result.summary
    console.print()
    say(console, f"{config.name}: {exported(ledger)}")
    say(console, f"elapsed: {clock(seconds)}")
    print_books(console, ledger)
    classes = [entry["name"] for entry in summary.get("classes", [])]
    say(console, f"classes ({len(classes)}): {', '.join(classes)}")
    splits = summary.get("splits", {})
    say(console, f"splits: {', '.join(f'{name} {number(count)}' for name, count in splits.items())}")
    _print_objects(console, summary.get("classes", []), list(splits))
    for warning in summary.get("warnings", []):
        say(console, f"warning: {warning}")
    for name, file in summary.get("reader_memory", {}).items():
        say(console, f"{name}: a reader of {file['path']} ({size(file['bytes'])}) needs about {size(file['memory'])}")
    console.print()
    say(console, f"where: {result.url}")
    folder = result.url.rstrip("/").rpartition("/")[2] if protocol else result.url
    if protocol in _FETCHERS:
        say(console, f"  to read it, bring it to a disk: {_FETCHERS[protocol].format(url=result.url, folder=folder)}")
    for hint in summary.get("how_to_read", {}).values():
        say(console, f"  {hint}")
    say(console, f"  books and reasons: {result.url}/{metadata.SUMMARY}")
    say(console, f"next: {program()} verify {place} --full")
    say(console, f"content {success.content[:16]}: the same for the same data and configuration")


def _print_objects(console: Console, classes: Sequence[dict[str, Any]], splits: Sequence[str]) -> None:
    """Print how many objects each class has in each split, as a row per class."""
    table = Table(box=None, pad_edge=False)
    table.add_column("objects", no_wrap=True)
    for title in (*splits, "total"):
        table.add_column(printable(title), justify="right", no_wrap=True)
    for entry in classes[:_SHOWN_CLASSES]:
        objects = entry.get("objects", {})
        counts = [*(objects.get(split, 0) for split in splits), sum(objects.values())]
        table.add_row(Text(printable(entry["name"])), *(number(count) if count else "–" for count in counts))
    if classes:
        console.print(table)
    if len(classes) > _SHOWN_CLASSES:
        say(console, f"  … and {number(len(classes) - _SHOWN_CLASSES)} more classes: {metadata.SUMMARY}")
