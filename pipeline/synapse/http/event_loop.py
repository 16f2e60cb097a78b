"""The event loop and the connections of one client, and a way to run many coroutines in it."""

import asyncio
import functools
import os
import ssl
import threading
import urllib.request
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import aiohttp
import certifi

from pipeline.errors import ExportError
from pipeline.synapse.http.hosts import CheckedResolver, FileHosts

CHUNK = 2**18
"""Bytes read from a connection at a time."""

_END_SECONDS = 2.0


class ClientLoop:
    """The event loop of one client; any thread may run it, one at a time."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._turn = threading.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._resolver: CheckedResolver | None = None

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, also from a thread whose own loop is running."""
        return self._in_turn(lambda: self._runner.run(coroutine))

    def _in_turn[T](self, use: Callable[[], T]) -> T:
        """Call ``use``, which runs this loop, in a thread where no other loop is running."""
        if not _is_running_here():
            with self._turn:
                return use()
        # This thread's own loop is busy running the caller: another thread runs ours, and the caller waits.
        outcome: list[T | BaseException] = []

        def work() -> None:
            try:
                with self._turn:
                    outcome.append(use())
            except BaseException as error:  # noqa: BLE001  handed to the thread that waits
                outcome.append(error)

        thread = threading.Thread(target=work, name="synapse-client")
        thread.start()
        thread.join()
        result = outcome[0]
        if isinstance(result, BaseException):
            raise result
        return result

    def session(self, hosts: FileHosts, *, connect: float, idle: float, secure: bool) -> aiohttp.ClientSession:
        """Return the connection pool, which is made at the first call. Call it from this loop; times are in seconds.

        ``hosts`` checks the addresses of names. Without ``secure`` (TLS at the API) no certificates are read, which
        would take longer than a small export.
        """
        if self._session is None:
            # A proxy is looked up for each request; that costs more than the request when there is none.
            proxied = bool(urllib.request.getproxies())
            self._resolver = CheckedResolver(hosts)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=_trust() if secure else True, resolver=self._resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=idle),
                headers={"User-Agent": "synapse-export"},
                read_bufsize=CHUNK,
                trust_env=proxied,
            )
        return self._session

    def close(self) -> None:
        """Close the connections and the loop."""
        if self._session is not None:
            self.run(self._session.close())
            self._session = None
        if self._resolver is not None:
            self.run(self._resolver.close())
            self._resolver = None
        self.run(_end_other_tasks())
        self._in_turn(self._runner.close)


def _is_running_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _end_other_tasks() -> None:
    """Cancel what else runs in this loop, and leave behind what does not end.

    Finalizers of other libraries put tasks into any loop that runs (sshfs does). Such a task may wait for an answer
    that only another loop receives, and ``Runner.close`` would wait for it for ever.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        _, stuck = await asyncio.wait(others, timeout=_END_SECONDS)
        for task in stuck:  # docs.python.org/3/library/asyncio-extending.html, "task lifetime support"
            asyncio._unregister_task(task)  # noqa: SLF001


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return the certificates that ``requests``, and with it the Synapse SDK, trusts."""
    context = ssl.create_default_context()
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    if os.path.isdir(bundle):
        context.load_verify_locations(capath=bundle)
    else:
        context.load_verify_locations(cafile=bundle)
    return context


async def gather[T](coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines at the same time and return their results; the first error cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    return [task.result() for task in tasks]


def _first(error: BaseException) -> BaseException:
    """Return one error of a group: an ExportError if there is one."""
    while isinstance(error, BaseExceptionGroup):
        inner: tuple[BaseException, ...] = error.exceptions
        error = next((one for one in inner if isinstance(one, ExportError)), inner[0])
    return error
