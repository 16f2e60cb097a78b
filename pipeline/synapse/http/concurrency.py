"""Two bounds for concurrent work in one event loop: requests in flight at each host, and bytes held in memory."""

import asyncio
import heapq
import itertools
from collections import deque
from types import TracebackType
from typing import Self

_OWN_SLOTS = 8  # hosts; an export has two or three


class Slots:
    """A semaphore that serves the lowest rank first, and within a rank whoever came first, and follows the server.

    At most ``number`` slots are held at once, and fewer while the server is in trouble: an answer that says so halves
    what was in flight, once for all requests that were on their way then, and each round of good answers adds one slot
    (additive increase, multiplicative decrease: RFC 5681 does the same to packets). A server that answers everything
    but has more of our requests waiting than it works on shows by answers that take ``SLOWER`` times as long as they
    did; there too what is in flight is halved. If that does not help, it is not the number of requests that makes
    answers slow, so the longer time is the usual one from then on, and the number is what it was.

    Only when requests are sent depends on any of this, never what is exported.
    """

    SLOWER = 3.0
    """Times the usual time of an answer, at which requests must be waiting at the server."""

    UNNOTICED = 0.25
    """Seconds; answers that come within it are quick enough, however quick others were."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._allowed = float(number)
        self._held = 0
        self._most_held = 0
        self._decreases = 0
        self._paused_until = 0.0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()
        self._usual = 0.0
        self._round: list[float] = []
        self._is_first = (
            True  # requests that arrive together wait for each other: not how the server is in the long run
        )
        self._probe: tuple[float, float] | None = None

    @property
    def allowed(self) -> int:
        """How many slots may be held at the same time as things are."""
        return max(1, int(self._allowed))

    def held(self, rank: int) -> "_Slot":
        """``async with slots.held(rank) as slot:`` holds one slot for the block, in which the answer is told."""
        return _Slot(self, rank)

    def pause(self, seconds: float) -> None:
        """Give no slot to anybody for so long; of several pauses the one that ends last counts."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if until > self._paused_until:
            self._paused_until = until
            loop.call_at(until, self._wake)

    async def acquire(self, rank: int) -> int:
        """Take a slot, waiting for one if need be. Returns how often the number had been halved by then."""
        if self._has_room():
            self._take()
            return self._decreases
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._arrivals), future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release()
            raise
        return self._decreases

    def release(self) -> None:
        """Give a slot back."""
        self._held -= 1
        self._wake()

    def trouble(self, since: int) -> None:
        """A request whose :meth:`acquire` returned ``since`` was refused for load, lost or not answered in time."""
        if since == self._decreases:
            self._decrease()
            self._probe = None

    def answered(self, since: int, seconds: float | None = None) -> None:
        """A request was answered, after so many seconds where that says anything about load."""
        if since != self._decreases:
            return  # it was on its way before the number was halved, and says nothing about what came of that
        if seconds is not None:
            self._round.append(seconds)
            if len(self._round) >= self.allowed:
                self._judge_round()
                return
        if self._probe is None and self._allowed < self._number:
            self._allowed = min(float(self._number), self._allowed + 1 / self._allowed)
            self._wake()

    def _judge_round(self) -> None:
        """As many answers as there are slots: compare their mean with what is usual."""
        mean, quickest = sum(self._round) / len(self._round), min(self._round)
        most, self._most_held = self._most_held, self._held
        self._round.clear()
        if self._is_first:
            self._is_first = False
            self._usual = min(self._usual, quickest) if self._usual else quickest
            return
        if self._probe is not None:
            before, allowed = self._probe
            self._probe = None
            if mean > 0.75 * before:  # half as many at a time, and no quicker
                self._usual, self._allowed, self._is_first = mean, allowed, True
                self._wake()
                return
        self._usual = min(self._usual, mean)
        if mean > max(self.UNNOTICED, self.SLOWER * self._usual) and most > 1:
            allowed, self._most_held = self._allowed, most
            self._decrease()
            self._probe = mean, allowed

    def _decrease(self) -> None:
        self._allowed = max(1.0, min(self._allowed, self._most_held) / 2)
        self._decreases += 1
        self._round.clear()
        self._most_held = self._held

    def _has_room(self) -> bool:
        if self._held >= self.allowed:
            return False
        return not self._paused_until or self._paused_until <= asyncio.get_running_loop().time()

    def _take(self) -> None:
        self._held += 1
        self._most_held = max(self._most_held, self._held)

    def _wake(self) -> None:
        while self._waiting and self._has_room():
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                self._take()
                future.set_result(None)


class HostSlots:
    """Slots of each host: ``number`` requests are in flight at any one of them, whatever the others do.

    So a store that is slow, or down, takes nothing from the API or from another store, and none of them ever sees
    more than ``number``. The hosts that are seen first have slots of their own, all others share: whoever writes the
    URLs must not get a connection for each name that he thinks of.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._of: dict[str, Slots] = {}

    def of(self, host: str) -> Slots:
        """The slots for requests to a host."""
        slots = self._of.get(host)
        if slots is None:
            if len(self._of) >= _OWN_SLOTS:
                host = ""
            slots = self._of.setdefault(host, Slots(self._number))
        return slots


class _Slot:
    def __init__(self, slots: Slots, rank: int) -> None:
        self._slots = slots
        self._rank = rank
        self._since = 0

    async def __aenter__(self) -> Self:
        self._since = await self._slots.acquire(self._rank)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots.release()

    def trouble(self) -> None:
        """See :meth:`Slots.trouble`."""
        self._slots.trouble(self._since)

    def answered(self, seconds: float | None = None) -> None:
        """See :meth:`Slots.answered`."""
        self._slots.answered(self._since, seconds)


class ByteBudget:
    """Bytes that may be held at once. What is larger than all of it waits until nothing else is held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def lease(self) -> "Lease":
        """``async with budget.lease() as lease:`` frees at the end of the block what was held in it."""
        return Lease(self)

    async def take(self, size: int) -> None:
        """Wait until ``size`` more bytes may be held."""
        if not self._waiting and self._fits(size):
            self._held += size
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give(size)
            raise

    def force(self, size: int) -> None:
        """Hold ``size`` more bytes at once: they are there already."""
        self._held += size

    def give(self, size: int) -> None:
        """Give bytes back."""
        self._held -= size
        while self._waiting:
            wanted, future = self._waiting[0]
            if not future.done():
                if not self._fits(wanted):
                    return
                self._held += wanted
                future.set_result(None)
            self._waiting.popleft()

    def _fits(self, size: int) -> bool:
        return self._held == 0 or self._held + size <= self._limit


class Lease:
    """One holder's share of a budget: a body that is being received or worked on."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._size = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()

    async def hold(self, size: int) -> None:
        """Hold exactly ``size`` bytes; what was held before (by an attempt that failed) is given back first."""
        self.free()
        await self._budget.take(size)
        self._size = size

    def grow(self, size: int) -> None:
        """Correct the size to ``size`` without waiting, for bodies whose size was not announced."""
        if size > self._size:
            self._budget.force(size - self._size)
            self._size = size

    def free(self) -> None:
        """Give everything back."""
        size, self._size = self._size, 0
        if size:
            self._budget.give(size)
