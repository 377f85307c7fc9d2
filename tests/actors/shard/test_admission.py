"""A device takes as many new cameras as it has time for, by what a frame takes."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future

import pytest

from actors.shard.admission import Admission
from actors.shard.shard_counts import FrameCounts
from pipeline.cameras import CameraSpec, CameraState, DeviceFull, PlaybackSpeed, TooManyCameras
from pipeline.device.device_config import DeviceConfig, WhenFull
from pipeline.sources.sampling import MAX_DEVICE_STRIDE
from tests.actors.shard.shards import Running, assignment, live, status, watch_whole
from tests.actors.waiting import until

CONFIG = DeviceConfig(max_cameras=4, max_ingest_share=0.5)
SAMPLE_FPS = 2.0
S_PER_FRAME = 0.1  # so that a camera of two frames a second takes a fifth of the device


@dataclasses.dataclass(frozen=True)
class Cameras:
    """The cameras of a shard. ended: those that give no frame any more."""

    present: dict[str, CameraSpec]
    ended: frozenset[str] = frozenset()

    def specs(self) -> dict[str, CameraSpec]:
        return self.present

    def playing(self) -> dict[str, CameraSpec]:
        return {name: spec for name, spec in self.present.items() if name not in self.ended}


def admission(
    cameras: dict[str, CameraSpec], config: DeviceConfig = CONFIG, *, ended: str = "", is_measured: bool = True
) -> Admission:
    measured = Future[float]()
    if is_measured:
        measured.set_result(S_PER_FRAME)
    return Admission(config, SAMPLE_FPS, Cameras(cameras, frozenset(ended)), measured)


def camera(name: str, fps: float | None = None, pace: PlaybackSpeed = PlaybackSpeed.LIVE) -> CameraSpec:
    return CameraSpec(name=name, url="sim:street", frames_per_second=fps, pace=pace)


def assigned(spec: CameraSpec):
    return dataclasses.replace(assignment(spec.name, spec.url), spec=spec)


def test_a_camera_beyond_the_share_is_refused_with_the_figures() -> None:
    present = {"a": camera("a"), "b": camera("b", fps=1.0)}

    admission(present).require_time(assigned(camera("c")))
    present["c"] = camera("c")
    with pytest.raises(DeviceFull, match=r"'d': 2 frames/s take 20\.0% .* other cameras take 50\.0% \(limit 50%"):
        admission(present).require_time(assigned(camera("d")))


def test_one_camera_is_taken_whatever_it_takes_and_so_is_one_that_waits_for_the_others() -> None:
    admission({}).require_time(assigned(camera("a", fps=60.0)))
    admission({"a": camera("a", fps=60.0)}).require_time(assigned(camera("a", fps=60.0)))
    with pytest.raises(DeviceFull):
        admission({"a": camera("a", fps=60.0)}).require_time(assigned(camera("b", fps=0.01)))

    recording = camera("b", pace=PlaybackSpeed.FAST)
    admission({"a": camera("a", fps=5.0)}).require_time(assigned(recording))


def test_until_a_frame_was_measured_slots_alone_decide() -> None:
    present = {name: camera(name) for name in "abc"}
    unknown = admission(present, is_measured=False)

    unknown.require_time(assigned(camera("d")))
    unknown.require_slot(assigned(camera("d")))
    present["d"] = camera("d")
    with pytest.raises(TooManyCameras, match="all 4 slots"):
        unknown.require_slot(assigned(camera("e")))


def test_a_recording_that_has_ended_keeps_its_slot_and_takes_no_time() -> None:
    present = {name: camera(name) for name in "abcd"}
    device = admission(present, ended="cd")

    assert device.note(FrameCounts()).share == pytest.approx(0.4)
    with pytest.raises(TooManyCameras, match="all 4 slots"):
        device.require_slot(assigned(camera("e")))
    del present["d"]
    device.require_time(assigned(camera("e", fps=1.0)))
    with pytest.raises(DeviceFull, match=r"other cameras take 40\.0%"):
        device.require_time(assigned(camera("e", fps=1.1)))


def test_the_load_follows_what_ingest_really_takes() -> None:
    device = admission({"a": camera("a"), "b": camera("b")})
    assert device.note(FrameCounts()).share == pytest.approx(0.4)

    # Behind the gate a frame takes a tenth.
    loads = [device.note(FrameCounts(read=1_000 * call, ingest_s=10.0 * call)).share for call in (1, 2, 3)]

    assert loads == sorted(loads, reverse=True)
    assert loads[-1] == pytest.approx(0.04, abs=0.01)


def test_what_a_compaction_takes_counts_though_it_is_known_after_its_frames() -> None:
    """A fifth of what a frame takes, reported apart from it."""
    device, ingest_s = admission({"a": camera("a")}), 0.0
    for second in range(1, 401):
        ingest_s += 0.4 if second % 2 else 0.1
        load = device.note(FrameCounts(read=4 * ((second + 1) // 2), ingest_s=ingest_s))

    assert load.share == pytest.approx(SAMPLE_FPS * 0.125, rel=0.02)


def test_a_frame_that_was_timed_on_a_busy_machine_refuses_cameras_for_seconds_not_minutes() -> None:
    """Two cameras give four frames a second; each takes a tenth of what was timed."""
    present = {"a": camera("a"), "b": camera("b")}
    device = admission(present)
    with pytest.raises(DeviceFull):
        device.require_time(assigned(camera("c", fps=1.5)))

    for second in range(1, 21):
        load = device.note(FrameCounts(read=4 * second, ingest_s=0.04 * second))

    assert load.share == pytest.approx(0.4 * (16 * 0.1 + 80 * 0.01) / 96 / 0.1)
    device.require_time(assigned(camera("c", fps=1.5)))


def test_what_a_frame_takes_later_counts_as_much_after_an_hour_as_after_minutes() -> None:
    """The last 256 frames or so outweigh what was before, however long that was."""
    device = admission({"a": camera("a")})
    device.note(FrameCounts(read=10_000, ingest_s=100.0))

    load = device.note(FrameCounts(read=10_256, ingest_s=100.0 + 256 * 0.2))

    assert load.share == pytest.approx(SAMPLE_FPS * (0.01 + 0.2) / 2, rel=0.02)


def test_rates_are_lowered_by_as_much_as_the_cameras_are_beyond_the_share() -> None:
    config = dataclasses.replace(CONFIG, when_full=WhenFull.LOWER_RATES)
    present = {name: camera(name) for name in "abcd"}
    device = admission(present, config)

    device.require_time(assigned(camera("e")))

    load = device.note(FrameCounts())
    assert load.share * load.keeps == pytest.approx(load.limit)
    del present["c"], present["d"]
    assert device.note(FrameCounts()).keeps == 1.0


def test_a_share_above_the_whole_device_is_no_setting() -> None:
    with pytest.raises(ValueError, match=r"max_ingest_share is 1\.5: it must be above 0, and at most 1$"):
        DeviceConfig(max_ingest_share=1.5)


async def test_a_shard_refuses_a_new_camera_and_takes_one_that_has_a_memory(running: Running, film: str) -> None:
    """A camera that was watched before must not end unwatched, because a shard began anew."""
    async with running(max_cameras=3, max_ingest_share=1e-6, when_full=WhenFull.REFUSE) as shard:
        await watch_whole(shard, "film", film)
        await shard.release_camera("film")
        await shard.add_camera(live("street"))
        found = await shard.status()
        assert found.ingest_share > found.max_ingest_share == 1e-6

        with pytest.raises(DeviceFull, match=r"camera 'yard': 2 frames/s"):
            await shard.add_camera(live("yard"))
        await shard.add_camera(assignment("film", film, PlaybackSpeed.LIVE))

        assert {camera.name for camera in (await shard.status()).cameras} == {"street", "film"}


async def test_a_recording_that_has_ended_makes_place_until_it_is_played_again(running: Running, film: str) -> None:
    async with running(max_cameras=4, max_ingest_share=1e-6, when_full=WhenFull.REFUSE) as shard:

        async def has_load() -> bool:
            return (await shard.status()).ingest_share > 0

        async def has_ended() -> bool:
            return (await status(shard, "film")).state is CameraState.ENDED

        await shard.add_camera(live("street"))
        await until(has_load)
        await shard.release_camera("street")
        recording = assignment("film", film, PlaybackSpeed.LIVE)
        await shard.add_camera(recording)
        await until(has_ended)

        assert not await has_load()
        await shard.add_camera(live("yard"))
        with pytest.raises(DeviceFull):
            await shard.add_camera(live("hall"))
        await shard.release_camera("yard")
        assert not await has_load()

        again = dataclasses.replace(recording, spec=dataclasses.replace(recording.spec, loop=True))
        await shard.update_camera(again)
        assert await has_load()
        with pytest.raises(DeviceFull):
            await shard.add_camera(live("hall"))


async def test_a_shard_lowers_the_rates_of_all_cameras_and_says_so(running: Running) -> None:
    async with running(max_ingest_share=1e-6, when_full=WhenFull.LOWER_RATES) as shard:
        street = live("street")
        await shard.add_camera(dataclasses.replace(street, spec=dataclasses.replace(street.spec, frames_per_second=60)))

        async def is_lowered() -> bool:
            return (await status(shard, "street")).lowered_fps == 60 / MAX_DEVICE_STRIDE

        await until(is_lowered)
        found = await status(shard, "street")

    assert found.detail.startswith("sampled at 0.6 frames/s of 60: the device has no time for more")
