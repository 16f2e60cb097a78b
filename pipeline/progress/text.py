"""Progress in words: one line of a log, times, and what may be printed at all."""

import time
from collections.abc import Callable

from pipeline.progress.tally import Tally
from pipeline.redaction import redact

_SECONDS_BETWEEN_LINES = 10.0


class Lines:
    """One line per stage and at most one in between every few seconds: for logs, pipes and job output.

    ``write`` gets each line, and ``tell`` gets what the run is about to do; by default nobody is told that.
    """

    def __init__(
        self,
        write: Callable[[str], None] = print,
        seconds: float = _SECONDS_BETWEEN_LINES,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._write = write
        self._tell = tell
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

    def step(self, text: str) -> None:
        """Tell what the run is about to do."""
        if self._tell is not None:
            self._tell(f"{text} …")

    def close(self) -> None:
        """Do nothing."""


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
    """The time to go of the run; of a stage alone that belongs to none."""
    if tally.whole is not None:
        found = tally.whole.to_go()
        return f", {to_go(*found)}" if found else ""
    if tally.remaining is None or tally.done >= tally.total:
        return ""
    return f", {to_go(tally.remaining)}"


def to_go(seconds: float, is_guess: bool = False) -> str:
    """``about 0:10:40 to go``."""
    return f"{'about ' if is_guess else ''}{clock(seconds)} to go"


def clock(seconds: float) -> str:
    """Seconds as ``1:02`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def printable(text: str) -> str:
    """Return text without secrets of URLs, and without the controls by which names could drive a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in redact(text))
