"""How shards are run: one small protocol, and the executor that runs them one after the other in this process."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, Self

from pipeline.errors import TransientError

log = logging.getLogger(__name__)

ATTEMPTS = 4
_FIRST_WAIT = 0.5


class Executor(Protocol):
    """Runs a function over inputs, in this process or on a cluster."""

    @property
    def workers(self) -> int:
        """How many inputs are worked on at the same time."""

    @property
    def shares_nothing(self) -> bool:
        """Whether workers may be on machines that do not see this machine's disks."""

    def map[S, I, O](self, function: Callable[[S, I], O], shared: S, inputs: Iterable[I]) -> Iterator[O]:
        """``function(shared, input)`` for every input, exactly one result each, in any order.

        Inputs are taken as there is room, so that no more than a few are in flight. A TransientError is tried again
        up to ``ATTEMPTS`` times in all; any other error ends the run, as does a TransientError that stays.
        ``function`` must be a module's own function, and safe to run twice.
        """

    def close(self) -> None:
        """Free what the executor holds."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class SerialExecutor:
    """One input after the other, in this process: for small exports, for debugging, and for most tests."""

    workers = 1
    shares_nothing = False

    def map[S, I, O](self, function: Callable[[S, I], O], shared: S, inputs: Iterable[I]) -> Iterator[O]:
        """See :meth:`Executor.map`; results come in the order of the inputs."""
        for item in inputs:
            yield _with_retries(function, shared, item)

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
