"""A proxy on loopback before a store: what networks and stores do on a bad day, at a moment of the test's choosing.

Requests and answers pass through as they are, with the host the client asked for, which its signature covers. The
proxy ends the lifetime of the credentials it issued, fails, loses or holds requests, and writes down every one.
"""

import asyncio
import datetime as dt
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, get_args
from urllib.parse import parse_qsl, unquote

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from yarl import URL

from stores import BUCKET, SHORT, Key

type Kind = Literal["403", "500", "503", "refuse", "lose", "hold", "hold-answer"]
_KINDS = get_args(Kind.__value__)
_WRITES = {"PUT", "POST", "DELETE"}
# What one connection is about and not the request.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "upgrade", "te", "trailer", "date", "server"}
_CODES = {"403": (403, "AccessDenied"), "500": (500, "InternalError"), "503": (503, "SlowDown")}
_WAIT_SECONDS = 60.0
_HELD_SECONDS = 600.0


@dataclass
class Entry:
    """A request as it arrived, and the status of its answer; 0 means that there was none (so far).

    ``path`` is decoded (``/bucket/key``), ``key`` the access key that signed, ``fault`` what was done to it,
    ``size`` the bytes of the body that came with it. ``passed`` says whether the store has seen it.
    """

    method: str
    path: str
    query: dict[str, str]
    key: str
    size: int = 0
    status: int = 0
    fault: str = ""
    passed: bool = False

    @property
    def is_write(self) -> bool:
        """Whether it changes something in the store."""
        return self.method in _WRITES


@dataclass(eq=False)
class Fault:
    """Something that will go wrong: see :meth:`StoreProxy.fault`. ``seen`` counts the requests that match."""

    kind: Kind
    first: int
    count: int | None
    matches: Callable[[Entry], bool]
    seen: int = 0
    reached: threading.Event = field(default_factory=threading.Event)

    def applies(self, entry: Entry) -> bool:
        """Count the request; whether it is one that goes wrong."""
        if not self.matches(entry):
            return False
        self.seen += 1
        return self.first <= self.seen and (self.count is None or self.seen < self.first + self.count)

    def wait(self) -> None:
        """Until it has happened (``hold``: the request is here; ``hold-answer``: the store has carried it out)."""
        assert self.reached.wait(_WAIT_SECONDS), f"no request to {self.kind} after {self.seen} that match"


def is_write(entry: Entry) -> bool:
    """Whether a request changes something in the store."""
    return entry.is_write


