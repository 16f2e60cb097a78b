"""What ``run`` and ``retry-failed`` print at the end: counts, losses, where things are, what to run next."""

from pipeline.cli.books import exported, print_books
from pipeline.cli.console import make_console, number, program, say, size
from pipeline.config.export import ExportConfig
from pipeline.destination import metadata
from pipeline.run import Result

# How to bring an export to the machine that trains: most readers cannot read from object stores.
_FETCHERS = {"s3": "aws s3 sync {url} {folder}", "gs": "gcloud storage rsync --recursive {url} {folder}"}


def print_result(result: Result, config: ExportConfig, source: str) -> None:
    """Print how a run of ``config`` ended. ``source`` is the path of the configuration file."""
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
    print_books(console, ledger)
    classes = [entry["name"] for entry in summary.get("classes", [])]
    say(console, f"classes ({len(classes)}): {', '.join(classes)}")
    splits = summary.get("splits", {})
    say(console, f"splits: {', '.join(f'{name} {number(count)}' for name, count in splits.items())}")
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
