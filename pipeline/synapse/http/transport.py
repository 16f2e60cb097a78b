"""HTTP for the hot path: pages, payloads and originals over one connection pool, with bounded retries.

Rules kept here and nowhere else: credentials go to the API's own origin only; files come only from hosts that
:mod:`pipeline.synapse.http.hosts` allows; no redirect is followed; every wait and every body is bounded; what a message
shows of an address is scheme, host and path, never the query with its signature.
"""

import asyncio
import contextlib
import email.utils
import re
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

import aiohttp
import msgspec
from yarl import URL

from pipeline.errors import AccessRefused, BackendError, ResponseTooLarge, TransientError, UrlExpired
from pipeline.model.backoff import Backoff
from pipeline.synapse.http.concurrency import HostSlots, Lease
from pipeline.synapse.http.event_loop import CHUNK, ClientLoop
from pipeline.synapse.http.hosts import FileHosts
from pipeline.synapse.http.urls import describe, is_clean, parse_address, server_message, shown

LARGEST_BODY = 128 * 2**20
"""Bytes of one answer, decoded: more than that is refused, whatever it is. Records of 28 MB are the largest known."""

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525)})
EXPIRED_STATUSES = frozenset({400, 401, 403})

REISSUED, PAYLOAD, PAGE = range(3)
"""Who goes first when all slots are taken: what has a URL that runs out, and of those what ran out before."""

_BACKOFF = Backoff(attempts=6, first=0.5, longest=20.0, jitter=0.5, longest_retry_after=60.0)
_PROGRESS = 8 * 2**20  # bytes of an original after which its tries are counted anew
_SLOWEST = 50_000  # bytes per second: an original that comes slower than this, besides one try's time, is given up


@dataclass(frozen=True)
class Retry:
    """How often a request is repeated, and how many seconds each step of it may take.

    ``unusable`` bounds the answers that arrive whole but cannot be read. ``connect`` and ``idle`` bound one connection,
    ``attempt`` one try, and ``deadline`` all tries of a request together.
    """

    backoff: Backoff = _BACKOFF
    unusable: int = 3
    connect: float = 10.0
    idle: float = 60.0
    attempt: float = 300.0
    deadline: float = 900.0


class Stats(msgspec.Struct):
    """What one client did so far; ``bytes`` are decoded body bytes, ``retries`` are among the ``requests``."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0


class Sink(Protocol):
    """Takes an original as it arrives; ``received`` and ``etag`` let a cut download go on where it stopped."""

    received: int
    etag: str

    async def begin(self, size: int | None) -> None:
        """The first bytes are about to come; ``size`` is the whole file's. Called again when it starts anew."""

    async def write(self, chunk: bytes) -> None:
        """The next bytes."""


class _UnusableError(Exception):
    """An answer that arrived whole but is not what was asked for."""