class StoreProxy:
    """The proxy, served by a thread with an event loop of its own. All methods may be called at any time."""

    def __init__(self, target: str) -> None:
        self.url = ""
        self.log: list[Entry] = []
        self._target = target
        self._deadlines: dict[str, float] = {}
        self._issued = 0
        self._faults: list[Fault] = []
        self._scripted: list[tuple[Callable[[Entry], bool], int, str, dict[str, str]]] = []
        self._lock = threading.Lock()
        self._runner = asyncio.Runner()
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_WAIT_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.get_loop().call_soon_threadsafe(self._stopping.set)
        self._thread.join(_WAIT_SECONDS)

    def issue(self, seconds: float) -> Key:
        """The next pair of keys; requests signed with it are answered ExpiredToken when its time is over."""
        with self._lock:
            assert self._issued < len(SHORT), "more keys were issued than the store knows"
            key = SHORT[self._issued]
            self._issued += 1
            self._deadlines[key.access] = time.monotonic() + seconds
        return key

    @property
    def issued(self) -> int:
        """How many pairs of keys were issued."""
        return self._issued

    def expire(self, *keys: Key) -> None:
        """End the lifetime of these keys now; without any, of all that were issued so far."""
        with self._lock:
            for access in [key.access for key in keys] or list(self._deadlines):
                self._deadlines[access] = time.monotonic()

    def session(self, seconds: float, *, told_seconds: float | None = None) -> dict[str, Any]:
        """What a backend says of a storage behind this proxy, with keys that live for ``seconds``.

        For :meth:`pipeline.sandbox.Sandbox.set_storage`. ``told_seconds`` is the lifetime it claims, if another.
        """
        key = self.issue(seconds)
        told = dt.timedelta(seconds=seconds if told_seconds is None else told_seconds)
        return {
            "provider": "minio",
            "configuration": {
                "bucket_name": BUCKET,
                "access_key": key.access,
                "secret_key": key.secret,
                "region_name": "us-east-1",
                "endpoint_url": self.url,
            },
            "expires_at": (dt.datetime.now(dt.UTC) + told).isoformat(),
        }

    def fault(
        self, kind: Kind, *, first: int = 1, count: int | None = 1, matches: Callable[[Entry], bool] = is_write
    ) -> Fault:
        """From the ``first`` request on that ``matches`` (from 1, counted from now), ``count`` of them go wrong.

        ``403`` (AccessDenied), ``500`` and ``503`` (SlowDown) are answered in the store's place; ``refuse`` closes the
        connection instead;
        ``lose`` passes the request on and closes the connection instead of answering; ``hold`` never answers and does
        not pass it on; ``hold-answer`` passes it on and never answers. With ``count=None`` it does not end before
        :meth:`heal`.
        """
        assert kind in _KINDS, kind
        fault = Fault(kind, first, count, matches)
        with self._lock:
            self._faults.append(fault)
        return fault

    def answer(
        self,
        status: int,
        body: str,
        headers: dict[str, str] | None = None,
        *,
        matches: Callable[[Entry], bool] = lambda _: True,
    ) -> None:
        """Answer every request that ``matches`` with this from now on, in the store's place."""
        with self._lock:
            self._scripted.append((matches, status, body, headers or {}))

    def heal(self) -> None:
        """Nothing goes wrong from now on."""
        with self._lock:
            self._faults.clear()
            self._scripted.clear()

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self.log.clear()

    def entries(self, matches: Callable[[Entry], bool] = lambda _: True) -> list[Entry]:
        """The requests so far that match, in order of arrival."""
        with self._lock:
            return [entry for entry in self.log if matches(entry)]

    def writes(self) -> list[Entry]:
        """The requests so far that change something."""
        return self.entries(is_write)

    def _run(self) -> None:
        with self._runner as runner:  # its end cancels the requests that are still held
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with ClientSession(
            auto_decompress=False,
            connector=TCPConnector(limit=0),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=10),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        ) as session:
            self._session = session
            app = web.Application(client_max_size=2**31)
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, auto_decompress=False)
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512)
                await site.start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                self._ready.set()
                await self._stopping.wait()
                await site.stop()
                await asyncio.sleep(0)
            finally:
                server = runner.server
                transports = [handler.transport for handler in server.connections] if server else []
                await runner.cleanup()
                for transport in transports:
                    if transport is not None:
                        transport.abort()
                await asyncio.sleep(0)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        pairs = dict(parse_qsl(query, keep_blank_values=True))
        body = await request.read()
        entry = Entry(request.method, unquote(path), pairs, _access_key(request, pairs), len(body))
        with self._lock:
            self.log.append(entry)
            applying = [fault for fault in self._faults if fault.applies(entry)]  # all of them count it
            deadline = self._deadlines.get(entry.key)
        fault = applying[0] if applying else None
        if fault is not None:
            entry.fault = fault.kind
        scripted = next((answer for answer in self._scripted if answer[0](entry)), None)
        if scripted is not None:
            _, entry.status, text, more = scripted
            return web.Response(status=entry.status, text="" if request.method == "HEAD" else text, headers=more)
        if deadline is not None and time.monotonic() >= deadline:
            return _refusal(entry, 400, "ExpiredToken", "The provided token has expired.")
        match fault and fault.kind:
            case "403" | "500" | "503":
                assert fault is not None
                fault.reached.set()
                return _refusal(entry, *_CODES[fault.kind], "Told to by a test.")
            case "refuse" | "hold":
                assert fault is not None
                return await self._no_answer(request, fault)
        answer = await self._pass_on(request, entry, body)
        if fault is not None:
            return await self._no_answer(request, fault)
        entry.status = answer.status
        return answer

    async def _no_answer(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        fault.reached.set()
        if fault.kind.startswith("hold"):
            await asyncio.sleep(_HELD_SECONDS)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    async def _pass_on(self, request: web.Request, entry: Entry, body: bytes) -> web.Response:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        url = URL(self._target + request.raw_path, encoded=True)
        data = io.BytesIO(body) if request.body_exists else None
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=data, allow_redirects=False
            ) as answer:
                content = await answer.read()
                entry.passed = True
        except ClientError as error:
            return _refusal(entry, 502, "BadGateway", type(error).__name__)
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
        response = web.Response(status=answer.status, reason=answer.reason, body=content)
        for name, _ in kept:
            response.headers.popall(name, None)
        for name, value in kept:
            response.headers.add(name, value)
        return response


def _access_key(request: web.Request, query: dict[str, str]) -> str:
    credential = query.get("X-Amz-Credential", "")
    if not credential:
        credential = request.headers.get("Authorization", "").partition("Credential=")[2]
    return credential.partition("/")[0]


def _refusal(entry: Entry, status: int, code: str, message: str) -> web.Response:
    entry.status = status
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    body = b"" if entry.method == "HEAD" else text.encode()
    return web.Response(status=status, body=body, content_type="application/xml")
