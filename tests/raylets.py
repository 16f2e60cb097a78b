"""A Ray cluster of several raylets on this machine, until standard input ends: ``python tests/raylets.py NUMBER``.

``ray start`` refuses a second raylet on the loopback interface; Ray's own test cluster does not. Prints the address.
"""

import sys

from ray.cluster_utils import Cluster

SIZE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
GB = 10**9


def main():
    cluster = Cluster(initialize_head=True, head_node_args={**SIZE, "memory": 2 * GB})
    for _ in range(int(sys.argv[1]) - 1):
        cluster.add_node(**SIZE, memory=GB)
    try:
        cluster.wait_for_nodes(timeout=60)
        sys.stdout.write(f"{cluster.address}\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
