"""The tries of one request: how many there are, how long they take, and when the request is given up."""

from dataclasses import dataclass

from yarl import URL

from pipeline.errors import TransientError
from pipeline.model.backoff import Backoff
from pipeline.synapse.http.urls import redacted_url

_BACKOFF = Backoff(attempts=6, first=0.5, longest=20.0, jitter=0.5, longest_retry_after=60.0)


@dataclass(frozen=True)
class RequestLimits:
    """Bounds of one request: its tries, the seconds each step may take, and the bytes it may bring.

    ``unusable`` bounds the answers that arrive whole but cannot be read. ``connect`` and ``idle`` bound the connection,
    ``attempt`` one try, and ``deadline`` all tries together. ``largest_body`` bounds a decoded answer that is held in
    memory; the largest known records have 28 MB. The tries of a download to a sink are counted anew after every
    ``progress`` bytes, and its deadline grows with the file: one that comes slower than ``slowest`` bytes per second,
    besides the time of one try, is given up. Where nobody says its size, ``unannounced`` bytes are expected.
    """

    backoff: Backoff = _BACKOFF
    unusable: int = 3
    connect: float = 10.0
    idle: float = 60.0
    attempt: float = 300.0
    deadline: float = 900.0
    largest_body: int = 128 * 2**20
    progress: int = 8 * 2**20
    slowest: int = 50_000
    unannounced: int = 128 * 2**20


class FailedTry(Exception):
    """A try that failed and may be repeated.

    ``retry_after`` is the wait in seconds that the server asks for. ``is_unusable`` says that an answer arrived whole
    but is not what was asked for, so that the server is not overloaded.
    """

    def __init__(self, problem: str, *, retry_after: float = 0.0, is_unusable: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after = retry_after
        self.is_unusable = is_unusable


class Tries:
    """Count the tries of one request. Times are seconds of the event loop's clock.

    With ``is_download``, the bytes received so far count as progress, and only single tries are bounded in time here.
    """

    def __init__(self, url: URL, limits: RequestLimits, *, is_download: bool) -> None:
        self._url = url
        self._limits = limits
        self._is_download = is_download
        self._deadline = float("inf")
        self._is_first = True
        self._failures = 0
        self._unusable = 0
        self._received = 0
        self._problem = ""

    def begin(self, now: float) -> float:
        """Return the time at which the try that begins now must end. Raise TransientError after the deadline."""
        if self._is_first and not self._is_download:
            self._deadline = now + self._limits.deadline
        self._is_first = False
        if self._failures and now >= self._deadline:
            raise self._given_up()
        return min(now + self._limits.attempt, self._deadline)

    def fail(self, failure: FailedTry, received: int) -> float:
        """Count a failed try after which a download has ``received`` bytes; return the seconds to wait."""
        self._problem = failure.problem
        self._unusable += failure.is_unusable
        if received - self._received >= self._limits.progress:
            self._failures, self._received = 0, received
        self._failures += 1
        return self._limits.backoff.wait(self._failures, failure.retry_after)

    def check(self, next_start: float) -> None:
        """Raise TransientError if no further try may start at that time."""
        is_last = self._limits.backoff.is_last(self._failures) or self._unusable >= self._limits.unusable
        if is_last or next_start > self._deadline:
            raise self._given_up()

    def _given_up(self) -> TransientError:
        return TransientError(redacted_url(self._url), f"gave up after {self._failures} tries: {self._problem}")
