"""Processes of our own on this machine: the CPUs of one machine, without a cluster."""

import contextlib
import heapq
import itertools
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_connections
from pathlib import Path
from typing import Any, Self

import pipeline
from pipeline.errors import ExportError, PreflightError, TransientError
from pipeline.executors import machine, worker
from pipeline.executors.base import Trial

_HOME = str(Path(pipeline.__file__).resolve().parent.parent)
_IMPORTED = ("pipeline.stages.render", "pipeline.stages.merge")
_LOOK_SECONDS = 1.0  # between two looks at what takes too long
_START_SECONDS = 120.0  # for the start of a process with all its imports, beside the time for an input
_MB = 10**6


def room(workers: int | None, memory_mb: int) -> int:
    """How many workers this machine has room for: one for each CPU and ``memory_mb`` megabytes, or what is asked."""
    if workers:
        return workers
    return max(1, min(machine.cpus(), machine.free_memory() // (memory_mb * _MB) if memory_mb else 10**6))


class ProcessExecutor:
    """Runs inputs in processes of this machine, which start when the executor is made and import meanwhile.

    ``workers`` is how many, by default as many as there is :func:`room` for. An input that takes longer than
    ``shard_timeout`` seconds (0: no limit) is tried again, and its process is killed.
    """

    has_machines = False

    def __init__(self, workers: int | None = None, memory_mb: int = 512, shard_timeout: float = 0) -> None:
        self.workers = room(workers, memory_mb)
        self._shard_timeout = shard_timeout
        self._pool: list[_Worker] = []
        try:
            for _ in range(self.workers):
                self._pool.append(_Worker())
        except OSError as error:
            self.close()
            raise PreflightError("cannot start a process on this machine", str(error)) from error

    @property
    def description(self) -> str:
        """See :meth:`pipeline.executors.base.Executor.description`."""
        return f"{self.workers} {'process' if self.workers == 1 else 'processes'} on this machine"

    def map[S, I, O](
        self,
        function: Callable[[S, I], O],
        shared: S,
        inputs: Iterable[I],
        *,
        at_most: int | None = None,
        careful: S | None = None,
        lanes: int = 1,
        interrupt: Callable[[], None] | None = None,
    ) -> Iterator[O]:
        """See :meth:`pipeline.executors.base.Executor.map`; results come as they are finished."""
        del interrupt  # the processes are killed
        shares = {"plain": pickle.dumps(shared)}
        if careful is not None:
            shares["careful"] = pickle.dumps(careful)
        used = self._pool[: min(self.workers, at_most or self.workers)]
        tasks: _Tasks[I, O] = _Tasks(used, function, shares, lanes, self._shard_timeout)
        try:
            yield from tasks.results(inputs)
        finally:
            # Also after an error, or when nobody wants more results: what is still under way must not go on.
            for one in used:
                if one.running:
                    one.end()

    def run_on_machines[S, O](
        self, function: Callable[[S, int], O], shared: S
    ) -> Iterator[tuple[str, O | ExportError]]:
        """Yield nothing: the machine of this process has proven itself by getting here."""
        del function, shared
        return iter(())

    def close(self) -> None:
        """End the processes."""
        for one in self._pool:
            one.end()
        self._pool = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """One process, the connection to it, and the trials that are under way in it, by number.

    A process that was ended is replaced when it gets its next task.
    """

    def __init__(self) -> None:
        self.running: dict[int, tuple[Trial[Any], float]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._shares: dict[str, bytes] | None = None
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        try:
            # -P: neither the folder of that file nor the current one is where modules are looked for.
            self._process = subprocess.Popen(  # noqa: S603  this file, and a number
                [sys.executable, "-P", worker.__file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
            )
        except OSError:
            ours.close()
            self._errors.close()
            raise
        finally:
            theirs.close()
        self.connection = Connection(ours.detach())
        self._is_ready, self._shares = False, None
        self._send((_HOME, sys.path, _IMPORTED))

    @property
    def has_suspect(self) -> bool:
        """Whether an input is under way on which a process was lost before."""
        return any(trial.is_suspect for trial, _ in self.running.values())

    def begin(self, number: int, trial: Trial[Any], shares: dict[str, bytes], work: bytes) -> None:
        """Start work on a trial. ``shares`` is sent before the first task that has it."""
        if self._process is None:
            self._start()
        if self._shares is not shares:
            self._send(("share", shares))
            self._shares = shares
        self.running[number] = trial, time.monotonic()
        self._send((number, "careful" if trial.is_careful else "plain", work))

    def is_ready(self) -> None:
        """Count the time of all trials from now on: the process has just begun to work."""
        self._is_ready = True
        self.running = {number: (trial, time.monotonic()) for number, (trial, _) in self.running.items()}

    def late(self, seconds: float) -> list[Trial[Any]]:
        """The trials that have been under way for longer than so many seconds."""
        begun = time.monotonic() - seconds - (0 if self._is_ready else _START_SECONDS)
        return [trial for trial, since in self.running.values() if since < begun]

    def _send(self, message: tuple[Any, ...]) -> None:
        with contextlib.suppress(OSError):  # that the process is lost is noticed when its answer is read
            self.connection.send(message)

    def end(self) -> str:
        """End the process, if it has not ended itself; how it ended, and its last words."""
        if self._process is None:
            return ""
        self._process.kill()  # what it was writing is written again, or was not wanted
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        self._errors.close()
        self.connection.close()
        self._process, self.running = None, {}
        said = next((line for line in reversed(lines) if line.strip()), "")
        with contextlib.suppress(ValueError):  # a number that is no signal of this system
            if code < 0:
                return f"killed by {signal.Signals(-code).name}"
        return f"ended with code {code} {said}".strip()[:300]


class _Tasks[I, O]:
    """The tasks of one call of :meth:`ProcessExecutor.map`; to be used once.

    ``shares`` is what tasks get with their input, pickled: plain ones and careful ones. An input on which a process was
    lost gets a process for itself, so that no other input is lost with it.
    """

    def __init__(
        self,
        pool: list[_Worker],
        function: Callable[[Any, I], O],
        shares: dict[str, bytes],
        lanes: int,
        timeout: float,
    ) -> None:
        self._pool, self._function, self._shares, self._lanes = pool, function, shares, lanes
        self._timeout = timeout
        self._waiting: list[tuple[float, int, Trial[I]]] = []
        self._numbers = itertools.count()

    def results(self, inputs: Iterable[I]) -> Iterator[O]:
        """One result for each input, as they come. Raises the error that ends the run."""
        remaining = iter(inputs)
        while True:  # every input ends: with a result, or with an error after a bounded number of attempts
            self._submit(remaining)
            busy = {one.connection: one for one in self._pool if one.running}
            if not busy:
                if not self._waiting:
                    return
                time.sleep(max(0.0, self._waiting[0][0] - time.monotonic()))
                continue
            for connection in wait_for_connections(list(busy), self._seconds_to_look()):
                yield from self._receive(busy[connection])  # type: ignore[index]  # only connections were asked
            self._give_up_late_ones()

    def _seconds_to_look(self) -> float:
        if not self._waiting:
            return _LOOK_SECONDS
        return min(_LOOK_SECONDS, max(0.01, self._waiting[0][0] - time.monotonic()))

    def _submit(self, remaining: Iterator[I]) -> None:
        while True:
            ready = bool(self._waiting) and self._waiting[0][0] <= time.monotonic()
            if ready and self._waiting[0][2].is_suspect:
                free = [one for one in self._pool if not one.running]
            else:
                free = [one for one in self._pool if len(one.running) < self._lanes and not one.has_suspect]
            if not free:
                return
            if ready:
                trial = heapq.heappop(self._waiting)[2]
            else:
                fresh = list(itertools.islice(remaining, 1))
                if not fresh:
                    return
                trial = Trial(fresh[0], can_be_careful="careful" in self._shares)
            self._start(min(free, key=lambda one: len(one.running)), trial)

    def _start(self, one: _Worker, trial: Trial[I]) -> None:
        one.begin(next(self._numbers), trial, self._shares, pickle.dumps((self._function, trial.item)))

    def _again(self, trial: Trial[I], seconds: float = 0) -> None:
        heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._numbers), trial))

    def _receive(self, one: _Worker) -> Iterator[O]:
        try:
            number, returned, value = one.connection.recv()
        except (EOFError, OSError):
            self._lost(one)
            return
        if number is None:
            one.is_ready()
            return
        trial, _ = one.running.pop(number)
        if isinstance(value, TransientError):
            self._again(trial, trial.count_failure(value))
        elif isinstance(value, MemoryError):
            trial.count_loss("out of memory")
            self._again(trial)
        elif isinstance(value, ExportError) or not returned:
            raise value
        else:
            yield value

    def _lost(self, one: _Worker) -> None:
        trials = [trial for trial, _ in one.running.values()]
        reason = one.end()
        for trial in trials:
            trial.count_loss(reason)
            self._again(trial)

    def _give_up_late_ones(self) -> None:
        if not self._timeout:
            return
        for one in self._pool:
            late = one.late(self._timeout)
            if not late:
                continue
            others = [trial for trial, _ in one.running.values() if trial not in late]
            one.end()
            for trial in late:
                trial.count_loss(f"it took more than {self._timeout:g} seconds (run.shard_timeout)")
            for trial in (*late, *others):
                self._again(trial)
