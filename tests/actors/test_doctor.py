"""The doctor finds what would stop a system from starting, and runs every check."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from huggingface_hub import constants

from actors import doctor, embedded_store
from actors.config.observability import MetricsConfig
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.doctor import Finding
from cache_store.tiers import MemoryConfig, PolicyName
from pipeline.cameras import CameraSpec
from pipeline.sources.ingest_config import IngestConfig
from tests import servers
from tests.pipeline import footage
from tests.pipeline.footage import H264
from tests.servers import VALKEY


def finding(name: str, settings: HermesConfig | None = None) -> Finding:
    return next(iter(doctor.examine(settings or HermesConfig(), names=[name])))


@pytest.mark.parametrize("name", ["python", "torch", "dali", "pyav"])
def test_an_installed_part_is_found(name: str) -> None:
    found = finding(name)

    assert found.is_ok, found.detail
    assert found.detail


@pytest.mark.redis
def test_the_embedded_store_is_checked_in_another_folder(tmp_path: Path) -> None:
    found = finding("store", HermesConfig(store=f"embedded:{tmp_path / 'store'}"))

    assert found.is_ok, found.detail
    assert not (tmp_path / "store").exists()


def test_a_store_that_is_down_is_named_without_its_password() -> None:
    found = finding("store", HermesConfig(store="redis://user:canary@127.0.0.1:9/0"))

    assert not found.is_ok
    assert "127.0.0.1:9" in found.detail
    assert "canary" not in found.detail


@pytest.mark.redis
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), "use noeviction"),
        (("CONFIG", "SET", "appendonly", "no"), "use appendonly yes"),
        (("REPLICAOF", "127.0.0.1", "1"), "use its primary"),
        (("ACL", "SETUSER", "default", "-lpush"), "LPUSH is refused"),
    ],
)
def test_an_unfit_store_is_reported_with_the_reason(tmp_path: Path, command: tuple[str, ...], expected: str) -> None:
    with servers.running(VALKEY, tmp_path, appendonly="yes") as server, server.client() as client:
        settings = HermesConfig(store=server.url)
        found = finding("store", settings)
        assert found.is_ok, found.detail
        client.execute_command(*command)
        found = finding("store", settings)

    assert not found.is_ok
    assert expected in found.detail


@pytest.mark.ray
def test_ray_is_started_and_its_ports_are_checked() -> None:
    found = finding("ray")

    assert found.is_ok, found.detail
    assert "none beyond this machine" in found.detail


def test_weights_that_are_missing_are_said_in_two_lines_and_how_to_bring_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without internet: it was 22 lines of retries in 38 seconds."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    found = finding("model", HermesConfig(model="qwen3-vl-8b"))

    what, how = found.detail.splitlines()
    assert not found.is_ok
    assert "Qwen/Qwen3-VL-8B-Instruct is not on this machine" in what
    assert "hf download Qwen/Qwen3-VL-8B-Instruct" in how


def test_weights_that_are_missing_are_said_before_anything_is_started() -> None:
    """Ray takes many seconds to start."""
    names = list(doctor.CHECKS)
    assert names.index("model") < min(names.index("store"), names.index("ray"))


def test_a_missing_model_is_named() -> None:
    found = finding("model", HermesConfig(model="/nothing/here"))

    assert (found.is_ok, found.detail) == (False, "model '/nothing/here': no such folder")


def test_a_configured_gpu_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    found = finding("torch", HermesConfig(ingest=IngestConfig(device="cuda")))

    assert not found.is_ok
    assert "ingest.device is 'cuda' and shards.num_gpus 0; shards.num_gpus: 0 and ingest.device: auto" in found.detail


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = finding("router", HermesConfig(router=RouterConfig(port=port)))

    assert not found.is_ok
    assert str(port) in found.detail


def test_a_failed_check_does_not_stop_the_next_one() -> None:
    settings = HermesConfig(model="/nothing/here", router=RouterConfig(port=0))
    names = [found.name for found in doctor.examine(settings, names=["model", "router"])]

    assert names == ["model", "router"]


@pytest.mark.redis
def test_the_running_system_is_no_fault(tmp_path: Path) -> None:
    """Its store is in use and its port is taken, both by the process of this test."""
    with socket.create_server(("127.0.0.1", 0)) as router, embedded_store.running(tmp_path / "store"):
        settings = HermesConfig(
            store=f"embedded:{tmp_path / 'store'}", router=RouterConfig(port=router.getsockname()[1])
        )
        store, port = doctor.examine(settings, names=["store", "router"])

    assert store.is_ok, store.detail
    assert f"in use by the hermes that runs, process {os.getpid()}" in store.detail
    assert port.is_ok, port.detail
    assert f"served by the hermes that runs, process {os.getpid()}" in port.detail


def test_another_program_at_the_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = HermesConfig(
            store=f"embedded:{tmp_path / 'store'}", router=RouterConfig(port=other.getsockname()[1])
        )
        found = finding("router", settings)

    assert not found.is_ok
    assert f"process {os.getpid()} (" in found.detail


def test_a_port_of_the_metrics_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = finding("router", HermesConfig(router=RouterConfig(port=0), metrics=MetricsConfig(port=port)))

    assert not found.is_ok
    assert f"metrics address 127.0.0.1:{port}: cannot listen there" in found.detail


def test_every_configured_camera_is_opened(tmp_path: Path) -> None:
    """A file that is there, a file that is not, a scene, and a host that is not allowed, password included."""
    footage.write(tmp_path / "film.mp4", H264)
    urls = (str(tmp_path / "film.mp4"), str(tmp_path / "none.mp4"), "sim:yard", "rtsp://u:c4n4ry@127.0.0.1:9/1")
    cameras = tuple(CameraSpec(name=f"c{index}", url=url) for index, url in enumerate(urls))

    found = list(doctor.examine_cameras(HermesConfig(cameras=cameras)))

    assert [one.name for one in found] == ["camera c0", "camera c1", "camera c2", "camera c3"]
    assert [one.is_ok for one in found] == [True, False, True, False]
    assert "h264" in found[0].detail
    assert found[1].detail.count("none.mp4") == 1
    assert "127.0.0.1" in found[3].detail
    assert "c4n4ry" not in repr(found)


def test_a_memory_that_does_not_fit_the_model_is_found_before_a_shard_refuses_it() -> None:
    found = finding("model", HermesConfig(memory=MemoryConfig(tokens_per_layer=1_000_000)))

    assert not found.is_ok
    assert found.detail.startswith("memory.tokens_per_layer is 1000000: ")


def test_the_model_says_what_it_does_not_know() -> None:
    assert "knows drawn streets only" in finding("model").detail


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        (PolicyName.AUTO, "policy questions: our benchmark of tiny models (docs/accuracy.md)"),
        (PolicyName.HERMES, "policy hermes: set by memory.policy"),
    ],
)
def test_the_policy_of_memories_is_named_with_its_evidence(policy: PolicyName, line: str) -> None:
    found = finding("model", HermesConfig(memory=MemoryConfig(policy=policy)))

    assert line in found.detail
    assert "\n" not in found.detail
