"""``status``: how far a run is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import ExportPlace, announce, open_place

if TYPE_CHECKING:
    from pipeline.commands.status import Status

_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BETWEEN_REQUESTS = 10.0  # a store charges for each look, and the run does not tell more often
_UNFINISHED = 1

Watch = Annotated[bool, typer.Option("--watch", help="look again every few seconds until the run ends")]
AsJson = Annotated[
    bool, typer.Option("--json", help="print one JSON object (with --watch one a line); see docs/json.md")
]


def command(path: ExportPlace, watch: Watch = False, as_json: AsJson = False) -> int:
    """Show how far a run is, and what to do next.

    It reads three small files, says who holds the path, and changes nothing. With --watch the exit code is 0 when the
    export is finished at the end, and 1 when it is not.
    """
    from pipeline.cli.console import program
    from pipeline.cli.status.report import print_json, print_status, watch_status
    from pipeline.commands.status import State, find_status

    announce(f"looking at {path} …")
    storage = open_place(path)
    config = path if Path(path).suffix in {".yaml", ".yml"} else ""

    def look() -> "Status":
        return find_status(storage, program=program(), config=config)

    try:
        if watch:
            seconds = _SECONDS_BETWEEN_REQUESTS if storage.is_shared else _SECONDS_BETWEEN_LOOKS
            last = watch_status(look, seconds, as_json=as_json)
            return 0 if last.state is State.FINISHED else _UNFINISHED
        found = look()
        if as_json:
            print_json(found)
        else:
            print_status(found)
    finally:
        storage.close()
    return 0
