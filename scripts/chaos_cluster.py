"""A Ray cluster of two raylets on this machine, of which the second, or workers of both, can be killed."""

import contextlib
import os
import random
import time
from typing import Any, Self

import psutil

# Read when Ray is imported: loopback only, nobody is told, and no token, because all of it ends with this process.
LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
_SIZE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
_SECONDS = 60


class Raylets:
    """Two raylets of one CPU each; workers inherit the environment this is started in."""

    def __init__(self) -> None:
        os.environ.update(LOCAL)
        from ray.cluster_utils import Cluster  # noqa: PLC0415  after the environment is set

        self._cluster: Any = Cluster(initialize_head=True, head_node_args=_SIZE)
        self._second: Any = None

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        """What drivers join."""
        return str(self._cluster.address)

    def mend(self) -> None:
        """Two raylets again."""
        if self._second is None:
            self._second = self._cluster.add_node(**_SIZE)
            self._cluster.wait_for_nodes(timeout=_SECONDS)

    def kill_second(self) -> None:
        """Kill -9 the second raylet and everything it has started, as when a machine loses power."""
        for found in self._second.all_processes.values():
            for info in found:
                own = psutil.Process(info.process.pid)
                for process in (own, *own.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None

    def kill_worker(self, choice: random.Random, seconds: float) -> bool:
        """Kill -9 a worker that is at a shard; False when none was seen for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if busy := self.workers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    choice.choice(busy).kill()
                    return True
            time.sleep(0.01)
        return False

    def workers(self) -> list[psutil.Process]:
        """The workers of this cluster that are at a shard, which is what Ray calls their processes then."""
        raylets = [
            psutil.Process(info.process.pid)
            for node in self._cluster.list_all_nodes()
            for found in node.all_processes.values()
            for info in found
            if psutil.pid_exists(info.process.pid)
        ]
        busy = []
        for raylet in raylets:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in raylet.children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if "_shard" in (child.cmdline() or [""])[0]:
                            busy.append(child)
        return busy
