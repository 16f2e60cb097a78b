"""Inputs as tasks of a Ray cluster: which are under way, which are tried again, and which are given up.

Imports Ray, so :mod:`pipeline.executors.ray` imports this module only after it has set Ray's environment.
"""

import contextlib
import heapq
import itertools
import math
import operator
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ray

import pipeline
from pipeline.errors import ExportError, TransientError
from pipeline.executors import worker
from pipeline.executors.base import Trial
from pipeline.executors.ray_cluster import Head, error_line

_GROUPS_OF_LANES = 2  # inputs of a large group for each of its lanes, so that none waits for the longest
_LOOK_SECONDS = 1.0  # between two looks at deadlines and at the head
_HOME = str(Path(pipeline.__file__).resolve().parent.parent)

_pickle: Any = ray.cloudpickle  # without annotations
_pickle.register_pickle_by_value(worker)


def encode(value: object) -> bytes:
    """A value as what :func:`pipeline.executors.worker.call_tasks` reads."""
    return bytes(_pickle.dumps(value))


def make_task(lanes: int = 1, **options: Any) -> Callable[[Any, list[bytes]], Any]:
    """What submits a task with these options of Ray. It is given, encoded, what tasks share, and functions with inputs.

    So many ``lanes`` of the task work at the same time.
    """
    remote = ray.remote(worker.call_tasks).options(**options)
    return lambda shared, works: remote.remote(_HOME, shared, works, lanes)


class Tasks[S, I, O]:
    """The tasks of one call of :meth:`pipeline.executors.ray.RayExecutor.map`; to be used once.

    A task works on one input, or on a group of inputs with several ``lanes``: large groups at first, so that no lane
    waits, and small ones at the end, so that no worker does. An input that was lost with its worker is in no group.

    ``remote`` submits a task (:func:`make_task`), and ``function`` is what it calls. ``shared`` is what tasks get with
    their input, and what careful tasks get instead (None: there are no careful ones). ``slots`` bounds how many tasks
    are under way; ``timeout`` is how many seconds each may take (0: no limit), counted from when it was handed to the
    cluster.
    """

    def __init__(
        self,
        head: Head,
        remote: Callable[[Any, list[bytes]], Any],
        function: Callable[[S, I], O],
        shared: tuple[S, S | None],
        slots: int,
        lanes: int,
        timeout: float,
    ) -> None:
        self._head, self._remote, self._function, self._shared = head, remote, function, shared
        self._lanes = lanes
        self._references: dict[bool, Any] = {}
        self._slots = slots
        self._timeout = timeout
        self._running: dict[Any, tuple[list[Trial[I]], float]] = {}
        self._waiting: list[tuple[float, int, Trial[I]]] = []
        self._numbers = itertools.count()
        # Given up, but not known to have ended: a process that is stopped does not hear that. It has its CPU still.
        self._stuck: set[Any] = set()

    def results(self, inputs: Iterable[I]) -> Iterator[O]:
        """One result for each input, as they come. Raises the error that ends the run."""
        remaining = iter(inputs)
        while True:  # every input ends: with a result, or with an error after a bounded number of attempts
            self._submit(remaining)
            if not self._running:
                if not self._waiting:
                    return
                time.sleep(max(0.0, self._waiting[0][0] - time.monotonic()))
                continue
            done, _ = ray.wait([*self._running, *self._stuck], num_returns=1, timeout=_LOOK_SECONDS)
            for task in done:
                if task in self._stuck:
                    self._stuck.discard(task)
                    continue
                trials, _ = self._running.pop(task)
                yield from self._finished(task, trials)
            if not done:
                self._head.check_alive()
            self._give_up_late_ones()

    def cancel(self) -> None:
        """End what is under way, without waiting for it."""
        for task in (*self._running, *self._stuck):
            self._cancel(task)

    def _cancel(self, task: Any) -> None:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.cancel(task, force=True)

    def _submit(self, remaining: Iterator[I]) -> None:
        while len(self._running) < max(1, self._slots - len(self._stuck)):
            if self._waiting and self._waiting[0][0] <= time.monotonic():
                trials = [heapq.heappop(self._waiting)[2]]
            else:
                fresh = list(itertools.islice(remaining, self._group_size(remaining)))
                if not fresh:
                    return
                trials = [Trial(item, can_be_careful=self._shared[1] is not None) for item in fresh]
            works = [encode((self._function, trial.item)) for trial in trials]
            task = self._remote(self._reference(careful=trials[0].is_careful), works)
            self._running[task] = trials, time.monotonic()

    def _group_size(self, remaining: Iterator[I]) -> int:
        if self._lanes == 1:
            return 1
        left = operator.length_hint(remaining)
        return max(1, min(_GROUPS_OF_LANES * self._lanes, math.ceil(left / self._slots / _GROUPS_OF_LANES)))

    def _reference(self, *, careful: bool) -> Any:
        """What tasks share, put where all machines get it from once."""
        if careful not in self._references:
            self._references[careful] = ray.put(encode(self._shared[careful]))
        return self._references[careful]

    def _again(self, trial: Trial[I], seconds: float = 0) -> None:
        heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._numbers), trial))

    def _finished(self, task: Any, trials: list[Trial[I]]) -> Iterator[O]:
        try:
            results = ray.get(task)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.LocalRayletDiedError as error:
            raise self._head.lost_error() from error
        except ray.exceptions.RayError as error:
            for trial in trials:
                trial.count_loss(error_line(error))
                self._again(trial)
            return
        for trial, result in zip(trials, results, strict=True):
            if isinstance(result, TransientError):
                self._again(trial, trial.count_failure(result))
            elif isinstance(result, MemoryError):
                trial.count_loss("out of memory")
                self._again(trial)
            elif isinstance(result, ExportError):
                raise result
            else:
                yield result

    def _give_up_late_ones(self) -> None:
        if not self._timeout:
            return
        now = time.monotonic()
        for task, (trials, since) in list(self._running.items()):
            if now - since > self._timeout * math.ceil(len(trials) / self._lanes):
                del self._running[task]
                self._cancel(task)
                self._stuck.add(task)
                for trial in trials:
                    trial.count_loss(f"it took more than {self._timeout:g} seconds (run.shard_timeout)")
                    self._again(trial)
