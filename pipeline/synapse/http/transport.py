"""HTTP for the hot path: pages, payloads and originals over one connection pool, with bounded retries.

These rules are kept here and nowhere else: credentials go to the API's own origin only; files come only from hosts that
:mod:`pipeline.synapse.http.hosts` allows; redirects are not followed; every wait and every body is bounded; messages
show the scheme, host and path of a URL, never the query with its signature.
"""

import asyncio
import itertools
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import msgspec
from yarl import URL

from pipeline.errors import AccessRefused, ResponseTooLarge
from pipeline.synapse.http.answers import describe_lost_answer, file_size, range_start, refuse_answer
from pipeline.synapse.http.byte_budget import DOCUMENT_BYTES, ORIGINAL_BYTES, ByteBudget, Lease
from pipeline.synapse.http.event_loop import CHUNK, ClientLoop
from pipeline.synapse.http.hosts import FileHosts
from pipeline.synapse.http.packed import packing_of, read_unpacked
from pipeline.synapse.http.request_slots import HostSlots, Slot
from pipeline.synapse.http.tries import FailedTry, RequestLimits, Tries
from pipeline.synapse.http.urls import ApiUrls, is_signed, parse_file_url, redacted_url

_turn: ContextVar[int] = ContextVar("which of the coroutines that were begun a request is of", default=0)

REISSUED, PAYLOAD, PAGE = range(3)
"""The order of requests when all slots are taken: first files, whose URLs expire, and first of them expired ones."""

_MOST_SKIPPED = 2**25
"""Bytes that are read in vain, of a server that does not know ranges, to come to the part that is wanted."""


class Stats(msgspec.Struct):
    """What one client did so far; ``bytes`` are decoded body bytes, ``retries`` are among the ``requests``."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0


class Sink(Protocol):
    """Takes an original as it arrives; with ``received`` and ``etag`` a cut download continues where it stopped."""

    received: int
    etag: str

    @property
    def expected(self) -> int | None:
        """The size of the file, as far as anyone says it; read after ``begin``."""

    async def begin(self, size: int | None) -> None:
        """Get ready for the first bytes of a file of ``size`` bytes; called again when the download starts over."""

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes."""


@dataclass(frozen=True)
class _Request[T]:
    """What to ask, what to make of the answer, and which statuses are an answer.

    ``headers`` is called before each try. ``sink`` takes the bytes of a download.
    """

    url: URL
    receive: Callable[[aiohttp.ClientResponse, asyncio.Timeout], Awaitable[T]]
    headers: Callable[[], Mapping[str, str]]
    rank: int
    is_file: bool = True
    accepted: tuple[int, ...] = (200,)
    sink: Sink | None = None


