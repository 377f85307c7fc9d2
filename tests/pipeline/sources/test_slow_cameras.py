"""A camera of one picture in many seconds is live at its rate, and a silent one has the right reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.cameras import CameraState
from pipeline.sources.picture_timeout import PictureTimeout
from tests.pipeline import footage, rtsp_camera, servers
from tests.pipeline.footage import jpeg
from tests.pipeline.playing import QUICK, running_feed
from tests.pipeline.rtsp_camera import RtspCamera

# A fifth of the usual limits, for cameras of a picture in 0.8 s instead of 4 s; twice that for the first answer, which
# a busy machine gives late, and still less than a dozen pictures take.
QUICKER = replace(QUICK, sample_fps=8, stall_after_s=0.5, open_timeout_s=4.0, max_key_wait_s=15.0, max_clip_wait_s=0.3)


def test_an_rtsp_camera_of_few_pictures_is_live_at_its_rate() -> None:
    """libav wants a dozen of them before it opens a stream."""
    with (
        rtsp_camera.running(RtspCamera(fps=1.25)) as url,
        running_feed(url, config=QUICKER, retry_jitter_s=0) as feed,
    ):
        numbers: list[int] = []
        while len(numbers) < 5:
            numbers += [footage.number_of(frame) for frame in feed.take().frames]

    assert numbers == sorted(set(numbers))
    assert {state for state, _ in feed.states} == {CameraState.CONNECTING, CameraState.LIVE}


def test_an_mjpeg_camera_of_few_pictures_is_live_at_its_rate() -> None:
    pictures = tuple(jpeg(number) for number in range(20))
    with servers.mjpeg_server(pictures, 0.8) as url, running_feed(url, config=QUICKER, retry_jitter_s=0) as feed:
        numbers: list[int] = []
        while len(numbers) < 5:
            numbers += [footage.number_of(frame) for frame in feed.take().frames]

    assert numbers == sorted(set(numbers))
    assert {state for state, _ in feed.states} == {CameraState.CONNECTING, CameraState.LIVE}


@pytest.mark.parametrize(
    ("times_s", "limit_s"),
    [
        ([], 70),
        ([0], 70),
        ([0, 0.04], 70),  # the pictures of a slow camera may come together at first
        ([0, 0.04, 0.08], 10),
        ([0, 12, 24], 30),
        ([0, 60, 120], 70),
        ([0, 12, 24, *(24 + index / 25 for index in range(1, 10))], 10),
    ],
)
def test_the_next_picture_may_take_longer_where_pictures_are_far_apart(times_s: list[float], limit_s: float) -> None:
    timeout = PictureTimeout(10, 70)
    for time_s in times_s:
        timeout.add(time_s)

    assert timeout.limit_s == pytest.approx(limit_s)
