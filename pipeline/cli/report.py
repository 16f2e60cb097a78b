"""What a person sees at the end of ``run`` and ``plan``. Words and tables; no decision is made here."""

import os
import shutil
import sys

from rich.console import Console
from rich.table import Table

from pipeline.commands.forecast import forecast
from pipeline.config.export import ExportConfig
from pipeline.destination import metadata
from pipeline.destination.existing import State
from pipeline.formats import BaseFormat, list_formats, load_formats
from pipeline.model.ledger import Count, Ledger
from pipeline.progress import printable
from pipeline.run import Result

# How an export is brought to the machine that trains: most readers know nothing of object stores.
_FETCHERS = {"s3": "aws s3 sync {url} {folder}", "gs": "gcloud storage rsync --recursive {url} {folder}"}


def print_result(result: Result, config: ExportConfig, console: Console, source: str) -> None:
    """Counts, classes, losses, where things are, and what to run next. ``source`` is the configuration's file."""
    success = result.success
    protocol = result.url.partition("://")[0] if "://" in result.url else ""
    # The options and credentials that another command needs are in the configuration.
    place = source if protocol else result.url
    if result.already_finished:
        _say(console, f"already complete: run {success.run_id} finished {success.finished}; nothing was done")
        _say(console, f"prove it with: {_program()} verify {place}")
        return
    ledger = success.ledger
    summary = result.summary
    console.print()
    _say(
        console, f"{config.name}: {_number(ledger.records.written)} of {_number(ledger.records.seen)} records exported"
    )
    _print_books(console, ledger)
    classes = [entry["name"] for entry in summary.get("classes", [])]
    _say(console, f"classes ({len(classes)}): {', '.join(classes)}")
    splits = summary.get("splits", {})
    _say(console, f"splits: {', '.join(f'{name} {_number(count)}' for name, count in splits.items())}")
    for warning in summary.get("warnings", []):
        _say(console, f"warning: {warning}")
    for name, file in summary.get("reader_memory", {}).items():
        _say(
            console, f"{name}: a reader of {file['path']} ({_size(file['bytes'])}) needs about {_size(file['memory'])}"
        )
    console.print()
    _say(console, f"where: {result.url}")
    folder = result.url.rstrip("/").rpartition("/")[2] if protocol else result.url
    if protocol in _FETCHERS:
        _say(console, f"  to read it, bring it to a disk: {_FETCHERS[protocol].format(url=result.url, folder=folder)}")
    split = next(iter(splits), "train")
    loaded = load_formats((entry.name, entry.options) for entry in config.formats)
    for format_ in loaded:
        if text := format_.how_to_read(folder, split):
            _say(console, f"  {text}")
    _say(console, f"  books and reasons: {result.url}/{metadata.SUMMARY}")
    _say(console, f"next: {_program()} verify {place} --full")
    _say(console, f"content {success.content[:16]}: the same for the same data and configuration")


def print_forecast(config: ExportConfig, search_path: str, console: Console) -> None:
    """What a run would do, what it would lose, and what stands in its way."""
    plan = forecast(config, search_path=search_path)
    _say(console, f"{config.name}: {_number(plan.records)} records of {plan.project_title or config.target}")
    _say(
        console,
        f"{_number(plan.shards)} shards of up to {config.run.shard_size} records, executor {config.run.executor}",
    )
    _say(console, f"to {plan.url}: {_state(plan.state)}")
    console.print()
    _say(console, f"in the newest {plan.sampled} records:")
    _print_books(console, plan.ledger)
    _say(console, f"classes ({len(plan.classes)}): {', '.join(plan.classes)}")
    _say(console, f"splits: {', '.join(f'{name} {count}' for name, count in plan.splits.items())}")
    for warning in plan.warnings:
        _say(console, f"warning: {warning}")
    console.print()
    console.print(
        f"for all records about {_size(plan.record_bytes * plan.records)} to read "
        f"and {_size(plan.output_bytes * plan.records)} to write"
        + (f", and {_size(plan.original_bytes * plan.records)} of originals" if plan.original_bytes else "")
        + "; nothing was written now"
    )


def print_formats(console: Console) -> None:
    """Every format by name, what it is, and its options with their defaults."""
    for found in list_formats():
        package = f" (of the package {found.package})" if found.package else ""
        _say(console, f"{found.name}{package}: {found.problem or found.summary}")
        if found.options:
            _say(console, f"  options: {', '.join(found.options)}")
    _say(console, f"what becomes of each kind of annotation: {_program()} formats NAME [OPTION=VALUE ...]")


def print_support(format_: BaseFormat, console: Console) -> None:
    """What becomes of each kind of annotation in a format, as it declares."""
    support = format_.support()
    if not support:
        _say(console, f"{format_.name} does not declare what it loses; a dry run counts it: {_program()} plan my.yaml")
    for kind, found in support.items():
        text = " ".join(filter(None, (found.outcome, found.reason, found.how and f"({found.how})")))
        _say(console, f"{kind.value + ':':34} {text}")


def _say(console: Console, text: str) -> None:
    """A line, in which names from the server are neither markup nor commands to the terminal."""
    console.print(printable(text), markup=False)


def _program() -> str:
    """How to call this program again from where we are."""
    if shutil.which("synapse-export"):
        return "synapse-export"
    return f"{os.path.relpath(sys.executable)} -m pipeline"


def _state(state: State) -> str:
    return {
        State.START: "nothing is there yet",
        State.RESUME: "an unfinished run is there and would be continued",
        State.FINISHED: "this export is there and complete; a run would do nothing",
        State.REPLACE: "an export is there and would be replaced",
    }[state]


def _print_books(console: Console, ledger: Ledger) -> None:
    """One row per count, then what each format could not hold, by annotation tool and reason."""
    table = Table(box=None, pad_edge=False)
    for title in ("", "seen", "written", "changed", "skipped", "failed"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    _row(table, "records", ledger.records)
    _row(table, "annotations", ledger.annotations)
    _row(table, "originals", ledger.originals)
    for name, books in ledger.formats.items():
        _row(table, f"{name} images", books.samples)
        _row(table, f"{name} annotations", books.annotations)
    console.print(table)
    for name, count in (
        ("records", ledger.records),
        ("annotations", ledger.annotations),
        ("originals", ledger.originals),
    ):
        for outcome, reasons in (("skipped", count.skipped), ("failed", count.failed)):
            for reason, number in reasons.items():
                _say(console, f"  {name} {outcome}: {reason} {_number(number)}")
    for name, books in ledger.formats.items():
        by_reason: dict[str, list[str]] = {}
        for tool, reasons in books.losses.items():
            for reason, number in reasons.items():
                by_reason.setdefault(reason, []).append(f"{_number(number)} {tool or 'of no type'}")
        for reason, tools in by_reason.items():
            verb = "changed" if reason in books.annotations.lossy else "not held"
            _say(console, f"  {name}, {verb}: {', '.join(tools)} ({reason})")


def _row(table: Table, name: str, count: Count) -> None:
    if not count.seen:
        return
    changed, skipped, failed = (sum(reasons.values()) for reasons in (count.lossy, count.skipped, count.failed))
    numbers = (count.seen, count.written, changed, skipped, failed)
    table.add_row(name, *(_number(value) if value else "–" for value in numbers))


def _number(value: int) -> str:
    return f"{value:,}"


def _size(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
