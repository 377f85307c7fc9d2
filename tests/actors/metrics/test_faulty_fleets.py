"""What metrics say while something is wrong: alerts are made of it."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from actors.config.observability import MetricsConfig
from actors.fleet.figures import CameraFigures, FleetFigures
from actors.fleet.fleet import Fleet
from actors.metrics import definitions
from actors.metrics.endpoint import ServerMetrics
from actors.server import status_codes
from actors.server.startup import Startup
from pipeline.cameras import CameraSpec, CameraState
from tests.actors.metrics.scraping import measured, samples, scrape, value
from tests.actors.metrics.test_metrics import ASK, ask
from tests.actors.scripted import ScriptedShard, scripted_fleet


async def fleet_of(*shards: ScriptedShard, is_leader: bool = True, cameras: int = 2) -> Fleet:
    fleet = scripted_fleet(*shards, is_leader=lambda: is_leader)
    fleet.configure(CameraSpec(name=f"c{number}", url=f"sim:c{number}") for number in range(cameras))
    await fleet.reconcile()
    await fleet.list_cameras()
    return fleet


async def test_what_alerts_count_is_0_before_it_happens_the_first_time() -> None:
    """Prometheus sees no increase in the first sample of a series, so the first error would raise no alert."""
    async with measured(await fleet_of(ScriptedShard())) as (address, metrics):
        before = await scrape(metrics)
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(address, "nobody")
        # A call is counted when it has ended, which its client sees before.
        while not value(after := await scrape(metrics), "hermes_refusals_total", reason="UNKNOWN_CAMERA"):
            pass

    for reason in status_codes.REASONS:
        assert value(before, "hermes_refusals_total", reason=reason) == 0
    assert value(before, "hermes_calls_total", method=ASK, code="INTERNAL") == 0
    assert value(after, "hermes_refusals_total", reason="UNKNOWN_CAMERA") == 1


@pytest.mark.parametrize(("has_role", "reports"), [(True, True), (False, False)])
async def test_the_last_leader_reports_the_fleet_while_the_store_cannot_tell_who_leads(
    has_role: bool, reports: bool
) -> None:
    startup, metrics = Startup(), ServerMetrics(MetricsConfig(port=0))
    startup.finish(await fleet_of(ScriptedShard(), is_leader=False), lambda: has_role)
    await metrics.start(lambda: startup.figures)
    try:
        assert metrics.address is not None
        text = await scrape(metrics.address)
    finally:
        await metrics.stop()

    assert value(text, "hermes_leader") == 0
    assert ("hermes_checkpoint_age_seconds" in {sample.name for sample in samples(text)}) is reports


async def test_a_shard_that_is_down_offers_no_slots_and_does_not_look_idle() -> None:
    shards = [ScriptedShard(max_cameras=4, pid=1), ScriptedShard(max_cameras=4, pid=2)]
    shards[1].busy_share = 0.25
    fleet = await fleet_of(*shards)
    shards[1].is_down = True
    await fleet.list_cameras()
    async with measured(fleet) as (_, metrics):
        text = await scrape(metrics)

    assert value(text, "hermes_shards", state="down") == 1
    assert [value(text, "hermes_slots", shard=shard) for shard in "01"] == [4, 0]
    assert [sample.labels["shard"] for sample in samples(text) if sample.name == "hermes_shard_busy_ratio"] == ["0"]


async def test_a_draining_shard_offers_no_slots() -> None:
    shards = [ScriptedShard(max_cameras=4, pid=1), ScriptedShard(max_cameras=4, pid=2)]
    fleet = await fleet_of(*shards)
    shards[0].is_draining = True
    await fleet.list_cameras()
    async with measured(fleet) as (_, metrics):
        text = await scrape(metrics)

    assert [value(text, "hermes_slots", shard=shard) for shard in "01"] == [0, 4]


async def test_a_camera_that_no_shard_watches_has_nothing_to_save() -> None:
    fleet = await fleet_of(ScriptedShard(max_cameras=1), cameras=2)

    watched = {camera.name for camera in fleet.figures().cameras if camera.is_on_shard}

    assert len(watched) == 1
    assert watched < {"c0", "c1"}


@pytest.mark.parametrize(
    ("is_on_shard", "newest_s", "checkpointed_s", "age_s"),
    [
        (True, 995.0, 990.0, 10.0),
        (True, 995.0, None, 900.0),  # since it was added
        (True, None, None, 0.0),  # it never gave a frame
        (False, 500.0, 490.0, 0.0),  # its shard is down: nothing is read that could be saved
        (False, None, None, 0.0),  # it waits for a slot
    ],
)
def test_only_a_camera_with_something_to_save_makes_checkpoints_late(
    is_on_shard: bool, newest_s: float | None, checkpointed_s: float | None, age_s: float
) -> None:
    camera = CameraFigures(
        name="gate",
        shard=0,
        is_on_shard=is_on_shard,
        state=CameraState.LIVE,
        note=None,
        started_s=100.0,
        newest_s=newest_s,
        checkpointed_s=checkpointed_s,
    )
    [metric] = [metric for metric in definitions.OF_THE_FLEET if metric.name == "hermes_checkpoint_age_seconds"]

    assert list(metric.samples(FleetFigures(cameras=(camera,)), 1_000.0)) == [(("0",), age_s)]


@pytest.mark.parametrize("name", ["hermes_camera_memory_lag_seconds", "hermes_camera_checkpoint_age_seconds"])
def test_no_age_is_below_0_while_the_clock_is_set_back(name: str) -> None:
    camera = CameraFigures(
        name="gate",
        shard=0,
        is_on_shard=True,
        state=CameraState.LIVE,
        note=None,
        started_s=100.0,
        newest_s=995.0,
        checkpointed_s=990.0,
    )
    [metric] = [metric for metric in definitions.OF_CAMERAS if metric.name == name]

    assert list(metric.samples(FleetFigures(cameras=(camera,)), 500.0)) == [(("gate",), 0.0)]
