"""A bound on the bytes that concurrent work holds in memory."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

DOCUMENT_BYTES = 32 * 2**20
"""Bodies of pages and payloads that one process holds at once; a larger one is held alone."""
ORIGINAL_BYTES = 64 * 2**20
"""Bytes of originals that one process holds at once."""


class ByteBudget:
    """Bytes that may be held at once. Something larger than the whole budget waits until nothing else is held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def lease(self) -> "Lease":
        """Return a lease that frees, at the end of its ``async with`` block, what it holds."""
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
        """Hold ``size`` more bytes without waiting: they are in memory already."""
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
    """One holder's share of a budget: a body that is being received or processed."""

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
        """Hold exactly ``size`` bytes; what a failed try held is given back first."""
        self.free()
        await self._budget.take(size)
        self._size = size

    def grow(self, size: int) -> None:
        """Raise the held size to ``size`` without waiting, for bodies whose size was not announced."""
        if size > self._size:
            self._budget.force(size - self._size)
            self._size = size

    def free(self) -> None:
        """Give everything back."""
        size, self._size = self._size, 0
        if size:
            self._budget.give(size)
