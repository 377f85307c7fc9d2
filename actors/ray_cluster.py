"""The Ray that shards run in: a local one, or a running cluster."""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import os
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from actors import ray_environment  # noqa: F401

# isort: split

import psutil
import ray
from ray._private import services
from ray.autoscaler.v2.utils import is_autoscaler_v2

from actors import open_ports, run_folder
from actors.errors import RayNotStarted

NAMESPACE = "hermes"
_PROCESS_TIMEOUT_S = 60.0
_HEAD_LOOK_S = 0.5
# Ray's error names the versions of the cluster, then those of this process.
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")
# Frames never cross processes and answers are small. Ray's default, a share of the memory, would be far too much.
_OBJECT_STORE_NBYTES = 80 * 1024 * 1024


@contextmanager
def running(*, num_cpus: float, num_gpus: float, shows_logs: bool = False) -> Iterator[None]:
    """Runs a local Ray with these resources during the block. Blocks for seconds. Raises RayNotStarted.

    Token authentication is on, and every port of Ray is on loopback. shows_logs: whether standard error of the shards
    is copied to that of this process. Ray's session folder goes with the run.
    """
    _require_no_ray()
    earlier = _exposed_ports()  # the router's, which listens before Ray starts
    with run_folder.running() as folder, ExitStack() as stack:
        start = _initialized(
            address="local",
            num_cpus=max(1, math.ceil(num_cpus)),
            num_gpus=math.ceil(num_gpus),
            object_store_memory=_OBJECT_STORE_NBYTES,
            include_dashboard=False,
            log_to_driver=shows_logs,
            _temp_dir=str(folder / "ray"),  # Ray opens its own folder to everybody, but not those above it
        )
        try:
            with _in_own_groups():
                stack.enter_context(start)
        except Exception as error:  # Ray raises a bare Exception where a process of its own is slow to start
            raise RayNotStarted(
                f"Ray did not start: {error} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; "
                "if that is much, try again when the machine is less busy)"
            ) from error
        _require_loopback(earlier)
        yield


@contextmanager
def joined(address: str, *, shows_logs: bool = False, wait_s: float = 10.0) -> Iterator[None]:
    """Joins the cluster at this address (HOST:PORT, or auto) during the block. Raises RayNotStarted.

    Detached actors outlive the block. The environment must hold the cluster's token. wait_s: for its head to listen.
    """
    _require_no_ray()
    _require_head(address, wait_s)
    with ExitStack() as stack:
        try:
            stack.enter_context(_initialized(address=address, log_to_driver=shows_logs))
        except Exception as error:  # as above
            raise RayNotStarted(f"shards.ray {address!r}: {_why_not_joined(error)}") from error
        yield


async def enter(stack: AsyncExitStack, block: AbstractContextManager[None]) -> None:
    """Enters `running` or `joined` in a thread, because Ray starts slowly; the event loop goes on meanwhile."""
    entering = asyncio.create_task(asyncio.to_thread(block.__enter__))
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        await asyncio.wait([entering])
        if entering.exception() is None:
            block.__exit__(None, None, None)
        raise
    stack.push(block.__exit__)


def gpus_of_nodes() -> list[float]:
    """How many GPUs each node has that is alive in the cluster that was joined, used or free."""
    return [float(node["Resources"].get("GPU", 0.0)) for node in ray.nodes() if node["Alive"]]


def has_autoscaler() -> bool:
    """Whether the cluster that was joined has an autoscaler (version 2), as KubeRay's has. Which nodes it may add, it
    does not say.
    """
    return bool(is_autoscaler_v2(fetch_from_server=True))


def device_of_a_process(*, num_gpus: float) -> str:
    """Where a new process of the cluster computes: the name of its GPU, or the CPU if it asks for none.

    Raises RayNotStarted if it does not answer within 60 s.
    """
    task = ray.remote(num_cpus=0, num_gpus=num_gpus, max_retries=0)(_computing_device)
    try:
        return str(ray.get(task.remote(num_gpus > 0), timeout=_PROCESS_TIMEOUT_S))
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise RayNotStarted(f"a process with {num_gpus:g} GPUs: {reason}") from error


