"""The protocol of executors, and the executor that works on shards in this process."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
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
_INTERRUPT_SECONDS = 0.2


class Executor(Protocol):
    """Runs a function over inputs, in this process or on a cluster."""

    @property
    def workers(self) -> int:
        """Return how many inputs are processed at the same time."""

    @property
    def has_machines(self) -> bool:
        """Return whether work is done by processes that others started, which have to be checked first."""

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
        lanes: int = 1,
        interrupt: Callable[[], None] | None = None,
    ) -> Iterator[O]:
        """Yield ``function(shared, input)`` for every input, exactly one result each, in any order.

        Inputs are taken as there is room, so that only a few are in flight: in as many workers as there are, and no
        more than ``at_most``, and in each worker ``lanes`` of them, in threads. More lanes than one are for inputs that
        wait, for a network or a store. A TransientError is tried again as often as ``RETRIES`` says; any other error
        ends the run, as does a TransientError that stays. ``interrupt`` is called, perhaps several times, when the run
        ends early: it makes inputs return that wait in other threads of this process.

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
    """Inputs in this process: for small exports, for debugging, and for most tests."""

    workers = 1
    has_machines = False
    description = ""

    def map[S, I, O](
        self,
        function: Callable[[S, I], O],
        shared: S,
        inputs: Iterable[I],
        *,
        at_most: int | None = None,
        careful: S | None = None,
        lanes: int = 1,
        interrupt: Callable[[], None] | None = None,
    ) -> Iterator[O]:
        """See :meth:`Executor.map`; with one lane, results come in the order of the inputs."""
        del at_most  # one process is never more
        if lanes > 1:
            yield from _in_lanes(function, shared, inputs, careful, lanes, interrupt)
            return
        for item in inputs:
            yield _with_retries(function, shared, item, careful, time.sleep)

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

    @property
    def is_suspect(self) -> bool:
        """Return whether a worker was lost on this input, so that no other input should be in the same worker."""
        return self._losses > 0

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


def _in_lanes[S, I, O](
    function: Callable[[S, I], O],
    shared: S,
    inputs: Iterable[I],
    careful: S | None,
    lanes: int,
    interrupt: Callable[[], None] | None,
) -> Iterator[O]:
    remaining = iter(inputs)
    running: set[Future[O]] = set()
    ended = threading.Event()

    def sleep(seconds: float) -> None:
        if ended.wait(seconds):
            raise _EndedError

    def work(item: I) -> O:
        return _with_retries(function, shared, item, careful, sleep)

    with ThreadPoolExecutor(lanes, "lane") as pool:
        try:
            while True:  # every input ends
                for item in itertools.islice(remaining, lanes - len(running)):
                    running.add(pool.submit(copy_context().run, work, item))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            # A future that is cancelled before a thread took it is never done for wait().
            begun = {future for future in running if not future.cancelled()}
            while interrupt and wait(begun, _INTERRUPT_SECONDS).not_done:
                interrupt()
            raise


class _EndedError(Exception):
    """The run has ended meanwhile; nobody sees this."""


def _with_retries[S, I, O](
    function: Callable[[S, I], O], shared: S, item: I, careful: S | None, sleep: Callable[[float], None]
) -> O:
    trial = Trial(item, can_be_careful=careful is not None)
    while True:  # a trial ends
        try:
            return function(careful if careful is not None and trial.is_careful else shared, item)
        except TransientError as error:
            sleep(trial.count_failure(error))
        except MemoryError:
            trial.count_loss("out of memory")
            sleep(0)
