"""Shards as Ray tasks: on this machine, or on the cluster at ``run.address``. The only module that imports Ray."""

import contextlib
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Self

from pipeline.errors import ExportError, PreflightError, TransientError
from pipeline.executors import ATTEMPTS

# A Ray that we start ourselves listens on the loopback interface only, sends no statistics, and does not
# hide devices from the tasks. Set before Ray is imported, because it reads some of them then.
_LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_OBJECT_STORE_BYTES = 100 * 2**20
_KNOCK_SECONDS = 5.0


class RayExecutor:
    """Runs inputs as Ray tasks, at most ``workers`` in flight.

    ``address`` joins a running cluster (``auto`` or ``host:port``); without it ``RAY_ADDRESS`` is used, as in a
    submitted job, and without that a private Ray is started on this machine and stopped by :meth:`close`.
    Raises PreflightError when there is no cluster at the address.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        address = address or os.environ.get("RAY_ADDRESS") or None
        self._local = address in (None, "local")
        if self._local:
            for key, value in _LOCAL_ENVIRONMENT.items():
                os.environ.setdefault(key, value)
            if "RAY_AUTH_MODE" not in os.environ:
                # Other users of this machine cannot run tasks in it. Left to itself, Ray would keep one token for
                # everything in the user's home, and clusters started later would silently ask for it.
                os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
        import ray  # noqa: PLC0415  after the environment is set, and only when Ray is asked for

        self._ray: Any = ray  # its own annotations are partial
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._started = not ray.is_initialized()
        if self._started:
            self._start(address, workers)
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def _start(self, address: str | None, workers: int | None) -> None:
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
        try:
            if self._local:
                # A private folder: Ray's session files hold no secrets of ours, but are nobody else's business.
                self._folder = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
                self._ray.init(
                    address="local",
                    num_cpus=workers or os.cpu_count(),
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    _temp_dir=self._folder.name,
                    **quiet,
                )
            else:
                _knock(str(address))
                self._ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            place = "on this machine" if self._local else f"at {address}"
            raise PreflightError(f"cannot start Ray {place}", reason) from error

    @property
    def shares_nothing(self) -> bool:
        """Whether the cluster has more than this one machine."""
        return len([node for node in self._ray.nodes() if node["Alive"]]) > 1

    def map[S, I, O](self, function: Callable[[S, I], O], shared: S, inputs: Iterable[I]) -> Iterator[O]:
        """See :meth:`pipeline.executors.Executor.map`; results come as they are finished."""
        ray = self._ray
        # Ray retries a lost worker by itself; of our own errors only the transient kind is worth another attempt.
        remote = ray.remote(function).options(
            num_cpus=1, max_retries=ATTEMPTS - 1, retry_exceptions=[TransientError], name=function.__name__
        )
        reference = ray.put(shared)
        remaining = iter(inputs)
        waiting = [remote.remote(reference, item) for item in islice(remaining, self.workers)]
        try:
            while waiting:
                done, waiting = ray.wait(waiting, num_returns=1)
                waiting += [remote.remote(reference, item) for item in islice(remaining, len(done))]
                yield from (self._result(task) for task in done)
        finally:
            for task in waiting:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.cancel(task, force=True)

    def _result(self, task: Any) -> Any:
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(task)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, ExportError):
                raise error.cause from None
            raise
        except exceptions.RayError as error:
            raise TransientError("a worker was lost", " ".join(str(error).split())[:300]) from error

    def close(self) -> None:
        """Leave the cluster; stop it when it is ours."""
        if self._started:
            self._ray.shutdown()
            self._started = False
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _knock(address: str) -> None:
    """Raise OSError at once when nothing listens at ``host:port``; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
