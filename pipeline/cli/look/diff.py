"""``diff``: what differs between two exports, or between an export and the API."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import AsJson, ExportPlace, announce, load, open_place

if TYPE_CHECKING:
    from pipeline.commands.compare import Change, Difference

After = Annotated[
    str,
    typer.Argument(
        metavar="PATH|CONFIG",
        help="a folder or URL that holds another export, or a configuration: then what the API has for it now",
    ),
]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="exit with 1 when they differ")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="how many changes of each kind are listed; 0: all")]


def command(
    before: ExportPlace, after: After, as_json: AsJson = False, exit_code: ExitCode = False, limit: Limit = 100
) -> int:
    """Tell what differs between two exports.

    With a configuration as the second one: between an export and what the API has now.
    """
    from pipeline.commands.compare import compare, open_export, open_live

    with ExitStack() as stack:
        storage = open_place(before)
        stack.callback(storage.close)
        one = open_export(storage)
        if Path(after).suffix in {".yaml", ".yml"}:
            from pipeline.commands.session import open_session

            announce(f"asking the API for what {after} describes …")
            other = open_live(stack.enter_context(open_session(load(after, None))))
        else:
            second = open_place(after)
            stack.callback(second.close)
            other = open_export(second)
        found = compare(one, other, limit)
    if as_json:
        _print_json(found)
    else:
        _print(found)
    return int(exit_code and not found.is_same)


def _print_json(found: "Difference") -> None:
    import msgspec

    from pipeline.cli.console import json_text

    print(json_text({"same": found.is_same, **msgspec.to_builtins(found)}))


def _print(found: "Difference") -> None:
    from pipeline.cli.console import make_console, number, say

    console = make_console()
    say(console, f"before: {found.before}")
    say(console, f"after:  {found.after}")
    if not all(found.annotations_from):
        without = found.before if not found.annotations_from[0] else found.after
        say(console, f"annotations are not compared: {without} has neither the format csv nor synapse_json")
    if found.is_same:
        say(console, f"nothing differs: {number(found.records['same'])} records")
        return
    counts = found.counts
    records = found.records
    told = ", ".join(f"{number(records[key])} {key}" for key in ("added", "removed", "changed", "same"))
    say(console, f"records: {told}")
    for what, kinds in (
        ("images", ("added", "removed", "changed")),
        ("annotations", ("added", "removed", "moved", "reclassified", "edited")),
    ):
        told = ", ".join(f"{number(counts[f'{what[:-1]}_{kind}'])} {kind}" for kind in kinds)
        say(console, f"{what}: {told}")
    for moved in found.splits:
        say(console, f"split {moved.before} → {moved.after}: {number(moved.count)} images")
    for moved in found.reclassified:
        say(console, f"class {moved.before} → {moved.after}: {number(moved.count)} annotations")
    for name, changes in found.classes.items():
        own = {key: getattr(changes, key) for key in ("added", "removed", "moved", "edited")}
        if told := ", ".join(f"{number(count)} {key}" for key, count in own.items() if count):
            say(console, f"class {name or '(none)'}: {told}")
    for one in found.class_numbers:
        ends = ["not there" if end is None else str(end) for end in (one.before, one.after)]
        say(console, f"number of class {one.name}: {ends[0]} → {ends[1]}")
    for change in found.changes:
        say(console, f"  {_line(change)}")
    if hidden := sum(counts.values()) - len(found.changes):
        say(console, f"  … and {number(hidden)} more (--limit 0 lists all)")


def _line(change: "Change") -> str:
    words = change.kind.replace("_", " ")
    place = "/".join(part for part in (str(change.record_id), change.media, change.annotation_id) if part)
    told = f"{change.before} → {change.after}" if change.before != change.after else change.before
    return f"{words}: {place}" + (f" ({told})" if told else "")
