"""What stages report to, and what shows it."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Protocol

from pipeline.progress.tally import RENDER_WITH_ORIGINALS, Tally, Whole
from pipeline.redaction import redact

_SECONDS_BETWEEN_TICKS = 0.1


class Listener(Protocol):
    """Shows progress. It is called by one thread at a time, which is not always the same one.

    A listener may also have ``step(text)``: it is told what the run is about to do, before anything that takes long.
    """

    def update(self, tally: Tally) -> None:
        """Show that the current stage moved, or that a new one began (``tally.done == 0``)."""

    def finish(self, tally: Tally) -> None:
        """Show that the current stage is complete."""

    def message(self, text: str) -> None:
        """Show a line of text."""

    def close(self) -> None:
        """End: no more events follow."""


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


class Reporter:
    """Takes the events of stages, keeps the tally of the run and tells the listener. Any thread may call it.

    A shard that is under way counts with what it has done so far (:func:`ticker`), until it is complete
    (:meth:`advance`) or begun anew.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.RLock()
        self._whole = Whole()
        self._tally = Tally("", "", 0)
        self._complete = 0
        self._under_way: dict[int, int] = {}
        self._process = os.getpid()
        self._on_change: Callable[[], None] | None = None
        self.seconds: dict[str, float] = {}

    @property
    def whole(self) -> Whole:
        """The tally of the run."""
        return self._whole

    def call_on_change(self, function: Callable[[], None] | None) -> None:
        """Call ``function`` whenever a stage begins or ends; None calls nobody."""
        self._on_change = function

    def expect(self, records: int, *, originals: bool) -> None:
        """Say how many records the stages to come have, and whether originals are copied."""
        with self._lock:
            self._whole.records = records
            if originals:
                self._whole.shares["render"] = RENDER_WITH_ORIGINALS

    def begin(
        self,
        stage: str,
        total: int,
        unit: str = "records",
        resumed: int = 0,
        total_bytes: int = 0,
        resumed_bytes: int = 0,
    ) -> None:
        """Begin a stage; an earlier run did ``resumed`` of its ``total`` units, ``resumed_bytes`` of its bytes."""
        with self._lock:
            self._tally = Tally(
                stage, unit, total, resumed, resumed,
                total_bytes=total_bytes, resumed_bytes=resumed_bytes, whole=self._whole,
            )  # fmt: skip
            self._complete = resumed
            self._under_way.clear()
            self._whole.step = ""
            self._whole.stages.pop(stage, None)  # one that is begun again is the last one
            self._whole.stages[stage] = self._tally
            self._listener.update(self._tally)
        self._changed()

    def advance(
        self,
        done: int,
        moved: int = 0,
        failures: int = 0,
        *,
        shard: int | None = None,
        retries: int = 0,
        reasons: Mapping[str, int] | None = None,
    ) -> None:
        """Count ``done`` more units, for which ``moved`` bytes were read or written.

        They complete ``shard``, in which ``retries`` requests were repeated and records failed for ``reasons``.
        """
        with self._lock:
            tally, whole = self._tally, self._whole
            if shard is not None:
                self._under_way.pop(shard, None)
            self._complete += done
            tally.bytes += moved
            tally.failures += failures
            whole.retries += retries
            whole.reasons.update(reasons or {})
            self._moved()

    def within(self, shard: int, done: int) -> None:
        """Say that ``done`` units of a shard are done that is under way."""
        with self._lock:
            self._under_way[shard] = done
            self._moved()

    def _moved(self) -> None:
        tally = self._tally
        tally.done = min(self._complete + sum(self._under_way.values()), max(tally.total, self._complete))
        tally.mark()
        self._listener.update(tally)

    def end(self) -> None:
        """Complete the stage."""
        with self._lock:
            tally = self._tally
            tally.ended = time.monotonic()
            self._under_way.clear()
            tally.done = self._complete
            self.seconds[tally.stage] = self.seconds.get(tally.stage, 0.0) + tally.seconds
            self._listener.finish(tally)
        self._changed()

    def trouble(self, text: str, *, lost: bool) -> None:
        """Count a shard that is tried again and say why; ``lost`` says that its worker was lost, or given up."""
        with self._lock:
            self._whole.retries += 1
            self._whole.lost_workers += lost
            self._whole.problems.append(redact(text))

    def step(self, text: str) -> None:
        """Say what the run is about to do, before anything that may take long."""
        with self._lock:
            self._whole.step = redact(text)
            tell = getattr(self._listener, "step", None)
            if tell is not None:
                tell(self._whole.step)

    def message(self, text: str) -> None:
        """Show a line of text."""
        with self._lock:
            self._listener.message(redact(text))

    def close(self) -> None:
        """End: no more events follow."""
        with self._lock:
            self._whole.ended = time.monotonic()
            self._listener.close()

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Within the block, :func:`ticker` and :func:`trouble` report here, also from threads with this context."""
        token = _following.set(self)
        try:
            yield
        finally:
            _following.reset(token)

    def is_here(self) -> bool:
        """Tell whether this is the process that the reporter is of; a forked one has a copy that nobody looks at."""
        return self._process == os.getpid()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()


_following: ContextVar[Reporter | None] = ContextVar("the reporter of the stage", default=None)


def ticker(shard: int, records: int) -> Callable[[float], None]:
    """Return what is called with the part of a shard that is done, from 0 to 1; any thread may call it.

    Where nobody follows, as in the process of a worker, it does nothing. It reports ten times a second at most.
    """
    reporter = _following.get()
    if reporter is None or not reporter.is_here():
        return lambda _: None
    last = time.monotonic()
    reporter.within(shard, 0)  # an attempt before this one may have come further

    def tick(part: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_TICKS:
            last = now
            reporter.within(shard, int(records * min(part, 1.0)))

    return tick


def trouble(text: str, *, lost: bool = False) -> None:
    """Tell the reporter that is followed, if any, that a shard is tried again; ``lost``: its worker was lost."""
    reporter = _following.get()
    if reporter is not None and reporter.is_here():
        reporter.trouble(text, lost=lost)
