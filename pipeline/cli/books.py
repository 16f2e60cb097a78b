"""The books as a person reads them: a row per count, then what each format could not hold."""

from rich.console import Console
from rich.table import Table

from pipeline.cli.console import number, say
from pipeline.model.ledger import Count, Ledger


def exported(ledger: Ledger) -> str:
    """How many records are exported, and how many failed."""
    told = f"{number(ledger.records.written)} of {number(ledger.records.seen)} records exported"
    if ledger.failed_records:
        told += f"; {number(ledger.failed_records)} failed, {number(ledger.partial)} of these are exported in part"
    return told


def print_books(console: Console, ledger: Ledger) -> None:
    """Print one row per count, then what each format could not hold, by annotation tool and reason."""
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
            for reason, many in reasons.items():
                say(console, f"  {name} {outcome}: {reason} {number(many)}")
    for name, books in ledger.formats.items():
        by_reason: dict[str, list[str]] = {}
        for tool, reasons in books.losses.items():
            for reason, many in reasons.items():
                by_reason.setdefault(reason, []).append(f"{number(many)} {tool or 'of no type'}")
        for reason, tools in by_reason.items():
            verb = "changed" if reason in books.annotations.lossy else "not held"
            say(console, f"  {name}, {verb}: {', '.join(tools)} ({reason})")


def _row(table: Table, name: str, count: Count) -> None:
    if not count.seen:
        return
    changed, skipped, failed = (sum(reasons.values()) for reasons in (count.lossy, count.skipped, count.failed))
    numbers = (count.seen, count.written, changed, skipped, failed)
    table.add_row(name, *(number(value) if value else "–" for value in numbers))
