"""How often to try again, and how long to wait before each try."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """A bounded number of attempts with growing waits between them. All times are in seconds.

    The wait after the first failure is ``first``; each further failure multiplies it by ``factor``, up to ``longest``.
    ``jitter`` is the share of a wait that is random, which spreads clients out in time. A server's Retry-After is
    honoured up to ``longest_retry_after``.
    """

    attempts: int
    first: float
    factor: float = 2.0
    longest: float = 60.0
    jitter: float = 0.0
    longest_retry_after: float = 60.0

    def is_last(self, attempt: int) -> bool:
        """Whether no attempt follows attempt number ``attempt`` (counted from 1)."""
        return attempt >= self.attempts

    def wait(self, failures: int, retry_after: float = 0.0) -> float:
        """Return the seconds to wait after so many failures in a row, and at least ``retry_after`` within its bound."""
        growth = self.factor ** min(failures - 1, 64)  # a float has no room for many more doublings
        wait = min(self.longest, self.first * growth)
        if self.jitter:
            wait *= random.uniform(1 - self.jitter, 1)  # noqa: S311  only spreads clients out in time
        return max(wait, min(retry_after, self.longest_retry_after))
