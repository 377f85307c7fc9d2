"""A Ray cluster on this machine to which Ray's own autoscaler adds nodes, and from which it takes them away.

Ray's AutoscalingCluster does the same, but its start and its end call `ray stop --force`, which ends every Ray of the
machine. Here the head is a process of our own, and what ends is that process with all that it started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from actors import (
    ray_environment,  # noqa: F401
)

# isort: split

import psutil
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FakeMultiNodeProvider

from tests.servers import free_port

_OBJECT_STORE_NBYTES = 80 * 1024 * 1024
_IDLE_S = 4.0
_END_TIMEOUT_S = 20.0
_HEAD = "ray.head.default"
_WORKER = "gpu"


@contextmanager
def running(folder: Path, *, most: int) -> Iterator[str]:
    """A head without resources and at most so many nodes of one CPU and one fake GPU; none at first. -> its address"""
    address, config = f"127.0.0.1:{free_port()}", folder / "autoscaler.json"
    config.write_text(json.dumps(_config(address, most)))
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    options = {
        "port": address.partition(":")[2],
        "node-ip-address": "127.0.0.1",
        "num-cpus": 0,
        "num-gpus": 0,
        "object-store-memory": _OBJECT_STORE_NBYTES,
        "include-dashboard": False,
        "autoscaling-config": config,
        "temp-dir": folder / "ray",
    }
    environment = os.environ | {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    command += [f"--{name}={value}" for name, value in options.items()]
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield address
        finally:
            _end(head)


def _config(address: str, most: int) -> dict[str, object]:
    worker = {"resources": {"CPU": 1, "GPU": 1, "object_store_memory": _OBJECT_STORE_NBYTES}, "node_config": {}}
    return {
        "cluster_name": "test",
        "max_workers": most,
        "idle_timeout_minutes": _IDLE_S / 60,
        "upscaling_speed": 1.0,
        "provider": {
            # By its class: by its own type it would need a file of defaults that is missing from Ray's wheel.
            "type": "external",
            "module": f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__name__}",
            "gcs_address": address,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
            "disable_launch_config_check": True,
            "disable_node_updaters": True,
            "foreground_node_launch": True,
            "worker_liveness_check": False,
            "worker_rpc_drain": True,
        },
        "available_node_types": {
            _HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            _WORKER: worker | {"min_workers": 0, "max_workers": most},
        },
        "head_node_type": _HEAD,
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


def _end(head: subprocess.Popen[bytes]) -> None:
    """Ends the head with every process that it and its nodes have started."""
    processes = []
    with suppress(psutil.NoSuchProcess):
        processes = psutil.Process(head.pid).children(recursive=True)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    head.terminate()
    try:
        head.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        head.kill()
        head.wait()
    psutil.wait_procs(processes, timeout=_END_TIMEOUT_S)
