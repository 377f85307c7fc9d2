"""A Ray cluster of several nodes on this machine, each of which can be killed or hung like a machine of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from actors import (
    ray_environment,  # noqa: F401
)

# isort: split

import psutil
from ray.cluster_utils import Cluster

_OBJECT_STORE_NBYTES = 80 * 1024 * 1024
_CPUS = 1  # of a node: one shard, as where each has a GPU


class Nodes:
    """Worker nodes beside a head that runs no shard."""

    def __init__(self, count: int) -> None:
        head = {"num_cpus": 0, "object_store_memory": _OBJECT_STORE_NBYTES, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._hung: list[psutil.Process] = []
        for _ in range(count):
            self.add()

    @property
    def address(self) -> str:
        """What a driver joins."""
        return str(self._cluster.address)

    def add(self) -> None:
        """Starts one more node. Blocks for seconds; on the main thread only, as Ray wants its signals."""
        self._cluster.add_node(wait=False, num_cpus=_CPUS, object_store_memory=_OBJECT_STORE_NBYTES)

    def kill(self, pid: int) -> None:
        """Ends the whole node that this process runs on, at once."""
        for process in _node_of(pid):
            process.send_signal(signal.SIGKILL)

    def hang(self, pid: int) -> None:
        """Stops the whole node that this process runs on, until `wake`."""
        self._hung = _node_of(pid)
        for process in self._hung:
            process.send_signal(signal.SIGSTOP)

    def hang_raylet(self, pid: int) -> None:
        """Stops that node's raylet alone: Ray gives the node up, and this process lives on, until `wake`."""
        self._hung = _node_of(pid)[:1]
        self._hung[0].send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Lets what hangs go on, as far as it still is there."""
        for process in self._hung:
            if process.is_running():
                process.send_signal(signal.SIGCONT)
        self._hung = []

    def kill_head(self) -> None:
        """Ends what keeps the cluster's state, at once; it can only come back if that state is in a Redis."""
        self._cluster.head_node.kill_gcs_server(check_alive=False)

    def start_head(self) -> None:
        """Starts it again. Blocks for seconds; on the main thread only."""
        self._cluster.head_node.start_gcs_server()

    def keep_head(self) -> None:
        """Starts it again, as whoever runs a cluster does, if it has ended by itself. Blocks then like `start_head`."""
        if any(kind == "gcs_server" for kind, _ in self._cluster.head_node.dead_processes()):
            self.kill_head()
            self.start_head()

    def close(self) -> None:
        """Ends all of it."""
        self.wake()
        self._cluster.shutdown()


@contextmanager
def running(count: int) -> Iterator[Nodes]:
    """A cluster of so many worker nodes for the time of the block. Everything of it stays on loopback."""
    nodes = Nodes(count)
    try:
        yield nodes
    finally:
        nodes.close()


def _node_of(pid: int) -> list[psutil.Process]:
    """The raylet that started this process, and all that it started."""
    assert pid != os.getpid()
    raylet = psutil.Process(pid).parents()[0]
    return [raylet, *raylet.children(recursive=True)]
