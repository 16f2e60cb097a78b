"""The Ray cluster that this process is connected to.

Imports Ray, so :mod:`pipeline.executors.ray` imports this module only after it has set Ray's environment.
"""

import logging
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray

from pipeline.errors import PreflightError, TransientError

HEAD_SECONDS = 30.0
"""How long the head of a cluster may not answer. Shorter than Ray's own minute, after which it ends the process."""
_CHECK_SECONDS = 2.0
_CONNECT_SECONDS = 5.0
_OBJECT_STORE_BYTES = 100 * 2**20
_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}


class RayConnection:
    """The connection of this process to Ray, shared by all runs that are at work in its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._thread: ThreadPoolExecutor | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def join(self, address: str | None, workers: int | None) -> None:
        """Connect to the cluster, or start one, unless that is done. Raises PreflightError."""
        with self._lock:
            if not ray.is_initialized():
                self._start(address, workers)
            self._users += 1

    def leave(self) -> None:
        """Disconnect, and stop a cluster that was started here, when no other run uses it."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._thread:  # without a thread, somebody else of this process connected it
                self._thread.submit(ray.shutdown).result()
                self._clean()

    def _start(self, address: str | None, workers: int | None) -> None:
        """Start Ray in a thread of its own, for two reasons.

        The kernel kills Ray's processes when the thread that started them ends (``PR_SET_PDEATHSIG``), and a thread of
        a run ends before those of other runs. And in the main thread, Ray would take SIGTERM for itself.
        """
        self._thread = ThreadPoolExecutor(1, "ray")
        try:
            if address in (None, "local"):
                self._thread.submit(self._start_local, workers).result()
            else:
                self._thread.submit(self._join_cluster, address).result()
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            self._clean()
            place = "on this machine" if address in (None, "local") else f"at {address}"
            raise PreflightError(f"cannot start Ray {place}", error_line(error)) from error

    def _start_local(self, workers: int | None) -> None:
        # A private folder: Ray's session files hold no secrets of ours, but are nobody else's business.
        self._folder = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
        ray.init(
            address="local",
            num_cpus=workers,  # without a number Ray counts, and knows the limits of a container
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=self._folder.name,
            **_QUIET,
        )

    @staticmethod
    def _join_cluster(address: str) -> None:
        check_listening(address.removeprefix("ray://"), _CONNECT_SECONDS)
        ray.init(address=address, **_QUIET)

    def _clean(self) -> None:
        if self._thread:
            self._thread.shutdown()
            self._thread = None
        if self._folder:
            self._folder.cleanup()
            self._folder = None


connection = RayConnection()
"""The one connection of this process."""


class Head:
    """The head of the cluster that this process is connected to."""

    def __init__(self) -> None:
        self._address = str(ray.get_runtime_context().gcs_address)
        self._silent_since: float | None = None

    def check_alive(self) -> None:
        """Raise TransientError once the head has not accepted a connection for ``HEAD_SECONDS``."""
        try:
            check_listening(self._address, _CHECK_SECONDS)
        except OSError as error:
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            if now - self._silent_since >= HEAD_SECONDS:
                raise self.lost_error() from error
        else:
            self._silent_since = None

    def lost_error(self) -> TransientError:
        """The error that ends a run when the cluster is lost."""
        return TransientError(
            f"the Ray cluster at {self._address} is gone", "run the same command again, on any cluster, to continue"
        )


def free_room() -> str:
    """How many CPUs and how much memory of the cluster are free now, of all that it has, in one line."""
    own: Any = ray  # its own annotations are partial
    total, free = own.cluster_resources(), own.available_resources()
    memory = f"{free.get('memory', 0) / 1e9:.1f} of {total.get('memory', 0) / 1e9:.1f} GB free"
    return f"{free.get('CPU', 0):.0f} of {total.get('CPU', 0):.0f} CPUs and {memory}"


def error_line(error: Exception) -> str:
    """The message of an error of Ray as one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


def check_listening(address: str, seconds: float) -> None:
    """Raise OSError if ``host:port`` accepts no connection; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=seconds).close()
