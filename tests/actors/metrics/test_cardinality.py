"""The number of series does not depend on what clients send, and nothing of it is shown but what was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from actors.config.observability import MetricsConfig, TracesConfig
from actors.config.router_config import RouterConfig
from actors.metrics.endpoint import ServerMetrics
from actors.server.server import Router
from actors.server.startup import Startup
from actors.tracing.tracer import tracer_of
from console.client.client import HermesClient
from console.client.errors import ClientError
from protos import hermes_v1_pb2 as pb
from tests.actors.metrics.scraping import measured, samples, scrape
from tests.actors.scripted import ScriptedShard, scripted_fleet
from tests.actors.tracing.collecting import collecting

CAMERAS = 200
WORD = "c4n4ry"
HOSTILE = (
    f'{WORD}"}} 1\nhermes_{WORD}{{x="',
    f"{WORD}\x1b[31m",
    f"{WORD}\\n# HELP {WORD}",
    f"rtsp://user:{WORD}@camera.example/1",
    WORD * 100,
)


def series(text: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples(text)}


def churn(address: str, rounds: int) -> None:
    """Adds, changes and removes cameras, each under a name that was never used."""
    with HermesClient(address) as hermes:
        for number in range(rounds):
            hermes.add_camera(pb.AddCameraRequest(name=f"old{number}", url="sim:street", labels={"n": f"{number}"}))
            list(hermes.ask(f"old{number}", f"what {number}"))
            hermes.remove_camera(f"old{number}")
            hermes.add_camera(pb.AddCameraRequest(name=f"new{number}", url="sim:street"))


@pytest.mark.parametrize("per_camera", [False, True])
async def test_series_are_bounded_and_those_of_removed_and_renamed_cameras_go(per_camera: bool) -> None:
    fleet = scripted_fleet(ScriptedShard(max_cameras=CAMERAS))
    await fleet.reconcile()
    async with measured(fleet, per_camera=per_camera) as (address, metrics):
        await asyncio.to_thread(churn, address, 1)
        one = series(await scrape(metrics))
        with HermesClient(address) as hermes:
            await asyncio.to_thread(hermes.remove_camera, "new0")
        none = series(await scrape(metrics))
        await asyncio.to_thread(churn, address, CAMERAS)
        many = series(await scrape(metrics))
        with HermesClient(address) as hermes:
            for number in range(CAMERAS):
                await asyncio.to_thread(hermes.remove_camera, f"new{number}")
        left = series(await scrape(metrics))

    assert len(many) - len(none) == CAMERAS * (len(one) - len(none))
    assert (len(one) > len(none)) is per_camera
    assert not [labels for _, labels in many if ("camera", "old0") in labels]
    assert left == none


def attack(address: str, tracer: object) -> Iterator[str]:
    """Sends each hostile text wherever a text fits; yields what the server answered."""
    with HermesClient(address, tracer=tracer) as hermes:  # type: ignore[arg-type]
        for text in HOSTILE:
            for call in (
                lambda text=text: hermes.add_camera(pb.AddCameraRequest(name=text, url="sim:street")),
                lambda text=text: hermes.add_camera(pb.AddCameraRequest(name="x", url="sim:s", labels={text: "1"})),
                lambda text=text: hermes.get_camera(text),
                lambda text=text: list(hermes.ask(text, text)),
                lambda text=text: hermes.migrate_camera(text),
                lambda text=text: hermes.remove_camera(text),
            ):
                try:
                    call()  # type: ignore[no-untyped-call]
                except ClientError as error:
                    yield str(error)
        url = f"rtsp://{WORD}:{WORD}@camera.example/1?key={WORD}"
        hermes.add_camera(pb.AddCameraRequest(name="gate", url=url, labels={"place": WORD}))
        list(hermes.ask("gate", f"where is {WORD}"))


async def test_hostile_names_labels_and_passwords_are_in_no_metric_no_trace_and_no_log() -> None:
    fleet = scripted_fleet(ScriptedShard())
    await fleet.reconcile()
    with collecting() as (collector, endpoint), capture_logs() as logs:
        traces, metrics = TracesConfig(endpoint=endpoint), ServerMetrics(MetricsConfig(port=0, per_camera=True))
        router = Router(Startup(fleet), RouterConfig(port=0), None, metrics, tracer_of(traces, "hermes-router"))
        address, own = await router.start(), tracer_of(traces, "hermes-client")
        try:
            refusals = await asyncio.to_thread(lambda: list(attack(address, own)))
            assert metrics.address is not None
            text = await scrape(metrics.address)
        finally:
            await router.stop()
            own.close()

    assert len(refusals) >= len(HOSTILE) * 5
    assert WORD not in text
    assert 'camera="gate"' in text
    assert WORD.encode() not in collector.data
    assert "hermes.router" in collector.spans
    assert WORD not in repr(logs)
    assert "camera_added" in repr(logs)
