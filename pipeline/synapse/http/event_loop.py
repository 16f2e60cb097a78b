"""The event loop and the connections of one client, and a way to run many coroutines in it."""

import asyncio
import functools
import os
import ssl
import threading
import urllib.request
from collections.abc import Coroutine, Iterable
from typing import Any

import aiohttp
import certifi

from pipeline.errors import ExportError
from pipeline.synapse.http.hosts import CheckedResolver, FileHosts

CHUNK = 2**18
"""Bytes read from a connection at a time."""

_END_SECONDS = 2.0


class ClientLoop:
    """The event loop of one client, in a thread of its own. Any thread may run coroutines in it, many at once.

    So a thread whose own loop is running (Jupyter) may use it too, and what several threads fetch shares one pool of
    connections and one queue.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._resolver: CheckedResolver | None = None

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end. It is cancelled when the caller is interrupted."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=_run_for_ever, args=(self._loop,), name="synapse", daemon=True)
                self._thread.start()
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # does nothing, unless it was the caller that was interrupted
            raise

    def interrupt(self) -> None:
        """Cancel what all threads run here; each of them gets a CancelledError."""
        if self._thread is not None:
            self.run(_end_other_tasks())

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
        """Close the connections and the loop. Whoever still waits for a coroutine gets a CancelledError."""
        if self._thread is not None:
            self.run(self._close_connections())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
        if not self._loop.is_closed():
            self._loop.close()

    async def _close_connections(self) -> None:
        await _end_other_tasks()
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._resolver is not None:
            await self._resolver.close()
            self._resolver = None
        await asyncio.get_running_loop().shutdown_asyncgens()
        await asyncio.get_running_loop().shutdown_default_executor()


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while True:  # until somebody stops the loop
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            continue  # whoever waits for the coroutine that raised it has it, but it ends the loop as well
        return


async def _end_other_tasks() -> None:
    """Cancel what else runs in this loop, and leave behind what does not end.

    Finalizers of other libraries put tasks into any loop that runs (sshfs does). Such a task may wait for an answer
    that only another loop receives.
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
