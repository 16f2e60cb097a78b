"""A loopback proxy before the sandbox that sends answers as a mutation writes them, lies about lengths and all."""

import asyncio
import contextlib
import gzip
import json
import threading
import zlib
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlsplit

import aiohttp

_KEPT = ("content-type", "content-range", "accept-ranges", "etag")


@dataclass
class Request:
    """A request that arrived; ``address`` is its path and query without signature and cursor state."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        parts = urlsplit(self.target)
        self.path, self.query = parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))

    @property
    def address(self):
        return f"{self.path}?{sorted((k, v) for k, v in self.query.items() if not k.startswith('X-'))}"

    @property
    def route(self):
        """``api``, ``count``, ``plan``, ``documents``, ``files``, ``payloads`` or ``originals``."""
        if self.path.startswith("/blobs/payloads/"):
            return "payloads"
        if self.path.startswith(("/blobs/", "/media/")):
            return "originals"
        if not self.path.startswith("/sdk/"):
            return "api"
        if "response_mode" in self.query:
            return "documents"
        if self.query.get("page_size") == "1":
            return "count"
        return "files" if "data_unit" in self.query.get("fields", "data_unit") else "plan"


@dataclass(frozen=True)
class Answer:
    """An answer to be sent. ``claims`` are header lines sent as they are; without a length of theirs it is the body's.

    ``chunked`` is sent instead of head and length rules: a body in chunks, as written. ``hangs_up`` closes at the end,
    ``resets`` before the first byte, and ``stalls`` waits for so many seconds after the head.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    claims: tuple[bytes, ...] = ()
    hangs_up: bool = False
    resets: bool = False
    stalls: float = 0.0

    def bytes_(self, method):
        lines = [f"HTTP/1.1 {self.status} Whatever".encode()]
        lines += [f"{name}: {value}".encode() for name, value in self.headers.items()]
        lines += self.claims
        if not any(claim.lower().startswith((b"content-length", b"transfer-encoding")) for claim in self.claims):
            lines.append(b"Content-Length: %d" % len(self.body))
        if self.hangs_up:
            lines.append(b"Connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n", b"" if method == "HEAD" else self.body


class Proxy:
    """Serves what ``upstream`` answers; ``mutation`` may be None, or is asked for another answer.

    ``mutation(request, answer)`` returns the same answer where nothing is changed. What it changed is in ``changed``:
    pairs of the request and both answers.
    """

    def __init__(self, upstream):
        self._upstream = upstream
        self.mutation = None
        self.changed = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self):
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def use(self, mutation):
        """Ask another mutation from now on; what was changed so far is forgotten."""
        self.mutation, self.changed = mutation, []

    async def _serve(self):
        self._tasks = set()
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**20)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self._ready.set()
            await self._stop.wait()
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while (request := await self._read(reader)) is not None:
                answer = await self._answer(request)
                if answer.resets:
                    writer.transport.abort()
                    return
                head, body = answer.bytes_(request.method)
                writer.write(head)
                if answer.stalls:
                    await writer.drain()
                    await asyncio.sleep(answer.stalls)
                writer.write(body)
                await writer.drain()
                if answer.hangs_up:
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # the client is gone, or the proxy ends
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader):
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        return Request(method, target, headers, await reader.readexactly(length))

    async def _answer(self, request):
        # Requests are sent on as they came, Host included: the sandbox makes its URLs from it, so they lead here.
        url = aiohttp.client.URL(self._upstream + request.target, encoded=True)
        async with self._session.request(
            request.method, url, headers=request.headers, data=request.body or None, allow_redirects=False
        ) as got:
            headers = {name: value for name, value in got.headers.items() if name.lower() in _KEPT}
            clean = Answer(got.status, headers, await got.read())
        if self.mutation is None:
            return clean
        answer = self.mutation(request, clean)
        if answer is not clean:
            self.changed.append((request, clean, answer))
        return answer


def rows_of(body):
    """The rows of a page as a list of objects; empty where it is none."""
    try:
        page = json.loads(body)
    except (ValueError, RecursionError):
        return []
    rows = page.get("results") if isinstance(page, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def with_body(answer, body, **headers):
    """The answer with another body."""
    return replace(answer, body=body, headers={**answer.headers, **headers})


def unpacked(body):
    """What a body is when a reader unpacks it, once or twice; nothing where it is not packed."""
    found = []
    for unpack in (gzip.decompress, zlib.decompress):
        with contextlib.suppress(OSError, EOFError, zlib.error):
            inner = unpack(body)
            found += [inner, *(unpacked(inner) if inner else ())]
    return found
