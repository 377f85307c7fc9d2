"""A live HLS playlist: its segments come whole, with nothing in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cameras import CameraState
from pipeline.sources import hls_variants
from tests.pipeline import field_cameras
from tests.pipeline.playing import QUICK, running_feed

# Shorter than a segment of one second is, and frames often enough that a segment without one would be noticed.
IMPATIENT = replace(QUICK, stall_after_s=0.5, sample_fps=10)


def test_a_stream_is_live_while_its_segments_are_further_apart_than_other_streams_may_be_silent(
    tmp_path: Path,
) -> None:
    with field_cameras.running(tmp_path) as urls, running_feed(urls["hls"], config=IMPATIENT) as feed:
        began_s = feed.take().times_s[0]
        while feed.take().times_s[-1] < began_s + 5:
            pass

    assert {state for state, *_ in feed.states} == {CameraState.CONNECTING, CameraState.LIVE}


@pytest.mark.parametrize(
    ("playlist", "silence_s"),
    [
        ("#EXTM3U\n#EXT-X-TARGETDURATION:10\n", 15),
        ("#EXTM3U\r\n#EXT-X-TARGETDURATION: 6\r\n", 9),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:99999\n", 90),
        ("#EXTM3U\n", 0),
        ("a #EXT-X-TARGETDURATION:10", 0),
    ],
)
def test_how_long_a_playlist_may_give_nothing(playlist: str, silence_s: float) -> None:
    assert hls_variants.silence_s(playlist) == silence_s
