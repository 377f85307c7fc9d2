"""A Ray of this machine alone: token authentication on, nothing beyond loopback."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from actors import ray_environment  # noqa: F401

# isort: split

import psutil
import ray
from ray.exceptions import RayError

from actors import listening
from actors.errors import RayNotStarted

NAMESPACE = "hermes"
# Frames never cross processes and answers are small, so Ray's own choice, a share of the memory, is far too much.
_OBJECT_STORE_NBYTES = 80 * 1024 * 1024


@contextmanager
def running(*, num_cpus: float, num_gpus: float, shows_logs: bool = False) -> Iterator[None]:
    """Ray, with that much to give to shards, for the time of the block. Blocks for seconds. Raises RayNotStarted.

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


def _require_loopback() -> None:
    """Ray's switches have changed before: what it does is what counts."""
    open_to_all = [found for found in listening.listeners(psutil.Process()) if not found.is_loopback]
    if open_to_all:
        first = open_to_all[0]
        raise RayNotStarted(
            f"process {first.pid} ({first.command}) listens on {first.host}:{first.port}, beyond this machine"
        )