class Transport:
    """One API server, its credentials and the connections to it (and to the object stores its URLs point to).

    ``origin`` is scheme, host and port, safe to print. ``requests`` bounds the requests in flight at each host;
    ``file_hosts`` are hosts that files may be fetched from although they are not public. Coroutines of this class run
    in its own event loop, through :meth:`run`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        requests: int = 32,
        retry: Retry | None = None,
        file_hosts: Iterable[str] = (),
    ) -> None:
        self._base = URL(base_url.rstrip("/"))
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise ValueError("not an http or https address")
        self.origin = str(self._base.origin())
        self.requests = requests
        self.retry = retry or Retry()
        self.stats = Stats()
        self._headers = dict(headers or {})
        self._params = dict(params or {})
        self._hosts = FileHosts(self._base.raw_host or "", file_hosts)
        self._slots = HostSlots(requests)
        self._refused: AccessRefused | None = None
        self._loop = ClientLoop()
        self._close = weakref.finalize(self, self._loop.close)

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in this client's event loop; also from code that an event loop runs (Jupyter)."""

        async def anew() -> T:
            self._refused = None  # whoever comes back after a refusal may have been given access meanwhile
            return await coroutine

        return self._loop.run(anew())

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
        """``decode`` of an API answer. ``address`` is a path below the API's address, or a ``next`` link.

        ``decode`` raises ValueError when the body is not what was asked for, which is retried like any passing
        trouble; ``lease`` accounts for the body's memory, ``limit`` bounds it (bytes). Raises BackendError,
        TransientError or ResponseTooLarge.
        """
        url = self.api_url(address, params)

        async def receive(response: aiohttp.ClientResponse, _: asyncio.Timeout) -> T:
            return await self._body(response, decode, lease, min(limit or LARGEST_BODY, LARGEST_BODY))

        return await self._send(url, receive, headers=self._headers, rank=rank, is_file=False)

    async def fetch_payload[T](
        self, address: str, decode: Callable[[bytes], T], lease: Lease | None = None, *, rank: int = PAYLOAD
    ) -> T:
        """``decode`` of the object behind a file URL. Raises UrlExpired when the URL has to be issued again."""
        url, headers = self.file_url(address)

        async def receive(response: aiohttp.ClientResponse, _: asyncio.Timeout) -> T:
            return await self._body(response, decode, lease, LARGEST_BODY)

        return await self._send(url, receive, headers=headers, rank=rank, is_file=True)

    async def fetch_range(self, address: str, length: int, *, rank: int = PAYLOAD) -> bytes:
        """The first ``length`` bytes of a file, fewer when it is shorter; works without server support for ranges."""
        url, headers = self.file_url(address)
        headers = {**headers, "Range": f"bytes=0-{length - 1}", "Accept-Encoding": "identity"}

        async def receive(response: aiohttp.ClientResponse, _: asyncio.Timeout) -> bytes:
            parts: list[bytes] = []
            missing = length if response.status < 400 else 0
            while missing > 0 and (part := await response.content.read(missing)):
                parts.append(part)
                missing -= len(part)
            data = b"".join(parts)
            self.stats.bytes += len(data)
            return data

        return await self._send(url, receive, headers=headers, rank=rank, is_file=True, accept=(200, 206, 416))

    async def fetch_original(self, address: str, sink: Sink, *, rank: int = PAYLOAD) -> None:
        """Put a whole file into ``sink``; a cut connection goes on where it stopped, or starts anew."""
        url, headers = self.file_url(address)

        async def receive(response: aiohttp.ClientResponse, clock: asyncio.Timeout) -> None:
            size = response.content_length
            if response.status == 206 and _range_start(response) == sink.received:
                size = None if size is None else sink.received + size
            else:
                if response.status == 206:
                    raise _UnusableError("another part of the file than the one asked for")
                sink.received = 0
                await sink.begin(None if "Content-Encoding" in response.headers else size)
            sink.etag = response.headers.get("ETag", "")
            async for chunk in response.content.iter_chunked(CHUNK):
                # Large files may take their time, as long as they come: a byte now and then is not enough.
                clock.reschedule((clock.when() or 0.0) + len(chunk) / _SLOWEST)
                self.stats.bytes += len(chunk)
                sink.received += len(chunk)
                await sink.write(chunk)

        def resume() -> dict[str, str]:
            own = {**headers, "Accept-Encoding": "identity"}
            # Only a strong ETag proves that the rest is the rest of the same file.
            if sink.received and sink.etag.startswith('"'):
                own |= {"Range": f"bytes={sink.received}-", "If-Range": sink.etag}
            return own

        await self._send(url, receive, headers=resume, rank=rank, is_file=True, accept=(200, 206), sink=sink)

    # Addresses

    def api_url(self, address: str, params: Mapping[str, str]) -> URL:
        """Where an API request goes: always to this client's own server.

        Raises BackendError for a link that points anywhere else; nothing is sent there.
        """
        if "://" in address or address.startswith("//"):
            link = parse_address(address)
            if not self._is_own(link):
                raise BackendError(shown(address), f"a link to another server than {self.origin} is not followed")
            address = link.raw_path_qs
        if address.startswith("/"):
            path, _, query = address.partition("?")
        else:
            path, _, query = f"{self._base.raw_path.rstrip('/')}/{address}".partition("?")
        given = dict(parse_qsl(query, keep_blank_values=True))
        return self._at_base(path, urlencode({**self._params, **given, **params}))

    def file_url(self, address: str) -> tuple[URL, dict[str, str]]:
        """Where a file is and the headers to send: credentials only for a path of the API's own server.

        Raises BackendError for what is no address, and for an address that files are not fetched from.
        """
        if "://" not in address and not address.startswith("//"):
            path, _, query = address.partition("?")
            return self._at_base(f"{self._base.raw_path.rstrip('/')}/{path.lstrip('/')}", query), self._headers
        url = parse_address(address)
        if url.scheme not in ("http", "https") or not url.raw_host:
            raise BackendError(shown(address), "is no address to fetch a file from")
        if url.raw_user or url.raw_password:
            raise BackendError(shown(address), "an address with a user or password in it is not asked")
        self._hosts.check(url.raw_host)
        return url, {}

    def _is_own(self, link: URL) -> bool:
        base = self._base
        if (link.host or "").lower() != base.host or link.user or link.password:
            return False
        # Behind a proxy that ends TLS, servers often write http into their own links. Only the path is used.
        behind_proxy = (link.scheme, link.port, base.scheme, base.port) == ("http", 80, "https", 443)
        return behind_proxy or (link.scheme, link.port) == (base.scheme, base.port)

    def _at_base(self, path: str, query: str) -> URL:
        if not is_clean(path + query):
            raise BackendError(shown(path), "is no address")
        base = self._base
        return URL.build(scheme=base.scheme, authority=base.raw_authority, path=path, query_string=query, encoded=True)

    # One request, with its retries

    async def _send[T](
        self,
        url: URL,
        receive: Callable[[aiohttp.ClientResponse, asyncio.Timeout], Awaitable[T]],
        *,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]],
        rank: int,
        is_file: bool,
        accept: tuple[int, ...] = (200,),
        sink: Sink | None = None,
    ) -> T:
        retry = self.retry
        slots = self._slots.of((url.raw_host or "").lower().removesuffix("."))
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        failures = unusable = reached = 0
        problem = ""
        while True:
            wait = 0.0
            async with slots.held(rank) as slot:
                started = loop.time()
                deadline = started + retry.deadline if deadline is None else deadline
                if failures and not sink and started >= deadline:
                    raise TransientError(shown(url), f"gave up after {failures} tries: {problem}")
                if self._refused and not is_file:
                    raise AccessRefused(*self._refused.args)  # no request more than were on their way
                self.stats.requests += 1
                retry_after = 0.0
                try:
                    session = self._loop.session(
                        self._hosts, connect=retry.connect, idle=retry.idle, secure=self._base.scheme == "https"
                    )
                    own = headers() if callable(headers) else headers
                    end = started + retry.attempt
                    async with asyncio.timeout_at(end if sink else min(end, deadline)) as clock:
                        async with session.get(url, headers=own, allow_redirects=False) as response:
                            seconds = None if is_file else loop.time() - started
                            if response.status in accept:
                                result = await receive(response, clock)
                                slot.answered(seconds)
                                return result
                            await self._refuse(response, is_file=is_file)
                            problem = f"HTTP {response.status}"
                            retry_after = _retry_after(response)
                            slot.trouble()
                except _UnusableError as error:
                    unusable += 1
                    problem = f"the answer cannot be used: {error}"
                except (aiohttp.ClientError, TimeoutError, OSError, EOFError) as error:
                    problem = describe(error)
                    slot.trouble()
                if sink and sink.received - reached >= _PROGRESS:
                    failures, reached = 0, sink.received
                failures += 1
                wait = retry.backoff.wait(failures, retry_after)
                if retry_after:
                    # Whoever else wants something from this server has to wait too, also who waits for this slot.
                    slots.pause(wait)
            late = not sink and loop.time() + wait > deadline
            if retry.backoff.is_last(failures) or unusable >= retry.unusable or late:
                raise TransientError(shown(url), f"gave up after {failures} tries: {problem}")
            self.stats.retries += 1
            if not retry_after:
                await asyncio.sleep(wait)

    async def _body[T](
        self, response: aiohttp.ClientResponse, decode: Callable[[bytes], T], lease: Lease | None, limit: int
    ) -> T:
        announced = response.content_length or 0
        if announced > limit:
            raise ResponseTooLarge(shown(response.url), f"is {announced:,} bytes, more than {limit:,}")
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
                    raise ResponseTooLarge(shown(response.url), f"is more than {limit:,} bytes")
                parts.append(part)
            body = b"".join(parts)
            if lease is not None:
                lease.grow(size)
        self.stats.bytes += len(body)
        try:
            return decode(body)
        except ValueError as error:
            raise _UnusableError(str(error)) from error

    async def _refuse(self, response: aiohttp.ClientResponse, *, is_file: bool) -> None:
        """Raise for a status that retrying the same request will not change."""
        status = response.status
        if status in RETRIED_STATUSES:
            return
        where = shown(response.url)
        if 300 <= status < 400:
            hint = "" if is_file else "; is SYNAPSE_HOST the API's own address?"
            raise BackendError(where, f"HTTP {status}", f"redirects are not followed{hint}")
        if is_file:
            if status in EXPIRED_STATUSES:
                raise UrlExpired(where, f"HTTP {status}")
            raise BackendError(where, f"HTTP {status}", "there is no such object" if status in (404, 410) else "")
        if status in (401, 403):
            gone = "the access token is no longer accepted; set a new one and run again"
            detail = gone if status == 401 else await self._detail(response)
            self._refused = AccessRefused(where, f"HTTP {status}", detail)
            raise self._refused
        raise BackendError(where, f"HTTP {status}", await self._detail(response))

    async def _detail(self, response: aiohttp.ClientResponse) -> str:
        if "json" not in response.headers.get("Content-Type", ""):
            return ""
        with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
            return server_message(msgspec.json.decode(await response.content.read(10_000)), self._headers)
        return ""


def _retry_after(response: aiohttp.ClientResponse) -> float:
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            return 0.0


def _range_start(response: aiohttp.ClientResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None
