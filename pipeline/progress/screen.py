"""Progress on a terminal: all stages on one screen, which is drawn anew a few times a second."""

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.progress.tally import Snapshot, StageSnapshot, Tally, Whole
from pipeline.progress.text import clock, printable, to_go

_REDRAWN = 4  # times a second
_WIDEST_BAR = 28
_NARROWEST_BAR = 6
_TEXT_WIDTH = 64  # of all columns but the bar
_NAMED_REASONS = 3


class Screen:
    """All stages with their units, rates and times, and one line about the whole run."""

    def __init__(self, console: Console) -> None:
        self._whole = Whole()
        self._step = ""
        self._live = Live(
            self, console=console, refresh_per_second=_REDRAWN, vertical_overflow="crop", redirect_stdout=False
        )
        self._live.start(refresh=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        snapshot = self._whole.snapshot()
        yield picture(snapshot if snapshot.step else _with_step(snapshot, self._step), options.max_width)

    def update(self, tally: Tally) -> None:
        """Show the run that this stage belongs to."""
        self._step = ""
        self._follow(tally)

    def finish(self, tally: Tally) -> None:
        """Show that the stage is complete."""
        self._follow(tally)

    def _follow(self, tally: Tally) -> None:
        if tally.whole is not None:
            self._whole = tally.whole

    def step(self, text: str) -> None:
        """Show what the run is about to do."""
        self._step = text
        self._live.refresh()

    def message(self, text: str) -> None:
        """Print the line above the stages."""
        self._live.console.print(printable(text), markup=False, highlight=False)

    def close(self) -> None:
        """Leave the stages as they are now, and the terminal as it was."""
        self._live.stop()


def picture(snapshot: Snapshot, width: int) -> Group:
    """The stages of a run, a line each, and one line about all of them; none is wider than ``width`` columns."""
    table = Table.grid(padding=(0, 1))
    bar = max(_NARROWEST_BAR, min(_WIDEST_BAR, width - _TEXT_WIDTH))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for _ in range(4):
        table.add_column(justify="right", no_wrap=True)
    for stage in snapshot.stages:
        if stage.stage != "catalog" or stage.state != "waiting":
            table.add_row(*_row(stage, bar))
    line = Text(printable(_line(snapshot)), no_wrap=True, overflow="ellipsis")
    return Group(table, line)


def _row(stage: StageSnapshot, bar: int) -> tuple[Text | ProgressBar, ...]:
    counts = f"{stage.done:,} of {stage.total:,}" if stage.total > 1 else ""
    return (
        Text(stage.stage, style="dim" if stage.state == "waiting" else ""),
        ProgressBar(total=1.0, completed=stage.share, width=bar),
        Text(counts),
        Text(f"{stage.rate:,.0f}/s" if stage.rate and stage.total > 1 else ""),
        Text(f"{stage.bytes_per_second / 1e6:,.1f} MB/s" if stage.bytes else ""),
        Text(clock(stage.seconds) if stage.state != "waiting" else ""),
    )


def _line(snapshot: Snapshot) -> str:
    """``0:16 elapsed, about 10:40 to go, 3 failures (TOO_LARGE 2, …), 2 retries``."""
    parts = [f"{clock(snapshot.elapsed)} elapsed"]
    if snapshot.step:
        parts.append(f"{snapshot.step} …")
    elif snapshot.to_go is not None:
        parts.append(to_go(snapshot.to_go, snapshot.is_guess))
    if total := sum(stage.failures for stage in snapshot.stages):
        largest = sorted(snapshot.failures.items(), key=lambda item: (-item[1], item[0]))[:_NAMED_REASONS]
        named = ", ".join(f"{reason} {number:,}" for reason, number in largest)
        parts.append(f"{total:,} failure{'' if total == 1 else 's'}{f' ({named})' if named else ''}")
    if snapshot.retries:
        parts.append(f"{snapshot.retries:,} retr{'y' if snapshot.retries == 1 else 'ies'}")
    if snapshot.lost_workers:
        parts.append(f"{snapshot.lost_workers:,} lost workers")
    return ", ".join(parts)


def _with_step(snapshot: Snapshot, step: str) -> Snapshot:
    return msgspec.structs.replace(snapshot, step=step) if step else snapshot
