"""Places for requests in flight at each host, and the queue for them."""

import asyncio
import heapq
import itertools
from types import TracebackType
from typing import Self

from pipeline.synapse.http.adaptive_limit import AdaptiveLimit

type Rank = int | tuple[int, int]
_OWN_SLOTS = 8  # hosts; an export has two or three


class HostSlots:
    """Slots of each host: at most ``number`` requests are in flight at one host, whatever the others do.

    A store that is slow or down takes nothing from the API or from another store, and none of them ever sees more than
    ``number`` requests. The first few hosts have slots of their own and all others share: the author of the URLs must
    not get connections for every host name that he invents.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._of: dict[str, Slots] = {}

    def of(self, host: str) -> "Slots":
        """Return the slots for requests to a host."""
        slots = self._of.get(host)
        if slots is None:
            if len(self._of) >= _OWN_SLOTS:
                host = ""
            slots = self._of.setdefault(host, Slots(self._number))
        return slots


class Slots:
    """The queue for the slots of one host: the lowest rank goes first, and within a rank the first to arrive.

    An :class:`AdaptiveLimit` says how many of the ``number`` slots may be held at the same time.
    """

    def __init__(self, number: int) -> None:
        self._limit = AdaptiveLimit(number)
        self._held = 0
        self._paused_until = 0.0
        self._waiting: list[tuple[Rank, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    @property
    def allowed(self) -> int:
        """How many slots may be held at the same time now."""
        return self._limit.allowed

    def hold(self, rank: Rank) -> "Slot":
        """Hold a slot for an ``async with`` block, in which the outcome of the request is reported."""
        return Slot(self, rank)

    def pause(self, seconds: float) -> None:
        """Give out no slot for so many seconds; of several pauses, the one that ends last counts."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if until > self._paused_until:
            self._paused_until = until
            loop.call_at(until, self._wake)

    async def acquire(self, rank: Rank) -> int:
        """Take a slot, waiting for one if need be. Return how often the limit had been halved by then."""
        if self._has_room():
            self._take()
            return self._limit.halvings
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._arrivals), future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release()
            raise
        return self._limit.halvings

    def release(self) -> None:
        """Give a slot back."""
        self._held -= 1
        self._wake()

    def report_success(self, halvings: int) -> None:
        """A request was answered whose :meth:`acquire` returned ``halvings``."""
        self._limit.report_success(halvings)
        self._wake()

    def report_trouble(self, halvings: int) -> None:
        """A request whose :meth:`acquire` returned ``halvings`` was refused for load, lost or not answered in time."""
        self._limit.report_trouble(halvings, self._held)

    def _has_room(self) -> bool:
        if self._held >= self._limit.allowed:
            return False
        return not self._paused_until or self._paused_until <= asyncio.get_running_loop().time()

    def _take(self) -> None:
        self._held += 1
        self._limit.record_in_flight(self._held)

    def _wake(self) -> None:
        while self._waiting and self._has_room():
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                self._take()
                future.set_result(None)


class Slot:
    """One slot, held for the block of an ``async with``."""

    def __init__(self, slots: Slots, rank: Rank) -> None:
        self._slots = slots
        self._rank = rank
        self._halvings = 0

    async def __aenter__(self) -> Self:
        self._halvings = await self._slots.acquire(self._rank)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots.release()

    def report_success(self) -> None:
        """The request was answered."""
        self._slots.report_success(self._halvings)

    def report_trouble(self) -> None:
        """The request was refused for load, lost or not answered in time."""
        self._slots.report_trouble(self._halvings)
