"""A Ray cluster of several nodes on this machine; each node can be killed or hung like a machine of its own."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from actors import (
    ray_environment,  # noqa: F401
)

# isort: split

import psutil
from ray.cluster_utils import Cluster

_OBJECT_STORE_NBYTES = 80 * 1024 * 1024
_CPUS = 1  # of a node, so that each has room for one shard, like a machine with one GPU


class Nodes:
    """The worker nodes, and a head node that runs no shard. gpus: of a node, as Ray counts them; none need exist."""

    def __init__(self, count: int, *, gpus: int = 0) -> None:
        head = {"num_cpus": 0, "object_store_memory": _OBJECT_STORE_NBYTES, "include_dashboard": False}
        with _keeping_sigterm():
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._hung: list[psutil.Process] = []
        self._gpus = gpus
        for _ in range(count):
            self.add()

    @property
    def address(self) -> str:
        """The address that a driver joins."""
        return str(self._cluster.address)

    def add(self, *, shards: int = 1, labels: Mapping[str, str] | None = None) -> None:
        """Starts one more node, with room for so many shards.

        Blocks for seconds; only on the main thread, because Ray sets signal handlers.
        """
        with _keeping_sigterm():
            self._cluster.add_node(
                wait=False,
                num_cpus=_CPUS * shards,
                num_gpus=self._gpus * shards,
                labels=dict(labels or {}),
                object_store_memory=_OBJECT_STORE_NBYTES,
            )

    def keep(self, count: int) -> None:
        """Replaces the nodes whose raylet has ended, so that there are `count`. Blocks like `add`.

        On a busy machine Ray gives up a node that is slow to start, or to answer; the next call tries again.
        """
        nodes = self._cluster.worker_nodes
        alive = [node for node in nodes if not any(kind == "raylet" for kind, _ in node.dead_processes())]
        for _ in range(count - len(alive)):
            try:
                self.add()
            except Exception as error:  # noqa: BLE001 - Ray raises a bare Exception
                print(f"a node did not start: {error}", file=sys.stderr)

    def kill(self, pid: int) -> None:
        """Kills the whole node that this process runs on."""
        _signal(_processes_of(pid), signal.SIGKILL)

    def hang(self, pid: int) -> None:
        """Stops the whole node that this process runs on until `wake`."""
        self._hung = _processes_of(pid)
        _signal(self._hung, signal.SIGSTOP)

    def hang_raylet(self, pid: int) -> None:
        """Stops only that node's raylet until `wake`: Ray gives the node up while this process lives on."""
        self._hung = _processes_of(pid)[:1]
        _signal(self._hung, signal.SIGSTOP)

    def wake(self) -> None:
        """Continues every process that hangs and still exists."""
        _signal(self._hung, signal.SIGCONT)
        self._hung = []

    def kill_head(self) -> None:
        """Kills the process that keeps the cluster's state. It can only restart if that state is in a Redis."""
        self._cluster.head_node.kill_gcs_server(check_alive=False)

    def start_head(self) -> None:
        """Starts the head again. Blocks for seconds; only on the main thread."""
        self._cluster.head_node.start_gcs_server()

    def keep_head(self) -> None:
        """Starts the head again if it has ended by itself, as a process supervisor does. Blocks like `start_head`."""
        if any(kind == "gcs_server" for kind, _ in self._cluster.head_node.dead_processes()):
            self.kill_head()
            self.start_head()

    def close(self) -> None:
        """Ends the whole cluster."""
        self.wake()
        self._cluster.shutdown()


@contextmanager
def running(count: int, *, gpus: int = 0) -> Iterator[Nodes]:
    """A cluster of `count` worker nodes for the time of the block. It listens on loopback only."""
    nodes = Nodes(count, gpus=gpus)
    try:
        yield nodes
    finally:
        nodes.close()


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Behind the block SIGTERM does what it did before: where Ray starts processes itself, it sets a handler."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def node_of(pid: int) -> psutil.Process | None:
    """The raylet of the node that this process runs on; None if it has no such parent (any more)."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid).parent() if pid else None
        if parent is not None and parent.name() == "raylet":
            return parent
    return None


def _processes_of(pid: int) -> list[psutil.Process]:
    """The raylet that started this process, and all processes that the raylet started.

    Raises AssertionError for an orphan: the parent of one is the parent of everything on this machine.
    """
    raylet = node_of(pid)
    assert raylet is not None, f"process {pid} has no raylet"
    return [raylet, *raylet.children(recursive=True)]


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
