"""The sign of life of a run: one small file in the staging area, which the driver writes anew every few seconds.

``_staging/status/status.json`` says how far the run is, and when that was written. It is written by a thread of its
own, so that neither a slow store nor a long stage stops it, and by the holder of the lock only. It is removed when the
export is complete. A run that ended with an error leaves it with the error, unless there is nothing to continue; a
killed run leaves it as it was.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Literal

import msgspec

from pipeline.destination.lock import Lock
from pipeline.errors import ExportError, StagingError
from pipeline.progress import Reporter, Snapshot
from pipeline.redaction import redact
from pipeline.storage import STAGING, Storage
from pipeline.version import __version__

PATH = f"{STAGING}/status/status.json"
SILENT_RENEWALS = 6
"""A run that has not given a sign of life for as many renewals is taken for dead."""

_LOCAL_SECONDS = 2.0
_SHARED_SECONDS = 10.0  # each is a request that the store charges for
_LEAST_SECONDS = 1.0  # stages of a small export follow each other quickly
_LAST_WRITE_SECONDS = 5.0
_LASTING_FAILURES = 2
_NOT_WORK = {"locks", "status", "tmp"}  # what a run has below its staging area before there is a plan

log = logging.getLogger(__name__)


class RunStatus(msgspec.Struct, frozen=True):
    """What ``status.json`` holds. Times are ISO 8601 in UTC; the run is renewed every ``renews_every`` seconds.

    ``command`` is the command that continues the run. ``error`` is the one line with which it ended.
    """

    run_id: str
    name: str
    command: str
    host: str
    pid: int
    version: str
    started: str
    renewed: str
    renews_every: float
    state: Literal["running", "failed", "interrupted"] = "running"
    error: str = ""
    progress: Snapshot = Snapshot()


def read_status(storage: Storage) -> RunStatus | None:
    """Return the last sign of life at a path, or None when there is none. Raises StagingError when it is damaged."""
    data = storage.find(PATH)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=RunStatus)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StagingError(f"{storage.url}/{PATH}", "is damaged; a run that is at work writes it anew") from error


@contextlib.contextmanager
def sign_of_life(storage: Storage, lock: Lock, reporter: Reporter, *, name: str, command: str) -> Iterator[None]:
    """Within the block, tell at the path how far the run is that holds ``lock``. Nothing that fails here ends a run.

    ``name`` is that of the export, ``command`` the command that continues it.
    """
    heart = _Heart(storage, lock, reporter, name, command)
    reporter.call_on_change(heart.wake)
    heart.start()
    try:
        yield
    except ExportError as error:
        heart.stop("failed", redact(str(error)))
        raise
    except (SystemExit, KeyboardInterrupt):
        heart.stop("interrupted", "")
        raise
    except BaseException as error:
        heart.stop("failed", type(error).__name__)  # its text may hold anything
        raise
    else:
        heart.stop(None, "")
    finally:
        reporter.call_on_change(None)


class _Heart(threading.Thread):
    """The thread that writes the file."""

    def __init__(self, storage: Storage, lock: Lock, reporter: Reporter, name: str, command: str) -> None:
        super().__init__(name="sign of life", daemon=True)
        self._storage, self._lock, self._reporter = storage, lock, reporter
        self._every = _SHARED_SECONDS if storage.is_shared else _LOCAL_SECONDS
        self._first = RunStatus(
            run_id=lock.run_id,
            name=name,
            command=command,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            started=_now(),
            renewed="",
            renews_every=self._every,
        )
        self._end: tuple[Literal["failed", "interrupted"] | None, str] = (None, "")
        self._ending = threading.Event()
        self._awake = threading.Event()
        self._failures = 0

    def wake(self) -> None:
        """Write soon, because a stage began or ended."""
        self._awake.set()

    def stop(self, state: Literal["failed", "interrupted"] | None, error: str) -> None:
        """Write how the run ended, or remove the file when ``state`` is None. A store that hangs is not waited for."""
        self._end = (state, error)
        self._ending.set()
        self._awake.set()
        self.join(_LAST_WRITE_SECONDS)

    def run(self) -> None:
        """Write until the run ends, then once more."""
        while not self._ending.is_set():
            self._guarded(self._write, self._first)
            self._ending.wait(_LEAST_SECONDS)
            self._awake.wait(max(0.0, self._every - _LEAST_SECONDS))
            self._awake.clear()
        self._guarded(self._leave, self._end)

    def _leave(self, end: tuple[Literal["failed", "interrupted"] | None, str]) -> None:
        state, error = end
        if state is None or set(self._storage.entries(STAGING)) <= _NOT_WORK:  # or it ended before there was a plan
            self._storage.delete([PATH])
        else:
            self._write(msgspec.structs.replace(self._first, state=state, error=error))

    def _write(self, status: RunStatus) -> None:
        self._lock.check()  # the file is that of the run that broke this lock
        renewed = msgspec.structs.replace(status, renewed=_now(), progress=self._reporter.whole.snapshot())
        self._storage.write(PATH, msgspec.json.encode(renewed))

    def _guarded[T](self, function: Callable[[T], None], argument: T) -> None:
        try:
            function(argument)
        except Exception as error:  # noqa: BLE001  a sign of life is worth less than the run
            self._failures += 1
            # Once may happen, and a run that ends because of its store has a line of its own.
            lasts = self._failures == _LASTING_FAILURES and not self._ending.is_set()
            told = redact(str(error) or type(error).__name__)
            log.log(logging.WARNING if lasts else logging.INFO, "this run cannot tell how far it is: %s", told)
        else:
            self._failures = 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
