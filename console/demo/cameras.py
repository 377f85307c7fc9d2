"""The demo's four cameras: one simulated inside hermes and three live HTTP streams, each in another codec.

All are endless. Every visitor of their scenes is known, so the demo can print the truth beside each answer.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from models.catalogue import DRAWN_STREETS
from models.tiny.scenes.scene import Scene
from pipeline.cameras import SHOWS_LABEL
from pipeline.decoding.video_writer import Codec
from protos import hermes_v1_pb2 as pb

WIDTH, HEIGHT = 640, 360
_MEAN_GAP_S = 4.0
# A camera starts when its first visitor has just entered, so that there is something to ask about at once.
_IN_VIEW_S = 0.1
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class DemoCamera:
    """A camera and the seed of its scene. `codec`: of its live stream, None for the simulated camera."""

    name: str
    seed: int
    codec: Codec | None

    @property
    def first_s(self) -> float:
        """The second of the scene at which the camera starts."""
        return _first_entry_s(self.seed) + _IN_VIEW_S

    def scene(self) -> Scene:
        """The scene that the camera shows; each caller gets its own, because a scene belongs to one thread."""
        return Scene(self.seed, mean_gap_s=_MEAN_GAP_S)

    def scene_s(self, time_s: float, started_s: float) -> float:
        """The second of the scene at a Unix time, if the camera started at `started_s`."""
        return self.first_s + time_s - started_s

    def request(self, started_s: float, streams: str) -> pb.AddCameraRequest:
        """What adds it. Its label says that the tiny model, which knows nothing else, was made for what it shows."""
        url = self.url(started_s, streams)
        return pb.AddCameraRequest(name=self.name, url=url, labels={SHOWS_LABEL: DRAWN_STREETS})

    def url(self, started_s: float, streams: str) -> str:
        """The URL to add it with. `streams`: the HTTP address of the live streams."""
        if self.codec is not None:
            return f"{streams}/{self.name}"
        start_s = started_s - self.first_s
        return f"sim:{self.name}?seed={self.seed}&start={start_s:.3f}&gap={_MEAN_GAP_S}&width={WIDTH}&height={HEIGHT}"


def demo_cameras(seed: int) -> tuple[DemoCamera, ...]:
    """The cameras of a seed."""
    first = seed * 4
    return (
        DemoCamera("gate", first, None),
        DemoCamera("street", first + 1, "h264"),
        DemoCamera("yard", first + 2, "vp9"),
        DemoCamera("market", first + 3, "mjpeg"),
    )


@functools.cache
def _first_entry_s(seed: int) -> float:
    return Scene(seed, mean_gap_s=_MEAN_GAP_S).visits(_LONGEST_WAIT_S)[0].enter_s
