"""What ``run`` and ``retry-failed`` print at the end: counts, losses, where things are, what to run next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.books import exported, print_books
from pipeline.cli.console import json_text, make_console, make_listener, number, program, say, size
from pipeline.cli.for_programs.objects import result_object
from pipeline.cli.for_programs.progress import JsonLines, Messages
from pipeline.config.export import ExportConfig
from pipeline.destination import metadata
from pipeline.progress import Listener, clock, printable
from pipeline.run import Result

# How to bring an export to the machine that trains: most readers cannot read from object stores.
_FETCHERS = {"s3": "aws s3 sync {url} {folder}", "gs": "gcloud storage rsync --recursive {url} {folder}"}


_SHOWN_CLASSES = 30


@dataclass(frozen=True)
class Output:
    """Where a command tells its progress, and how it prints its result: for programs when ``messages`` is not None."""

    listener: Listener
    messages: Messages | None = None

    def print_result(self, result: Result, config: ExportConfig, source: str, *, seconds: float) -> None:
        """Print how the command ended, as :func:`print_result` does or as JSON."""
        if self.messages is None:
            print_result(result, config, source, seconds)
            return
        following = [f"{program()} verify {_place(result, source)} --full"]
        if result.success.ledger.failed_records:
            following.insert(0, f"{program()} retry-failed {source}")
        told = result_object(result, config, seconds=seconds, messages=self.messages.messages, following=following)
        print(json_text(told))


def make_output(*, as_json: bool, json_progress: bool) -> Output:
    """The output for people, or for programs where one of the two options asks for it."""
    if not (as_json or json_progress):
        return Output(make_listener())
    messages = JsonLines() if json_progress else Messages()
    return Output(messages, messages)


def _place(result: Result, source: str) -> str:
    """How to name the export to another command: options and credentials of a store are in the configuration."""
    return source if "://" in result.url else result.url


def print_result(result: Result, config: ExportConfig, source: str, seconds: float) -> None:
    """Print how a run of ``config`` ended. ``source`` is the path of the configuration file.

    ``seconds`` is how long the command took.
    """
    console = make_console()
    success = result.success
    protocol = result.url.partition("://")[0] if "://" in result.url else ""
    place = _place(result, source)
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
    totals = {entry["name"]: sum(entry.get("objects", {}).values()) for entry in classes}
    largest = set(sorted(totals, key=lambda name: totals[name], reverse=True)[:_SHOWN_CLASSES])
    for entry in (entry for entry in classes if entry["name"] in largest):
        objects = entry.get("objects", {})
        counts = [*(objects.get(split, 0) for split in splits), sum(objects.values())]
        table.add_row(Text(printable(entry["name"])), *(number(count) if count else "–" for count in counts))
    if classes:
        console.print(table)
    if len(classes) > _SHOWN_CLASSES:
        say(console, f"  … and {number(len(classes) - _SHOWN_CLASSES)} classes with fewer objects: {metadata.SUMMARY}")
