"""The demo's cameras show what their scenes say, and never end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image

from console.demo import cameras, contact_sheet, streams
from console.demo.cameras import HEIGHT, WIDTH
from console.demo.streams import Streams
from models import catalogue
from pipeline.cameras import SHOWS_LABEL, SourceUnreachable
from pipeline.network.urls import SimUrl, parse
from pipeline.sources.ingest_config import IngestConfig
from tests.pipeline.playing import play

T = TypeVar("T")

CONFIG = IngestConfig(allowed_networks=("127.0.0.1/32",))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    with streams.running(cameras.demo_cameras(7), tmp_path_factory.mktemp("demo") / "cameras.jpg") as running:
        running.start_scenes(time.time())
        yield running


def test_four_cameras_in_four_codecs_show_four_scenes() -> None:
    shown = cameras.demo_cameras(7)

    assert [camera.codec for camera in shown] == [None, "h264", "vp9", "mjpeg"]
    assert len({camera.seed for camera in shown}) == 4
    assert {camera.seed for camera in shown}.isdisjoint(camera.seed for camera in cameras.demo_cameras(8))


@pytest.mark.parametrize("model", ["tiny", "tiny-qwen3-vl"])
def test_the_tiny_models_were_made_for_what_every_camera_of_the_demo_shows(model: str) -> None:
    requests = [camera.request(1_000.0, "http://127.0.0.1:1") for camera in cameras.demo_cameras(7)]

    assert [request.name for request in requests] == ["gate", "street", "yard", "market"]
    assert all(dict(request.labels) == {SHOWS_LABEL: catalogue.domain(model)} for request in requests)


def test_the_simulated_camera_shows_the_scene_of_the_truth() -> None:
    camera = cameras.demo_cameras(7)[0]

    url = parse(camera.url(1_000.0, "http://127.0.0.1:1"))

    assert isinstance(url, SimUrl)
    assert url.start_s is not None
    assert 1_030.0 - url.start_s == pytest.approx(camera.scene_s(1_030.0, started_s=1_000.0), abs=1e-3)


@pytest.mark.parametrize("name", ["street", "yard", "market"])
def test_a_live_stream_shows_the_scene_at_the_times_of_its_frames(live: Streams, name: str) -> None:
    """The truth beside an answer is the truth at the time that the memory gives to its frames."""
    camera = next(camera for camera in cameras.demo_cameras(7) if camera.name == name)

    played = play(camera.url(live.started_s, live.address), config=CONFIG, max_samples=5, after_s=0.0)

    scene = camera.scene()
    for sample in played.samples:
        at_s = camera.scene_s(sample.time_s, live.started_s)
        image = sample.image.to_rgb().astype(int)
        errors = [np.abs(image - scene.frame(at_s + shift_s, WIDTH, HEIGHT)).mean() for shift_s in (0.0, 40.0)]
        assert errors[0] < errors[1]
    assert len({id(sample) for sample in played.samples}) == 5


def test_a_stream_of_no_camera_is_not_found(live: Streams) -> None:
    with pytest.raises(SourceUnreachable, match="404"):
        play(f"{live.address}/attic", config=CONFIG)


def test_the_picture_of_all_cameras_is_written_again(live: Streams) -> None:
    first = wait_for(lambda: live.sheet.stat().st_mtime_ns if live.sheet.exists() else None)
    wait_for(lambda: live.sheet.stat().st_mtime_ns != first)

    with Image.open(live.sheet) as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width == 2 * WIDTH
        assert sheet.height > 2 * HEIGHT


def test_every_camera_is_in_the_picture(tmp_path: Path) -> None:
    images = {str(grey): np.full((20, 30, 3), 80 * grey, np.uint8) for grey in range(4)}

    contact_sheet.write(images, 0.0, tmp_path / "sheet.jpg")

    with Image.open(tmp_path / "sheet.jpg") as sheet:
        pixels = np.asarray(sheet)
    label = sheet.height // 2 - 20
    for index in range(4):
        row, column = divmod(index, 2)
        part = pixels[row * (label + 20) + label + 10, column * 30 + 15]
        assert abs(int(part[0]) - 80 * index) < 8
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.jpg"]


def wait_for(condition: Callable[[], T | None]) -> T:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError("not within 30 s")
