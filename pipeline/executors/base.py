"""The protocol of executors, and the executor that runs shards one after the other in this process."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, Self

from pipeline.errors import ExportError, TransientError
from pipeline.model.backoff import Backoff
from pipeline.progress import trouble

log = logging.getLogger(__name__)

RETRIES = Backoff(attempts=4, first=0.5)
"""How often an input is tried that fails with a TransientError, or whose worker is lost."""
PLAIN_LOSSES = 2
"""How many workers an input may lose before it is worked on carefully: one may have been anybody's victim."""
CAREFUL_LOSSES = 6
"""How many in all, where being careful finds out what it is that they are lost to."""


class Executor(Protocol):
    """Runs a function over inputs, in this process or on a cluster."""

    @property
    def workers(self) -> int:
        """Return how many inputs are processed at the same time."""

    @property
    def description(self) -> str:
        """Return where work is done and how much at once, in one line; empty for this process."""

    def map[S, I, O](
        self,
        function: Callable[[S, I], O],
        shared: S,
        inputs: Iterable[I],
        *,
        at_most: int | None = None,
        careful: S | None = None,
    ) -> Iterator[O]:
        """Yield ``function(shared, input)`` for every input, exactly one result each, in any order.

        Inputs are taken as there is room, so that only a few are in flight: as many as there are workers, and no more
        than ``at_most``. A TransientError is tried again as often as ``RETRIES`` says; any other error ends the run, as
        does a TransientError that stays.

        An input whose worker was lost (killed, out of memory, or with its machine) or that took too long is tried again
        likewise. With ``careful``, the attempts after ``PLAIN_LOSSES`` get that instead of ``shared``, and up to
        ``CAREFUL_LOSSES`` workers may be lost.
        ``function`` must be a module's own function, and safe to run twice, also at the same time.
        """

    def run_on_machines[S, O](
        self, function: Callable[[S, int], O], shared: S
    ) -> Iterator[tuple[str, O | ExportError]]:
        """Run ``function(shared, number)`` once on every machine that may be given work, numbered from 0.

        Yield the name of each machine, and its answer or the error that it raised, in the order of the numbers.
        """

    def close(self) -> None:
        """Free what the executor holds."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class SerialExecutor:
    """One input after the other, in this process: for small exports, for debugging, and for most tests."""

    workers = 1
    description = ""

    def map[S, I, O](
        self,
        function: Callable[[S, I], O],
        shared: S,
        inputs: Iterable[I],
        *,
        at_most: int | None = None,
        careful: S | None = None,
    ) -> Iterator[O]:
        """See :meth:`Executor.map`; results come in the order of the inputs."""
        del at_most  # one at a time is never more
        for item in inputs:
            yield _with_retries(function, shared, item, careful)

    def run_on_machines[S, O](
        self, function: Callable[[S, int], O], shared: S
    ) -> Iterator[tuple[str, O | ExportError]]:
        """Yield nothing: this process has proven itself by getting here."""
        del function, shared
        return iter(())

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Trial[I]:
    """One input, and the outcome of its attempts so far."""

    def __init__(self, item: I, *, can_be_careful: bool) -> None:
        self.item = item
        self._can_be_careful = can_be_careful
        self._failures = 0
        self._losses = 0

    @property
    def is_careful(self) -> bool:
        """Return whether the next attempt has to find the record that kills workers."""
        return self._can_be_careful and self._losses >= PLAIN_LOSSES

    def count_failure(self, error: TransientError) -> float:
        """Return the seconds to wait before the next attempt. Raises the error if there is none."""
        self._failures += 1
        if RETRIES.is_last(self._failures):
            raise error
        log.warning("trying again (%d of %d): %s", self._failures + 1, RETRIES.attempts, error)
        trouble(str(error))
        return RETRIES.wait(self._failures)

    def count_loss(self, reason: str) -> None:
        """Count a lost worker. Raises TransientError if there is no further attempt."""
        self._losses += 1
        most = CAREFUL_LOSSES if self._can_be_careful else RETRIES.attempts - 1
        if self._losses > most:
            raise TransientError("a worker was lost", f"{self._losses} times on the same work, at last: {reason}")
        log.warning("a worker was lost, trying again (%d of %d): %s", self._losses + 1, most + 1, reason)
        trouble(reason, lost=True)


def _with_retries[S, I, O](function: Callable[[S, I], O], shared: S, item: I, careful: S | None) -> O:
    trial = Trial(item, can_be_careful=careful is not None)
    while True:  # a trial ends
        try:
            return function(careful if careful is not None and trial.is_careful else shared, item)
        except TransientError as error:
            time.sleep(trial.count_failure(error))
        except MemoryError:
            trial.count_loss("out of memory")
