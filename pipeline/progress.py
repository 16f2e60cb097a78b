"""Progress as events; the bar on a terminal and the lines in a log are listeners.

Stages report what happened; listeners decide what to show. Nothing here can fail an export.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipeline.redaction import redact

log = logging.getLogger("pipeline")

_SECONDS_BETWEEN_LINES = 10.0


class Tally(msgspec.Struct):
    """The state of a stage: ``done`` of ``total`` units (records, or manifests), bytes moved, failures so far."""

    stage: str
    unit: str
    total: int
    done: int = 0
    resumed: int = 0
    bytes: int = 0
    failures: int = 0
    started: float = msgspec.field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Return the seconds since the stage began."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def rate(self) -> float:
        """Return units per second, not counting those of an earlier run."""
        return (self.done - self.resumed) / self.seconds

    @property
    def remaining(self) -> float | None:
        """Return the seconds to go at this rate, or None while there is no rate."""
        return (self.total - self.done) / self.rate if self.rate > 0 and self.total >= self.done else None


class Listener(Protocol):
    """Shows progress."""

    def update(self, tally: Tally) -> None:
        """Show that the current stage moved, or that a new one began (``tally.done == 0``)."""

    def finish(self, tally: Tally) -> None:
        """Show that the current stage is complete."""

    def message(self, text: str) -> None:
        """Show a line of text."""

    def close(self) -> None:
        """End: no more events follow."""


class Reporter:
    """Takes the events of stages, keeps the tally of the current stage and tells the listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._tally = Tally("", "", 0)
        self.seconds: dict[str, float] = {}

    def begin(self, stage: str, total: int, unit: str = "records", resumed: int = 0) -> None:
        """Begin a stage; an earlier run did ``resumed`` of its ``total`` units."""
        self._tally = Tally(stage, unit, total, done=resumed, resumed=resumed)
        self._listener.update(self._tally)

    def advance(self, done: int, moved: int = 0, failures: int = 0) -> None:
        """Count ``done`` more units, for which ``moved`` bytes were read or written."""
        self._tally.done += done
        self._tally.bytes += moved
        self._tally.failures += failures
        self._listener.update(self._tally)

    def end(self) -> None:
        """Complete the stage."""
        self.seconds[self._tally.stage] = self.seconds.get(self._tally.stage, 0.0) + self._tally.seconds
        self._listener.finish(self._tally)

    def message(self, text: str) -> None:
        """Show a line of text."""
        self._listener.message(redact(text))

    def close(self) -> None:
        """End: no more events follow."""
        self._listener.close()


class Silence:
    """Shows nothing."""

    def update(self, tally: Tally) -> None:
        """Do nothing."""

    def finish(self, tally: Tally) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Lines:
    """One line per stage and at most one in between every few seconds: for logs, pipes and job output."""

    def __init__(self, write: Callable[[str], None] = print, seconds: float = _SECONDS_BETWEEN_LINES) -> None:
        self._write = write
        self._seconds = seconds
        self._last = time.monotonic()

    def update(self, tally: Tally) -> None:
        """Write a line if the last one is old enough."""
        if tally.done > tally.resumed and time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            self._write(f"{describe(tally)}{_remaining(tally)}")

    def finish(self, tally: Tally) -> None:
        """Write the result of the stage."""
        self._last = time.monotonic()
        self._write(f"{describe(tally)}, {tally.seconds:.1f} s")

    def message(self, text: str) -> None:
        """Write the line."""
        self._write(text)

    def close(self) -> None:
        """Do nothing."""


class Bar:
    """A live bar on a terminal: stage, units, rate, bytes per second, failures, time to go."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            console=console,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._bar.start()

    def update(self, tally: Tally) -> None:
        """Move the bar, or begin a new one for a new stage."""
        if self._task is None or self._stage != tally.stage:
            self._stage = tally.stage
            self._task = self._bar.add_task(tally.stage, total=max(tally.total, 1), text="")
        text = f"{describe(tally, stage=False)}{_remaining(tally)}"
        self._bar.update(self._task, completed=tally.done, text=text)

    def finish(self, tally: Tally) -> None:
        """Fill the bar."""
        if self._task is not None:
            self._bar.update(self._task, completed=max(tally.total, 1), text=describe(tally, stage=False))
            self._bar.stop_task(self._task)
        self._task = None

    def message(self, text: str) -> None:
        """Print the line above the bar."""
        self._bar.console.print(printable(text), markup=False, highlight=False)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()


def describe(tally: Tally, *, stage: bool = True) -> str:
    """``extract: 1,200 of 3,000 records, 640/s, 5.2 MB/s, 3 failures``."""
    parts = [f"{tally.done:,} of {tally.total:,} {tally.unit}"]
    if tally.done > tally.resumed:
        parts.append(f"{tally.rate:,.0f}/s")
    if tally.bytes:
        parts.append(f"{tally.bytes / tally.seconds / 1e6:.1f} MB/s")
    if tally.failures:
        parts.append(f"{tally.failures:,} failures")
    return (f"{tally.stage}: " if stage else "") + ", ".join(parts)


def _remaining(tally: Tally) -> str:
    if tally.remaining is None or tally.done >= tally.total:
        return ""
    minutes, seconds = divmod(round(tally.remaining), 60)
    hours, minutes = divmod(minutes, 60)
    return f", {hours}:{minutes:02}:{seconds:02} to go" if hours else f", {minutes}:{seconds:02} to go"


def printable(text: str) -> str:
    """Return text without secrets of URLs, and without the controls by which names could drive a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in redact(text))
