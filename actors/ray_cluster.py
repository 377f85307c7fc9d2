"""The Ray that shards run in: one of this machine alone, or a cluster that is there already."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from actors import ray_environment  # noqa: F401

# isort: split

import psutil
import ray
from ray.exceptions import RayError

from actors import open_ports
from actors.errors import RayNotStarted

NAMESPACE = "hermes"
# Frames never cross processes and answers are small, so Ray's own choice, a share of the memory, is far too much.
_OBJECT_STORE_NBYTES = 80 * 1024 * 1024


@contextmanager
def running(*, num_cpus: float, num_gpus: float, shows_logs: bool = False) -> Iterator[None]:
    """A Ray of this machine alone, with that much to give to shards, for the time of the block. Raises RayNotStarted.

    Token authentication is on, and nothing listens beyond loopback. Blocks for seconds.

    shows_logs: whether what shards write to standard error appears on ours; else it is in Ray's session folder only.
    """
    if ray.is_initialized():
        raise RayNotStarted("Ray runs in this process already")
    try:
        ray.init(
            address="local",
            num_cpus=max(1, math.ceil(num_cpus)),
            num_gpus=math.ceil(num_gpus),
            object_store_memory=_OBJECT_STORE_NBYTES,
            namespace=NAMESPACE,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=shows_logs,
        )
    except (RayError, OSError, RuntimeError, ValueError) as error:
        raise RayNotStarted(f"Ray did not start: {error}") from error
    try:
        _require_loopback()
        yield
    finally:
        ray.shutdown()


@contextmanager
def joined(address: str, *, shows_logs: bool = False) -> Iterator[None]:
    """A driver of the cluster at this address (HOST:PORT, or auto) for the time of the block. Raises RayNotStarted.

    What is detached there outlives it. The cluster's token must be in the environment.
    """
    try:
        ray.init(address=address, namespace=NAMESPACE, configure_logging=False, log_to_driver=shows_logs)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        raise RayNotStarted(f"shards.ray {address!r}: cannot join that cluster: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_loopback() -> None:
    """Ray's switches have changed before: what it does is what counts."""
    open_to_all = [found for found in open_ports.listeners(psutil.Process()) if not found.is_loopback]
    if open_to_all:
        first = open_to_all[0]
        raise RayNotStarted(
            f"process {first.pid} ({first.command}) listens on {first.host}:{first.port}, beyond this machine"
        )