def _require_head(address: str, wait_s: float) -> None:
    """Ray itself tries for minutes, says so in lines of its own, and cannot be interrupted meanwhile."""
    host, _, port = address.rpartition(":")
    deadline_s = time.monotonic() + wait_s
    while address != "auto":
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=max(1.0, wait_s)).close()
            return
        except OSError as error:
            if time.monotonic() >= deadline_s:
                raise RayNotStarted(
                    f"shards.ray {address!r}: no cluster answers there after {wait_s:g} s: {error.strerror or error}; "
                    "is its head up, and is this its port (6379, unless it was started with another one)?"
                ) from error
        time.sleep(_HEAD_LOOK_S)


def _require_no_ray() -> None:
    if ray.is_initialized():
        raise RayNotStarted("Ray already runs in this process")


def _why_not_joined(error: Exception) -> str:
    versions = _VERSIONS.findall(str(error))
    if len(versions) != 2:
        return f"cannot join the cluster there: {error}"
    (cluster_ray, cluster_python), (own_ray, own_python) = versions
    return (
        f"the cluster runs Ray {cluster_ray} on Python {cluster_python}, this process Ray {own_ray} on Python "
        f"{own_python}, and Ray joins none but its own versions: use one image for both, or install "
        f"'ray[default]=={cluster_ray}' here"
    )


def _computing_device(is_gpu: bool) -> str:
    torch = importlib.import_module("torch")
    total = float(torch.ones(4, device="cuda" if is_gpu else "cpu").sum())
    return torch.cuda.get_device_name() if is_gpu and total == 4.0 else "the CPU"


@contextmanager
def without_ray_messages() -> Iterator[None]:
    """Discards standard output during the block: Ray prints paragraphs about each process that ended there.

    What matters of them is in our own log. Standard error stays, with the log lines of the shards.
    """
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _in_own_groups() -> Iterator[None]:
    """Keeps Ray's processes that start in the block, and so the shards, out of this one's process group.

    A SIGTERM to all of that group, or the SIGHUP of a terminal that is closed, would end Ray before the shards have
    saved; this process ends Ray after that. Ray itself has no setting for this.
    """
    before = services.ConsolePopen
    services.ConsolePopen = partial(before, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = before


@contextmanager
def _initialized(**settings: Any) -> Iterator[None]:
    """Starts or joins Ray in a thread, and shuts it down behind the block.

    In the main thread Ray sets a handler of SIGTERM that raises SystemExit. Raised in the middle of an import, that
    would leave a lock of Python that is never released. The thread outlives the block, because Linux ends Ray's
    processes with the thread that started them.
    """
    logging.getLogger("ray._private.worker").addFilter(_is_news)
    with ThreadPoolExecutor(1, "ray-init") as executor:
        initializing = executor.submit(ray.init, namespace=NAMESPACE, configure_logging=False, **settings)
        try:
            initializing.result()
            yield
        finally:
            wait([initializing])
            ray.shutdown()  # a refused attempt leaves this process half joined


def _is_news(record: logging.LogRecord) -> bool:
    """False for what Ray warns of because it starts in a thread, which is on purpose."""
    return "SIGTERM handler is not set" not in record.getMessage()


def _exposed_ports() -> list[open_ports.Listener]:
    return [listener for listener in open_ports.listeners(psutil.Process()) if not listener.is_loopback]


def _require_loopback(earlier: list[open_ports.Listener]) -> None:
    """Checks the ports themselves, because the meaning of Ray's settings has changed between versions."""
    exposed = [listener for listener in _exposed_ports() if listener not in earlier]
    if exposed:
        first = exposed[0]
        raise RayNotStarted(
            f"process {first.pid} ({first.command}) listens on {first.host}:{first.port}, beyond this machine"
        )
