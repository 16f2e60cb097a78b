"""Shards as Ray tasks: on this machine, or on the cluster at ``run.address``."""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from pipeline.errors import ConfigError, ExportError, PreflightError

if TYPE_CHECKING:
    from pipeline.executors.ray_cluster import RayConnection

# A Ray that we start ourselves listens on the loopback interface only, sends no statistics, and does not
# hide devices from the tasks. Set before Ray is imported, because it reads some of them then.
_LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_QUIET_ENVIRONMENT = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_MB = 10**6
_DEFAULT_MEMORY_MB = 512


class RayExecutor:
    """Runs inputs as Ray tasks, at most ``workers`` in flight; without a number, as many as the machines have room for.

    A task takes one CPU and ``memory_mb`` megabytes (10**6 bytes) of what Ray counts as a machine's memory, so that a
    machine with many CPUs and little memory is not given more work than it can hold; 0 counts CPUs only.
    ``address`` joins a running cluster (``auto`` or ``host:port``); without it ``RAY_ADDRESS`` is used, as in a
    submitted job, and without that a private Ray is started on this machine. A process can be in one cluster only: a
    second executor, of a run in another thread, uses the cluster of the first, and the last one to close leaves it.
    An input that takes longer than ``shard_timeout`` seconds (0: no limit) is given up and tried again.
    Raises PreflightError when there is no cluster at the address, ConfigError when a task is too large for it.
    """

    has_machines = True

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        memory_mb: int = _DEFAULT_MEMORY_MB,
        shard_timeout: float = 0,
    ) -> None:
        address = address or os.environ.get("RAY_ADDRESS") or None
        self._local = address in (None, "local")
        for key, value in (_LOCAL_ENVIRONMENT if self._local else _QUIET_ENVIRONMENT).items():
            os.environ.setdefault(key, value)
        if self._local and "RAY_AUTH_MODE" not in os.environ:
            # Other users of this machine cannot run tasks in it. Left to itself, Ray would keep one token for
            # everything in the user's home, and clusters started later would silently ask for it.
            os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
        import ray  # noqa: PLC0415  after the environment is set, and only when Ray is asked for

        from pipeline.executors import ray_cluster  # noqa: PLC0415  imports Ray

        self._ray: Any = ray  # its own annotations are partial
        self._connection: RayConnection | None = ray_cluster.connection
        self._connection.join(address, workers)
        self._memory = memory_mb * _MB
        self._shard_timeout = shard_timeout
        self._head = ray_cluster.Head()
        try:
            self.workers = min(workers or 10**6, self._room(memory_mb))
        except ExportError:
            self.close()
            raise

    @property
    def description(self) -> str:
        """See :meth:`pipeline.executors.base.Executor.description`."""
        machines = self._machines()
        cpus = sum(int(node["Resources"].get("CPU", 0)) for node in machines)
        counts = [
            _number(len(machines), "machine"),
            _number(cpus, "CPU"),
            f"up to {_number(self.workers, 'shard')} at once",
        ]
        return f"Ray {self._ray.__version__}: {', '.join(counts)}"

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
        del interrupt  # tasks are cancelled
        from pipeline.executors.ray_tasks import Tasks, make_task  # noqa: PLC0415  imports Ray

        # Attempts are counted here and not by Ray, whose own number has no end for workers that run out of memory.
        remote = make_task(
            lanes,
            num_cpus=1,
            memory=self._memory,
            max_retries=0,
            scheduling_strategy="SPREAD",  # the network of every machine, also when there are fewer shards than CPUs
            name=function.__name__,
        )
        slots = min(self.workers, at_most or self.workers)
        tasks: Tasks[S, I, O] = Tasks(
            self._head, remote, function, (shared, careful), slots, lanes, self._shard_timeout
        )
        try:
            yield from tasks.results(inputs)
        except (SystemExit, KeyboardInterrupt):
            raise  # Ray ends them with this process; told to cancel one that just ends, it has crashed on the way out
        except BaseException:
            tasks.cancel()
            raise

    def run_on_machines[S, O](
        self, function: Callable[[S, int], O], shared: S
    ) -> Iterator[tuple[str, O | ExportError]]:
        """See :meth:`pipeline.executors.base.Executor.run_on_machines`. It takes no CPU: busy machines answer too."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415  imports Ray

        from pipeline.executors.ray_cluster import error_line  # noqa: PLC0415  imports Ray
        from pipeline.executors.ray_tasks import encode, make_task  # noqa: PLC0415  imports Ray

        asked = []
        for number, node in enumerate(self._machines()):
            there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            remote = make_task(num_cpus=0, max_retries=1, scheduling_strategy=there)
            task = remote(encode(shared), [encode((function, number))])
            asked.append((f"machine {node['NodeManagerHostname']} ({node['NodeManagerAddress']})", task))
        for machine, task in asked:
            try:
                yield machine, self._ray.get(task)[0]
            except self._ray.exceptions.RayTaskError as error:
                last = [line for line in str(error).splitlines() if line.strip()][-1]
                yield machine, PreflightError(f"cannot run this package: {last.strip()[:300]}")
            except self._ray.exceptions.RayError as error:
                yield machine, PreflightError("a worker was lost", error_line(error))

    def _machines(self) -> list[dict[str, Any]]:
        """The machines that may be given work; a head without CPUs is none of them."""
        return [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]

    def _room(self, memory_mb: int) -> int:
        """How many tasks of one CPU and so many megabytes all machines have room for. Raises ConfigError for none."""
        resources = [node["Resources"] for node in self._machines()]
        room = sum(
            min(int(own["CPU"]), int(own.get("memory", 0) // self._memory) if self._memory else 10**6)
            for own in resources
        )
        if not room:
            largest = max((own.get("memory", 0) for own in resources), default=0) // _MB
            raise ConfigError(
                "run.memory_mb", f"no machine has a free CPU and {memory_mb} MB (the largest has {largest:.0f} MB)"
            )
        return room

    def close(self) -> None:
        """Leave the cluster, unless another run of this process uses it; stop it if it is ours."""
        if self._connection:
            self._connection.leave()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
