"""A running sandbox, for tests and scripts."""

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from pipeline.errors import ExportError
from pipeline.sandbox.data import FOREIGN_ROWS, OLDER_VERSION, PROJECT, VERSION, RecordTruth
from pipeline.sandbox.faults import Fault, parse_fault
from pipeline.sandbox.options import SandboxOptions, Target
from pipeline.sandbox.resources import STORAGE, TENANT
from pipeline.sandbox.server import Server, shown

_START_SECONDS = 60.0
_TURNS = 10
_WARMED_ROWS = 20_000


class Sandbox:
    """A Synapse API on a port of 127.0.0.1, served by a thread with an event loop of its own.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. All methods may be called while requests are
    being served; ``target`` is ``task``, ``assignment`` or ``ground_truth``.
    """

    project_id = PROJECT
    version_id = VERSION
    older_version_id = OLDER_VERSION
    storage_id = STORAGE

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.options = options or SandboxOptions()
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._problem: BaseException | None = None
        self._temporary = self.options.storage_location is None
        self._location = self.options.storage_location or tempfile.mkdtemp(prefix="synapse-sandbox-")
        self._server = Server(self.options, str(Path(self._location).resolve()))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Listen. Raises :class:`~pipeline.errors.ExportError` if the port is not available."""
        Path(self._location).mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self._ready.wait(_START_SECONDS)
        if self._problem is not None:
            raise ExportError("the sandbox could not start", str(self._problem)) from self._problem
        return self

    def stop(self) -> None:
        """Stop listening, drop open connections, remove the temporary storage."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_START_SECONDS)
        if self._temporary:
            shutil.rmtree(self._location, ignore_errors=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._problem = error
        finally:
            self._ready.set()
            with contextlib.closing(self._loop):
                self._loop.run_until_complete(self._loop.shutdown_default_executor())

    async def _serve(self) -> None:
        if self.options.profile == "bench" and self.options.records <= _WARMED_ROWS:
            self._server.warm()
        runner = web.AppRunner(self._server.application(), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.options.port, reuse_address=True, backlog=512)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stopping.wait()
            await site.stop()
            for _ in range(_TURNS):  # connections that were just accepted get their transport some turns later
                await asyncio.sleep(0)
        finally:
            server = runner.server
            open_ones = [handler.transport for handler in server.connections] if server else []
            await runner.cleanup()
            # Closing waits for what is still to be sent, to clients that may never read it.
            for transport in open_ones:
                if transport is not None:
                    transport.abort()
            await asyncio.sleep(0.01)

    def _call[T](self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(_START_SECONDS)

    @property
    def token(self) -> str:
        """The access token."""
        return self._server.token

    @property
    def user_token(self) -> str:
        """The user token, valid together with :attr:`tenant`."""
        return self._server.user_token

    @property
    def tenant(self) -> str:
        """The tenant code."""
        return TENANT

    @property
    def storage_location(self) -> Path:
        """The directory behind the storage."""
        return Path(self._location).resolve()

    def environment(self) -> dict[str, str]:
        """The variables with which the SDK and the exporter find this sandbox."""
        return {"SYNAPSE_HOST": self.url, "SYNAPSE_ACCESS_TOKEN": self.token}

    def description(self) -> dict[str, Any]:
        """Return what ``--ready-file`` contains."""
        return {
            "url": self.url,
            "token": self.token,
            "project": self.project_id,
            "ground_truth_dataset_version": self.version_id,
            "storage": self.storage_id,
        }

    def requests(self) -> list[dict[str, Any]]:
        """The requests so far, in order of arrival, as dictionaries with the fields of ``LogEntry``."""
        return self._call(lambda: [shown(entry) for entry in self._server.log])

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._call(self._server.log.clear)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The jobs that were read or updated, by id."""
        return self._call(lambda: dict(self._server.jobs))

    def job_logs(self) -> list[dict[str, Any]]:
        """The log entries that were posted."""
        return self._call(lambda: list(self._server.job_logs))

    def set_faults(self, faults: Sequence[Fault | str]) -> None:
        """Replace the faults, and count from the beginning. Text is parsed by :func:`parse_fault`."""
        rules = [parse_fault(fault) if isinstance(fault, str) else fault for fault in faults]
        self._call(lambda: self._server.injector.replace(rules))

    def set_storage(self, describe: Callable[[], Mapping[str, Any]]) -> None:
        """Use another storage instead of a directory.

        ``describe`` is called in the sandbox's thread for each answer about the storage, and gives ``provider`` and
        ``configuration`` as the platform has them, and when a session with them ends (``expires_at``, ISO 8601; the
        options decide without it). So each session can have credentials of its own.
        """
        self._server.describe_storage = describe

    def delete_records(self, target: Target, ids: Iterable[int]) -> None:
        """Delete rows by unique key (``pgh_id`` for ground truth)."""
        keys = list(ids)
        self._call(lambda: self._server.delete(target, keys))

    def change_records(self, target: Target, ids: Iterable[int]) -> None:
        """Label rows of a tidy sandbox again: their documents have one annotation less afterwards."""
        keys = list(ids)
        self._call(lambda: self._server.change(target, keys))

    def add_records(self, target: Target, count: int) -> list[int]:
        """Add rows after the existing ones (a record exists under all targets); return the new keys of the target."""
        self._call(lambda: self._server.add(count))
        return self._server.data.keys[target][-count:] if count else []

    def revoke_token(self) -> None:
        """Answer 401 to every API request from now on."""
        self._server.revoked = True

    def restore_token(self) -> None:
        """Accept the tokens again."""
        self._server.revoked = False

    def truth(self, target: Target) -> list[RecordTruth]:
        """Return what an export of the project (or of the newest version) should contain, in ascending key order."""
        data, deleted = self._server.data, self._server.listing.deleted[target]
        positions = range(FOREIGN_ROWS, len(data))
        return [data.truth(target, i) for i in positions if data.keys[target][i] not in deleted]
