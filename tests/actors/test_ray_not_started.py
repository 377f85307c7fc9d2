"""Whatever Ray raises while it starts becomes one typed error, so that the command line prints one line."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import pytest

from actors import ray_cluster
from actors.errors import RayNotStarted

# isort: split
import ray


def refuse(**settings: Any) -> NoReturn:
    raise Exception("The current node timed out during startup.")  # as Ray 2.60 does on a busy machine


def test_a_node_that_is_slow_to_start_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", refuse)

    with (
        pytest.raises(RayNotStarted, match=r"timed out during startup.*load .* cores"),
        ray_cluster.running(num_cpus=1, num_gpus=0),
    ):
        pass
    with (
        socket.create_server(("127.0.0.1", 0)) as head,
        pytest.raises(RayNotStarted, match="cannot join the cluster there"),
        ray_cluster.joined(f"127.0.0.1:{head.getsockname()[1]}"),
    ):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_cluster_that_nobody_answers_for_is_named_before_ray_tries_for_minutes(host: str) -> None:
    with (
        pytest.raises(RayNotStarted, match=f"shards.ray '{host}:1': no cluster answers there after 0 s: .*head up"),
        ray_cluster.joined(f"{host}:1", wait_s=0.0),
    ):
        pass
