"""Whatever Ray raises while it starts becomes one typed error, so that the command line prints one line."""

from __future__ import annotations

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
    with pytest.raises(RayNotStarted, match="cannot join the cluster there"), ray_cluster.joined("host:6379"):
        pass
