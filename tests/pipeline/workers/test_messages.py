"""What a worker says is parsed with bounds: damage is refused, whatever it is, and nothing else is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_store.gap import GapReason
from models.frame_fit import FrameFit
from pipeline.cameras import CameraSpec, CameraState, PlaybackSpeed, SourceReason
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.probe import ProbeResult, VideoInfo
from pipeline.workers import clip_messages, messages
from pipeline.workers.errors import MalformedMessage
from pipeline.workers.messages import MAX_TEXT, Logged, OpenCamera, StateChanged, UrlProbed
from tests.pipeline.workers.json_values import JSON

CLIP = Clip(
    "lobby",
    np.arange(2 * 6 * 4 * 3, dtype=np.uint8).reshape(2, 6, 4, 3),
    (1.0, 1.5),
    (np.full((3, 5, 3), 7, np.uint8), np.full((2, 5, 3), 9, np.uint8)),
    received_s=2.0,
    period_s=0.5,
    lost_before=("", GapReason.DROPPED),
    has_repeated_times=True,
)
HEADER = json.loads(messages.encode(clip_messages.clip_header(3, CLIP, can_wait=True)))
BODY = bytearray(b"".join(clip_messages.clip_body(CLIP)))


def parse(header: dict[str, Any], body: bytes | bytearray = BODY) -> object:
    return messages.parse_report(json.dumps(header).encode(), body)


def test_a_clip_arrives_as_it_was_sent() -> None:
    report = parse(HEADER)

    assert isinstance(report, messages.ClipHeader)
    clip = clip_messages.clip_of(report, BODY, "lobby")
    assert np.array_equal(clip.frames, CLIP.frames)
    assert all(map(np.array_equal, clip.previews, CLIP.previews))
    assert dataclasses.replace(clip, frames=CLIP.frames, previews=CLIP.previews) == CLIP


@pytest.mark.parametrize("time_s", [-1e11, 1e12])
@pytest.mark.parametrize("key", ["times_s", "received_s"])
def test_a_time_that_no_calendar_has_is_refused(key: str, time_s: float) -> None:
    """The list of all cameras would fail by it."""
    value = [time_s, time_s + 1] if key == "times_s" else time_s

    with pytest.raises(MalformedMessage, match=key):
        parse(HEADER | {key: value})


def test_an_order_arrives_as_it_was_sent() -> None:
    spec = CameraSpec(
        name="lobby",
        url="rtsp://user:c4n4ry@10.0.0.1/",
        pace=PlaybackSpeed.FAST,
        masks=(((0.0, 0.0), (1.0, 0.0), (0.0, 0.5)),),
        labels={"floor": "1"},
    )
    config = IngestConfig(sample_fps=3, video_folders=(Path("/videos"),), allowed_networks=("10.0.0.0/8",))
    order = OpenCamera(
        camera=1,
        camera_id="id",
        spec=spec,
        config=config,
        fit=FrameFit(cell=8, max_cells=64),
        resume_from_s=None,
        started_s=1.0,
    )

    assert messages.parse_order(messages.encode(order)) == order


@settings(max_examples=300)
@given(st.data())
def test_a_clip_with_one_damaged_value_is_refused_or_adds_up(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([*HEADER, "unknown"]))
    damaged = HEADER | {key: data.draw(JSON)}

    try:
        report = parse(damaged)
    except MalformedMessage:
        return
    assert isinstance(report, messages.ClipHeader)
    clip = clip_messages.clip_of(report, bytearray(BODY), "lobby")
    assert clip.frames.size + sum(preview.size for preview in clip.previews) == len(BODY)
    assert all(np.isfinite([*clip.times_s, clip.received_s, clip.period_s]))


@settings(max_examples=300)
@given(header=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()), body=st.binary(max_size=50))
def test_noise_is_refused(header: bytes, body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        messages.parse_report(header, body)


@pytest.mark.parametrize(
    "changes",
    [
        {"times_s": [1.5, 1.0]},
        {"times_s": [1.0, 1.0]},
        {"times_s": [1.0, 1e300]},
        {"received_s": 1e20},
        {"width": 0},
        {"width": -4},
        {"height": 1 << 40},
        {"previews": [[3, 5]]},
        {"lost_before": ["", "sunspots"]},
        {"camera": -1},
        {"camera": 1.5},
        {"can_wait": "yes"},
        {"kind": "begin"},
    ],
    ids=str,
)
def test_values_that_no_worker_sends_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        parse(HEADER | changes)


@pytest.mark.parametrize(
    "text", ['{"kind":"clip","received_s":NaN}', "[" * 60_000, '{"kind":"lost","frames":' + "9" * 5000 + "}"]
)
def test_json_that_breaks_parsers_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        messages.parse_report(text.encode(), b"")


def test_long_texts_and_unknown_states_are_refused() -> None:
    state = json.loads(messages.encode(StateChanged(camera=1, state=CameraState.FAILED, reason=SourceReason.TLS)))
    for changes in ({"detail": "x" * 5000}, {"state": "asleep"}, {"reason": "mood"}, {"note": "tilted"}):
        with pytest.raises(MalformedMessage):
            parse(state | changes, b"")
    logged = json.loads(messages.encode(Logged(level="info", event="camera_state", fields={"camera": "lobby"})))
    for changes in ({"event": "two\nlines"}, {"fields": {"a b": 1}}, {"fields": {"a": [1]}}, {"level": "critical"}):
        with pytest.raises(MalformedMessage):
            parse(logged | changes, b"")


PROBED = json.loads(
    messages.encode(UrlProbed(result=ProbeResult(url="sim:", video=VideoInfo(codec="h264", width=64, height=48))))
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 10**40),
        ("height", -1),
        ("height", "48"),
        ("codec", "x" * (MAX_TEXT + 1)),
        ("declared_fps", float("inf")),
        ("measured_fps", -1.0),
        ("key_frame_interval_s", 1e300),
        ("colour", "red"),
    ],
)
def test_an_impossible_result_of_a_test_is_refused(name: str, value: object) -> None:
    """It goes into a message of the server, whose numbers have limits."""
    video = PROBED["result"]["video"] | {name: value}

    assert messages.parse_report(json.dumps(PROBED).encode(), b"")
    with pytest.raises(MalformedMessage):
        messages.parse_report(json.dumps(PROBED | {"result": PROBED["result"] | {"video": video}}).encode(), b"")
