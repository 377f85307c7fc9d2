"""Every kind of source gives frames sampled by time, in order, each with its own time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.tiny.scenes.scene import Scene
from pipeline.cameras import PlaybackSpeed, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.sources.simulated import REPEATS_AFTER_S
from tests.pipeline import footage, servers
from tests.pipeline.footage import H264, MJPEG, VP9, jpeg
from tests.pipeline.playing import QUICK, START_S, SlowClock, SourceOutput, VirtualClock, play
from tests.pipeline.servers import TEST_PICTURE, needs_rtsp


@pytest.fixture(
    params=[
        "sim",
        "file",
        "http",
        "http_pushed",
        pytest.param("rtsp_vp8", marks=[pytest.mark.rtsp, needs_rtsp]),
        pytest.param("rtsp_h264", marks=[pytest.mark.rtsp, needs_rtsp]),
        pytest.param("rtsp_udp", marks=[pytest.mark.rtsp, needs_rtsp]),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """One URL of each kind, with a server behind it if it needs one."""
    video = footage.write(tmp_path / "video.mp4", replace(H264, fps=20, frames=100, gop=5))
    with ExitStack() as stack:
        yield {
            "sim": lambda: "sim:street?seed=3&width=160&height=90",
            "file": lambda: str(video),
            "http": lambda: stack.enter_context(servers.file_server(tmp_path)) + "/video.mp4",
            "http_pushed": lambda: stack.enter_context(servers.mjpeg_server((jpeg(1), jpeg(2)), 0.1)),
            "rtsp_vp8": lambda: rtsp(stack, TEST_PICTURE),
            "rtsp_h264": lambda: rtsp(stack, servers.h264_file(video)),
            "rtsp_udp": lambda: rtsp(stack, servers.h264_file(video), "UDP"),
        }[request.param]()


def rtsp(stack: ExitStack, launch: str, transport: str = "any") -> str:
    port, _ = stack.enter_context(servers.rtsp_server(launch, transport=transport))
    return f"rtsp://127.0.0.1:{port}/live"


def test_a_live_source_gives_frames_of_now_at_the_sampling_rate(url: str) -> None:
    began_s = time.time()
    config = replace(QUICK, sample_fps=5, open_timeout_s=10, stall_after_s=10)

    played = play(url, pace=PlaybackSpeed.LIVE, config=config, started_s=began_s, max_samples=9)

    times_s = [sample.time_s for sample in played.samples]
    steps_s = np.diff(times_s)
    assert len(times_s) == 9
    assert (steps_s > 0.1).all()
    assert np.median(steps_s) == pytest.approx(0.2, abs=0.05)  # a busy machine makes a step or two longer
    assert began_s - 1 < times_s[0]
    assert times_s[-1] <= time.time() + 0.2
    for sample in played.samples:
        assert sample.image.to_rgb().ndim == 3
        assert sample.image.to_rgb().shape[2] == 3


@pytest.mark.parametrize("over_http", [False, True], ids=["file", "http"])
def test_a_recording_gives_the_same_frames_played_fast_and_live(over_http: bool, tmp_path: Path) -> None:
    footage.write(tmp_path / "video.webm", replace(VP9, frames=20))
    with servers.file_server(tmp_path) as server:
        url = f"{server}/video.webm" if over_http else str(tmp_path / "video.webm")
        clock = VirtualClock()
        live = play(url, pace=PlaybackSpeed.LIVE, clock=clock)
        fast = play(url, pace=PlaybackSpeed.FAST, started_s=START_S + (2 if over_http else 0))

    assert contents(live) == contents(fast)
    assert [number for _, number in contents(fast)] == [0, 5, 10, 15]
    assert clock.now_s - START_S == pytest.approx(1.9, abs=0.01)


def contents(output: SourceOutput) -> list[tuple[float, int]]:
    return [(sample.time_s, footage.number_of(sample.image.to_rgb())) for sample in output.samples]


@pytest.mark.parametrize("pace", PlaybackSpeed)
def test_a_recording_resumes_after_the_frames_that_were_given(pace: PlaybackSpeed, tmp_path: Path) -> None:
    """Fast: right after them. Live: where the recording is by now."""
    path = footage.write(tmp_path / "video", replace(H264, frames=60))
    clock, config = VirtualClock(START_S + 3), replace(QUICK, max_lag_s=1.2)

    played = play(str(path), pace=pace, config=config, after_s=START_S + 1, clock=clock)

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert numbers[0] == 15 if pace is PlaybackSpeed.FAST else 15 < numbers[0] <= 45
    assert numbers == list(range(numbers[0], 60, 5))
    assert played.dropped == 0


def test_a_recording_that_is_over_by_now_gives_nothing(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", H264)

    played = play(str(path), pace=PlaybackSpeed.LIVE, started_s=time.time() - 100, after_s=time.time() - 50)

    assert played.samples == []


def test_a_consumer_that_is_too_slow_gets_the_newest_frames_and_the_loss_is_counted(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video", replace(H264, frames=50))
    config = replace(QUICK, max_lag_s=0.5, max_segment_s=0.5)

    played = play(str(path), pace=PlaybackSpeed.LIVE, config=config, started_s=START_S + 0.2, clock=SlowClock(0.05))

    numbers = [footage.number_of(sample.image.to_rgb()) for sample in played.samples]
    assert numbers == [round((time_s - 0.2) * 10) for time_s in played.times_s]
    assert 0 < len(numbers) < 10
    assert len(numbers) + played.dropped == 10


def test_a_simulated_camera_skips_and_counts_the_frames_that_a_slow_consumer_misses() -> None:
    config, url = replace(QUICK, max_lag_s=1), "sim:street?width=32&height=18"

    played = play(url, pace=PlaybackSpeed.LIVE, config=config, max_samples=5, clock=SlowClock(0.7))

    moments = [round(time_s * config.sample_fps) for time_s in played.times_s]
    assert played.dropped > 0
    assert moments[-1] - moments[0] + 1 == len(moments) + played.dropped


def test_a_simulated_camera_shows_its_scene() -> None:
    played = play("sim:street?seed=3&gap=2&width=96&height=54&start=1600000000", max_samples=7)

    scene = Scene(3, mean_gap_s=2.0)
    for index, sample in enumerate(played.samples):
        assert sample.time_s == 1_600_000_000 + index / 2
        assert np.array_equal(sample.image.to_rgb(), scene.frame(index / 2, 96, 54))


def test_a_simulated_camera_played_live_resumes_at_the_present() -> None:
    began_s = START_S - 1000
    url = f"sim:street?start={began_s}&width=32&height=18"

    played = play(url, pace=PlaybackSpeed.LIVE, after_s=began_s + 5, max_samples=2, clock=VirtualClock())

    assert played.times_s == [0, 0.5]


def test_a_scene_that_began_decades_ago_gives_its_next_frame_at_once() -> None:
    """The scene repeats; generating all events since its beginning would take minutes and gigabytes."""
    played = play("sim:street?start=0&seed=3&width=64&height=36", pace=PlaybackSpeed.LIVE, max_samples=1)

    at_s = played.samples[0].time_s % REPEATS_AFTER_S
    assert np.array_equal(played.samples[0].image.to_rgb(), Scene(3).frame(at_s, 64, 36))


def unreadable(folder: Path) -> dict[str, str]:
    """Files that cannot be read: name -> text of the message."""
    (folder / "empty.mp4").touch()
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    (folder / "letter.txt").write_text("Dear camera,\n" * 500)
    footage.write_audio(folder / "sound.mp4")
    footage.write(folder / "wide.mp4", replace(H264, size=(640, 64)))
    (folder / "headless.mp4").write_bytes(footage.write(folder / "whole.mp4", H264).read_bytes()[:3000])
    avi = footage.write(folder / "unknown.avi", MJPEG).read_bytes()
    (folder / "unknown.avi").write_bytes(avi.replace(b"MJPG", b"ZZ9Z"))
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    return {
        "none.mp4": "No such file",
        "": "directory",
        "empty.mp4": "empty",
        "noise.mp4": "no video, or damaged video",
        "letter.txt": "no video, or damaged video",
        "sound.mp4": "no video",
        "wide.mp4": "640x64",
        "headless.mp4": "no video, or damaged video",
        "unknown.avi": "no decoder for its codec",
        "list.m3u8": "no video, or damaged video",
    }


def test_a_file_without_usable_video_is_refused_by_name_and_reason(tmp_path: Path) -> None:
    for name, reason in unreadable(tmp_path).items():
        with pytest.raises(SourceInvalid, match=reason) as caught:
            play(str(tmp_path / name), config=replace(QUICK, max_width=512, max_height=512))
        assert str(tmp_path / name) in str(caught.value)


def test_a_file_is_read_only_below_the_video_folders(tmp_path: Path) -> None:
    """Links are followed: the file itself must be below a folder."""
    outside = footage.write(tmp_path / "outside.mp4", H264)
    folder = tmp_path / "videos"
    folder.mkdir()
    inside = footage.write(folder / "inside.mp4", H264)
    (folder / "link.mp4").symlink_to(outside)
    (tmp_path / "link").symlink_to(folder)
    config = replace(QUICK, video_folders=(tmp_path / "link",))

    for path in (inside, tmp_path / "link" / "inside.mp4"):
        assert len(play(str(path), config=config).samples) == 6
    for path in (outside, folder / "link.mp4", folder / ".." / "outside.mp4", "/etc/passwd"):
        with pytest.raises(SourceInvalid, match=r"ingest\.video_folders") as caught:
            play(str(path), config=config)
        assert caught.value.reason is SourceReason.FILE_REFUSED


def test_a_single_file_is_allowed_without_those_beside_it(tmp_path: Path) -> None:
    named, beside = (footage.write(tmp_path / name, H264) for name in ("named.mp4", "beside.mp4"))
    config = replace(QUICK, video_folders=(named,))

    assert len(play(str(named), config=config).samples) == 6
    text = (
        f'{beside}: ingest.video_folders names no folder; to allow this file: ingest: {{video_folders: ["{tmp_path}"]}}'
    )
    with pytest.raises(SourceInvalid, match=re.escape(text)):
        play(str(beside), config=config)


def test_without_folders_no_file_is_read(tmp_path: Path) -> None:
    path = footage.write(tmp_path / "video.mp4", H264)

    text = f'{path}: ingest.video_folders is empty; to allow this file: ingest: {{video_folders: ["{tmp_path}"]}}'
    with pytest.raises(SourceInvalid, match=re.escape(text)):
        play(str(path), config=replace(QUICK, video_folders=()))


def test_for_a_file_of_the_root_folder_only_the_file_is_advised() -> None:
    text = 'to allow this file: ingest: {video_folders: ["/none.mp4"]}'
    with pytest.raises(SourceInvalid, match=re.escape(text)):
        play("/none.mp4", config=replace(QUICK, video_folders=()))


def test_a_list_of_files_is_not_read(tmp_path: Path) -> None:
    footage.write(tmp_path / "video.ts", replace(H264, container="mpegts"))
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile video.ts\n")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nvideo.ts\n#EXT-X-ENDLIST\n")

    for name in ("list.ffconcat", "list.m3u8"):
        with pytest.raises(SourceInvalid, match="no video"):
            play(str(tmp_path / name))


def test_a_playlist_from_the_network_reads_no_local_file(tmp_path: Path) -> None:
    video = footage.write(tmp_path / "secret.ts", replace(H264, container="mpegts"))
    folder = tmp_path / "served"
    folder.mkdir()
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n"
    (folder / "list.m3u8").write_text(f"{head}file://{video}\n#EXT-X-ENDLIST\n")
    (folder / "fair.ts").write_bytes(video.read_bytes())
    (folder / "fair.m3u8").write_text(f"{head}fair.ts\n#EXT-X-ENDLIST\n")

    with servers.file_server(folder) as server:
        assert len(play(f"{server}/fair.m3u8").samples) == 6
        with pytest.raises(SourceInvalid, match="neither http nor https"):
            play(f"{server}/list.m3u8")


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.1.1]", "[fd00:ec2::254]"])
def test_link_local_addresses_are_refused(host: str) -> None:
    with pytest.raises(SourceInvalid, match="is in the refused network"):
        play(f"http://{host}/latest/meta-data")


def test_the_message_names_a_host_without_an_address() -> None:
    with pytest.raises(SourceUnreachable, match=r"'no-such-camera\.invalid' has no address"):
        play("rtsp://no-such-camera.invalid/live")


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_silent_server_is_given_up_after_the_timeout(scheme: str) -> None:
    config = replace(QUICK, open_timeout_s=0.6)

    with servers.silent_server() as port, pytest.raises(SourceUnreachable, match=r"no answer within 0\.6 s"):
        play(f"{scheme}://127.0.0.1:{port}/live", config=config)
