"""How shards are run: one small protocol, and the executor that runs them one after the other in this process."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, Self

from pipeline.errors import ExportError, TransientError

log = logging.getLogger(__name__)

ATTEMPTS = 4
_FIRST_WAIT = 0.5


class Executor(Protocol):
    """Runs a function over inputs, in this process or on a cluster."""

    @property
    def workers(self) -> int:
        """How many inputs are worked on at the same time."""

    @property
    def description(self) -> str:
        """Where work is done and how much at the same time, in one line; empty when that is this process."""

    def map[S, I, O](
        self, function: Callable[[S, I], O], shared: S, inputs: Iterable[I], *, at_most: int | None = None
    ) -> Iterator[O]:
        """``function(shared, input)`` for every input, exactly one result each, in any order.

        Inputs are taken as there is room, so that no more than a few are in flight: as many as there are workers, and
        no more than ``at_most``. A TransientError is tried again up to ``ATTEMPTS`` times in all; any other error ends
        the run, as does a TransientError that stays.
        ``function`` must be a module's own function, and safe to run twice.
        """

    def everywhere[S, O](self, function: Callable[[S, int], O], shared: S) -> Iterator[tuple[str, O | ExportError]]:
        """``function(shared, number)`` once on every machine that may be given work, numbered from 0.

        The name of each machine, and what it answered or the error that it raised; in the order of the numbers.
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
        self, function: Callable[[S, I], O], shared: S, inputs: Iterable[I], *, at_most: int | None = None
    ) -> Iterator[O]:
        """See :meth:`Executor.map`; results come in the order of the inputs."""
        del at_most  # one at a time is never more
        for item in inputs:
            yield _with_retries(function, shared, item)

    def everywhere[S, O](self, function: Callable[[S, int], O], shared: S) -> Iterator[tuple[str, O | ExportError]]:
        """Nothing: this process has proven itself by getting here."""
        del function, shared
        return iter(())

    def close(self) -> None:
        """Nothing to free."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _with_retries[S, I, O](function: Callable[[S, I], O], shared: S, item: I) -> O:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return function(shared, item)
        except TransientError as error:
            if attempt == ATTEMPTS:
                raise
            log.warning("trying again (%d of %d): %s", attempt + 1, ATTEMPTS, error)
            time.sleep(_FIRST_WAIT * 2 ** (attempt - 1))
    raise AssertionError  # the loop returns or raises
