"""What a signal does in a process that starts Ray, or has started it: what it did before."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from actors import ray_cluster

# isort: split
import psutil
import ray
from ray._private import services

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def _sigterm_while_ray_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sends SIGTERM when Ray is about to start its first process."""
    start = services.start_gcs_server
    handler = signal.getsignal(signal.SIGTERM)

    def start_behind_signal(*arguments: Any, **settings: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return start(*arguments, **settings)

    monkeypatch.setattr(services, "start_gcs_server", start_behind_signal)
    yield
    signal.signal(signal.SIGTERM, handler)


def test_sigterm_is_answered_as_before_while_ray_starts_and_while_it_runs() -> None:
    """Ray's handler raised SystemExit in the middle of an import, and the demo never ended."""
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))

    with ray_cluster.running(num_cpus=1, num_gpus=0):
        signal.raise_signal(signal.SIGTERM)

    assert received == [signal.SIGTERM, signal.SIGTERM]


def test_an_interrupted_start_leaves_nothing_of_ray() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    before = psutil.Process().children(recursive=True)

    with pytest.raises(KeyboardInterrupt), ray_cluster.running(num_cpus=1, num_gpus=0):
        pass

    assert not ray.is_initialized()
    assert psutil.Process().children(recursive=True) == before
