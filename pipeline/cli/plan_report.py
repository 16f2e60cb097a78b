"""What ``plan`` prints: what a run would do, what it would lose, and what stands in its way."""

from pipeline.cli.books import print_books
from pipeline.cli.console import json_text, make_console, number, say, size
from pipeline.cli.for_programs.objects import forecast_object
from pipeline.commands.estimate import Volume
from pipeline.commands.forecast import forecast
from pipeline.config.export import ExportConfig
from pipeline.destination.existing import State

_STATES = {
    State.START: "nothing is there yet",
    State.RESUME: "an unfinished run is there and would be continued",
    State.FINISHED: "this export is there and complete; a run would do nothing",
    State.REPLACE: "an export is there and would be replaced",
}


def print_forecast(config: ExportConfig, *, as_json: bool = False) -> int:
    """Print what a run of ``config`` would do, for people or as JSON.

    Returns the exit code that the run would end with, as far as is known.

    Raises what :func:`pipeline.run.run` raises before any work.
    """
    plan = forecast(config)
    if as_json:
        print(json_text(forecast_object(plan, config)))
        return plan.exit_code
    console = make_console()
    say(console, f"{config.name}: {number(plan.records)} records of {plan.project_title or config.target}")
    shards = f"{number(plan.shards)} shard{'s' if plan.shards != 1 else ''}"
    say(console, f"{shards} of up to {config.run.shard_size} records, executor {plan.executor}")
    say(console, f"to {plan.url}: {_STATES[plan.state]}")
    console.print()
    say(console, f"in the newest {plan.sampled} records:")
    print_books(console, plan.ledger)
    say(console, f"classes ({len(plan.classes)}): {', '.join(plan.classes)}")
    say(console, f"splits: {', '.join(f'{name} {count}' for name, count in plan.splits.items())}")
    for warning in plan.warnings:
        say(console, f"warning: {warning}")
    console.print()
    say(console, f"for all records: {_volume(plan.read)} to read, {_volume(plan.written)} to write")
    if plan.unknown_originals:
        say(console, "  without the originals: nobody tells their sizes")
    for mistake in plan.mistakes:
        say(console, f"error: {mistake}")
    for obstacle in plan.obstacles:
        say(console, f"a run would end with exit code {obstacle.exit_code}: {obstacle}")
    say(console, "nothing was written now")
    return plan.exit_code


def _volume(volume: Volume) -> str:
    """Bytes with their spread, where there is one."""
    low, middle, high = map(size, (volume.low, volume.bytes, volume.high))
    return middle if low == high else f"about {middle} ({low} to {high})"