class Transport:
    """One API server, its credentials, and the connections to it and to the object stores that its URLs point to.

    ``origin`` is scheme, host and port, safe to print. ``requests`` bounds the requests in flight at each host;
    ``file_hosts`` are hosts that files may be fetched from although they are not public. The coroutines of this class
    run in its own event loop, through :meth:`run`. Raises ValueError if ``base_url`` is not an http or https URL.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        requests: int = 32,
        limits: RequestLimits | None = None,
        file_hosts: Iterable[str] = (),
    ) -> None:
        self.urls = ApiUrls(base_url, params or {})
        self.origin = self.urls.origin
        self.requests = requests
        self.limits = limits or RequestLimits()
        self.stats = Stats()
        self.document_budget = ByteBudget(DOCUMENT_BYTES)
        self.original_budget = ByteBudget(ORIGINAL_BYTES)
        self._told_retries = 0
        self._telling = threading.Lock()
        self._headers = dict(headers or {})
        self._hosts = FileHosts(self.urls.host, file_hosts)
        self._slots = HostSlots(requests)
        self._refusal: tuple[Any, ...] | None = None
        self._running = 0
        self._turns = itertools.count()
        self._loop = ClientLoop()
        self._close = weakref.finalize(self, self._loop.close)

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in this client's event loop, also if the caller runs in a loop (Jupyter).

        Several threads may do that at once. Of requests of the same rank, those of the coroutine that began first go
        first, so that its work is complete as soon as can be.
        """

        async def run_after_refusal() -> T:
            if not self._running:
                self._refusal = None  # access may have been granted since the last call
            self._running += 1
            _turn.set(next(self._turns))
            try:
                return await coroutine
            finally:
                self._running -= 1

        return self._loop.run(run_after_refusal())

    def interrupt(self) -> None:
        """Cancel the coroutines that other threads wait for; each of them gets a CancelledError."""
        self._loop.interrupt()

    def close(self) -> None:
        """Close all connections; the client cannot be used afterwards."""
        self._close()

    # What can be fetched

    async def fetch_page[T](
        self,
        address: str,
        params: Mapping[str, str],
        decode: Callable[[bytes], T],
        lease: Lease | None = None,
        *,
        rank: int = PAGE,
        limit: int | None = None,
    ) -> T:
        """Fetch an API answer and return ``decode`` of it.

        ``address`` is a path below the API's address, or a ``next`` link. ``decode`` raises ValueError if the body is
        not what was asked for; then the request is repeated. ``lease`` accounts for the body's memory, ``limit`` bounds
        it (bytes). Raises BackendError, TransientError or ResponseTooLarge.
        """

        async def receive(response: aiohttp.ClientResponse, _: asyncio.Timeout) -> T:
            return await self._read_body(response, decode, lease, limit)

        url = self.urls.of_request(address, params)
        return await self._send(_Request(url, receive, lambda: self._headers, rank, is_file=False))

    async def fetch_payload[T](
        self, address: str, decode: Callable[[bytes], T], lease: Lease | None = None, *, rank: int = PAYLOAD
    ) -> T:
        """Fetch the object behind a file URL and return ``decode`` of it. Raises UrlExpired if it needs a new URL."""
        url, headers = self._file_target(address)

        async def receive(response: aiohttp.ClientResponse, _: asyncio.Timeout) -> T:
            return await self._read_body(response, decode, lease)

        return await self._send(_Request(url, receive, lambda: headers, rank))

    async def fetch_range(
        self, address: str, length: int, *, start: int = 0, rank: int = PAYLOAD
    ) -> tuple[bytes, int | None]:
        """Return ``length`` bytes of a file from ``start`` on, fewer at its end, and the file's size, if it is said.

        A server that does not know ranges sends what comes before, too: then nothing is returned of a part that begins
        behind 32 MB.
        """
        url, headers = self._file_target(address)
        headers = {**headers, "Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}

        async def receive(response: aiohttp.ClientResponse, _: asyncio.Timeout) -> tuple[bytes, int | None]:
            ahead = start if response.status == 200 else 0
            is_the_part = response.status < 400 and ahead <= _MOST_SKIPPED
            if response.status == 206:
                is_the_part = range_start(response) == start or not start
            parts: list[bytes] = []
            missing = length if is_the_part else 0
            while missing > 0 and (part := await response.content.read(ahead or missing)):
                self.stats.bytes += len(part)
                if ahead:
                    ahead -= len(part)
                    continue
                parts.append(part)
                missing -= len(part)
            return b"".join(parts), file_size(response)

        return await self._send(_Request(url, receive, lambda: headers, rank, accepted=(200, 206, 416)))

    async def fetch_original(self, address: str, sink: Sink, *, rank: int = PAYLOAD) -> None:
        """Write a whole file to ``sink``; after a cut connection it continues where it stopped, or starts over."""
        url, headers = self._file_target(address)
        spent = 0.0

        async def receive(response: aiohttp.ClientResponse, clock: asyncio.Timeout) -> None:
            nonlocal spent
            began = asyncio.get_running_loop().time()
            try:
                await self._read_into(sink, response, clock, began + self.limits.deadline - spent)
            finally:
                spent += asyncio.get_running_loop().time() - began

        def resume() -> dict[str, str]:
            own = {**headers, "Accept-Encoding": "identity"}
            # Only a strong ETag proves that the rest is the rest of the same file.
            if sink.received and sink.etag.startswith('"'):
                own |= {"Range": f"bytes={sink.received}-", "If-Range": sink.etag}
            return own

        await self._send(_Request(url, receive, resume, rank, accepted=(200, 206), sink=sink))

    def _file_target(self, address: str) -> tuple[URL, Mapping[str, str]]:
        """Return the URL of a file and the headers to send: credentials only to the API's own server, which keeps files
        below one path, and never besides a signature.

        Raises BackendError for a URL that files are not fetched from.
        """
        own = self.urls.of_own_file(address)
        if own is not None:
            return own, {} if is_signed(own) else self._headers
        url = parse_file_url(address)
        self._hosts.check(url.raw_host or "")
        return url, {}

    def take_retries(self) -> int:
        """Return how many requests were repeated since the last call; of several threads, one is told of each."""
        with self._telling:
            told, self._told_retries = self._told_retries, self.stats.retries
            return self._told_retries - told

    # One request, with its retries

    async def _send[T](self, request: _Request[T]) -> T:
        """Send a request until it is answered or given up. Each try holds a slot of its host."""
        slots = self._slots.of((request.url.raw_host or "").lower().removesuffix("."))
        tries = Tries(request.url, self.limits, is_download=request.sink is not None)
        while True:
            async with slots.hold((request.rank, _turn.get())) as slot:
                try:
                    return await self._try(request, tries, slot)
                except FailedTry as failure:
                    wait = tries.fail(failure, request.sink.received if request.sink else 0)
                    everyone_waits = failure.retry_after > 0
                    if not failure.is_unusable:
                        slot.report_trouble()
                    if everyone_waits:  # also the requests that are in the queue for this slot
                        slots.pause(wait)
            tries.check(asyncio.get_running_loop().time() + wait)
            self.stats.retries += 1
            if not everyone_waits:
                await asyncio.sleep(wait)

    async def _try[T](self, request: _Request[T], tries: Tries, slot: Slot) -> T:
        """Send a request once. Raises FailedTry if the same request may succeed later."""
        end = tries.begin(asyncio.get_running_loop().time())
        if self._refusal and not request.is_file:
            raise AccessRefused(*self._refusal)  # only the requests that were already in flight reach the server
        self.stats.requests += 1
        session = self._loop.session(
            self._hosts, connect=self.limits.connect, idle=self.limits.idle, secure=self.urls.is_secure
        )
        try:
            async with (
                asyncio.timeout_at(end) as clock,
                session.get(
                    request.url,
                    headers=request.headers(),
                    allow_redirects=False,
                    auto_decompress=request.sink is None,
                ) as response,
            ):
                if response.status not in request.accepted:
                    await refuse_answer(response, is_file=request.is_file, secrets=self._headers)
                result = await request.receive(response, clock)
        except (aiohttp.ClientError, TimeoutError, OSError, EOFError) as error:
            raise FailedTry(describe_lost_answer(error)) from error
        except AccessRefused as error:
            self._refusal = error.args
            raise
        slot.report_success()
        return result

    async def _read_body[T](
        self,
        response: aiohttp.ClientResponse,
        decode: Callable[[bytes], T],
        lease: Lease | None,
        limit: int | None = None,
    ) -> T:
        limit = min(limit or self.limits.largest_body, self.limits.largest_body)
        announced = response.content_length or 0
        if announced > limit:
            raise ResponseTooLarge(redacted_url(response.url), f"is {announced:,} bytes, more than {limit:,}")
        if lease is not None:
            await lease.hold(announced or CHUNK)
        if announced and "Content-Encoding" not in response.headers:
            body = await response.read()
        else:
            parts: list[bytes] = []
            size = 0
            async for part in response.content.iter_any():
                size += len(part)
                if size > limit:
                    raise ResponseTooLarge(redacted_url(response.url), f"is more than {limit:,} bytes")
                parts.append(part)
            body = b"".join(parts)
            if lease is not None:
                lease.grow(size)
        self.stats.bytes += len(body)
        try:
            return decode(body)
        except ValueError as error:
            raise _unusable(str(error)) from error
        except RecursionError:
            raise _unusable("lists and objects are nested too deep") from None

    async def _read_into(
        self, sink: Sink, response: aiohttp.ClientResponse, clock: asyncio.Timeout, deadline: float
    ) -> None:
        """Write a file, or the rest of one, to ``sink``. The time of the try grows with every byte.

        ``deadline`` is when all tries end together; it is later for a larger file.
        """
        size = response.content_length
        is_rest, packing = response.status == 206, packing_of(response)
        if is_rest and (packing or not sink.received or range_start(response) != sink.received):
            raise _unusable("another part of the file than the one asked for")
        if not is_rest:
            sink.received = 0
            await sink.begin(None if packing else size)
        # Where a packed file stopped says nothing of where its rest begins.
        sink.etag = "" if packing else response.headers.get("ETag", "")
        slowest = self.limits.slowest
        latest = deadline + (sink.expected or self.limits.unannounced) / slowest
        async for chunk in read_unpacked(response):
            # Large files may take their time, as long as they arrive: a byte now and then is not enough.
            clock.reschedule(min((clock.when() or 0.0) + len(chunk) / slowest, latest))
            self.stats.bytes += len(chunk)
            sink.received += len(chunk)
            await sink.write(chunk)


def _unusable(problem: str) -> FailedTry:
    return FailedTry(f"the answer cannot be used: {problem}", is_unusable=True)
