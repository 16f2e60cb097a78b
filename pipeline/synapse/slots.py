"""Two bounds for concurrent work in one event loop: requests in flight at each host, and bytes held in memory."""

import asyncio
import heapq
import itertools
from collections import deque
from types import TracebackType
from typing import Self

_OWN_SLOTS = 8  # hosts; an export has two or three


class Slots:
    """A semaphore that serves the lowest rank first, and within a rank whoever came first."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    def held(self, rank: int) -> "_Slot":
        """``async with slots.held(rank):`` holds one slot for the block."""
        return _Slot(self, rank)

    async def acquire(self, rank: int) -> None:
        """Take a slot, waiting for one if need be."""
        if self._free:
            self._free -= 1
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._arrivals), future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back."""
        while self._waiting:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
                return
        self._free += 1


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

    async def __aenter__(self) -> None:
        await self._slots.acquire(self._rank)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots.release()


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
