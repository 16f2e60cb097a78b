"""Progress for programs: JSON lines, or the messages alone."""

import time

import msgspec

from pipeline.cli.console import json_text
from pipeline.progress import Tally

_SECONDS_BETWEEN_LINES = 1.0


class Messages:
    """Keeps the messages of a run for its result, and shows nothing."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def update(self, tally: Tally) -> None:
        """Do nothing."""

    def finish(self, tally: Tally) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Keep the line."""
        self.messages.append(text)

    def close(self) -> None:
        """Do nothing."""


class JsonLines(Messages):
    """Prints each event as a JSON object on a line of its own; how far the run is at most once a second in a stage."""

    def __init__(self) -> None:
        super().__init__()
        self._stage = ""
        self._last = 0.0

    def update(self, tally: Tally) -> None:
        """Print how far the run is, where the stage is new or the last line is old enough."""
        if tally.stage != self._stage or time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._print_progress(tally)

    def finish(self, tally: Tally) -> None:
        """Print how far the run is."""
        self._print_progress(tally)

    def message(self, text: str) -> None:
        """Print the line, and keep it."""
        super().message(text)
        print(json_text({"type": "message", "text": text}), flush=True)

    def step(self, text: str) -> None:
        """Print what the run is about to do."""
        print(json_text({"type": "step", "text": text}), flush=True)

    def _print_progress(self, tally: Tally) -> None:
        if tally.whole is None:  # a tally of no run
            return
        self._stage, self._last = tally.stage, time.monotonic()
        snapshot = msgspec.to_builtins(tally.whole.snapshot())
        print(json_text({"type": "progress", "progress": snapshot}), flush=True)
