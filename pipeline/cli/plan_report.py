"""What ``plan`` prints: what a run would do, what it would lose, and what stands in its way."""

from pipeline.cli.books import print_books
from pipeline.cli.console import make_console, number, say, size
from pipeline.commands.forecast import forecast
from pipeline.config.export import ExportConfig
from pipeline.destination.existing import State

_STATES = {
    State.START: "nothing is there yet",
    State.RESUME: "an unfinished run is there and would be continued",
    State.FINISHED: "this export is there and complete; a run would do nothing",
    State.REPLACE: "an export is there and would be replaced",
}


def print_forecast(config: ExportConfig) -> None:
    """Print what a run of ``config`` would do. Raises what :func:`pipeline.run.run` raises before any work."""
    console = make_console()
    plan = forecast(config)
    say(console, f"{config.name}: {number(plan.records)} records of {plan.project_title or config.target}")
    say(
        console,
        f"{number(plan.shards)} shards of up to {config.run.shard_size} records, executor {config.run.executor}",
    )
    say(console, f"to {plan.url}: {_STATES[plan.state]}")
    console.print()
    say(console, f"in the newest {plan.sampled} records:")
    print_books(console, plan.ledger)
    say(console, f"classes ({len(plan.classes)}): {', '.join(plan.classes)}")
    say(console, f"splits: {', '.join(f'{name} {count}' for name, count in plan.splits.items())}")
    for warning in plan.warnings:
        say(console, f"warning: {warning}")
    console.print()
    console.print(
        f"for all records about {size(plan.record_bytes * plan.records)} to read "
        f"and {size(plan.output_bytes * plan.records)} to write"
        + (f", and {size(plan.original_bytes * plan.records)} of originals" if plan.original_bytes else "")
        + "; nothing was written now"
    )
