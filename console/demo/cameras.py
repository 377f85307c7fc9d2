"""The demo's four cameras: one endless scene and three recordings of others, each in another codec."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.tiny.scenes.scene import Scene
from pipeline.cameras import CameraSpec
from pipeline.decoding import video_writer
from pipeline.decoding.video_writer import Codec

WIDTH, HEIGHT = 640, 360
RECORDING_FPS = 4.0
RECORDING_S = 60.0
_MEAN_GAP_S = 4.0
_RECORDERS = 2


@dataclass(frozen=True, slots=True)
class DemoCamera:
    """A camera whose every visitor is known. `codec`: of its recording, None for the endless scene."""

    name: str
    seed: int
    codec: Codec | None

    @property
    def description(self) -> str:
        """What it plays, for people."""
        return f"a recording, {self.codec.upper()}" if self.codec else "endless"

    def scene(self) -> Scene:
        """The scene it sees; second 0 is when the camera was added."""
        return Scene(self.seed, mean_gap_s=_MEAN_GAP_S)

    def spec(self, folder: Path) -> CameraSpec:
        """The camera as hermes is told of it; its recording lies in `folder`."""
        if self.codec is None:
            url = f"sim:{self.name}?seed={self.seed}&gap={_MEAN_GAP_S}&width={WIDTH}&height={HEIGHT}"
        else:
            url = str(self._path(folder))
        return CameraSpec(name=self.name, url=url)

    def record(self, folder: Path) -> None:
        """Writes the recording, if there is to be one."""
        if self.codec is not None:
            video_writer.write_video(self._frames(), self._path(folder), fps=RECORDING_FPS, codec=self.codec)

    def _path(self, folder: Path) -> Path:
        return folder / f"{self.name}.{self.codec}"

    def _frames(self) -> Iterator[NDArray[np.uint8]]:
        seen = self.scene()
        for number in range(round(RECORDING_S * RECORDING_FPS)):
            yield seen.frame(number / RECORDING_FPS, WIDTH, HEIGHT)


def demo_cameras(seed: int) -> tuple[DemoCamera, ...]:
    """The cameras of a seed."""
    first = seed * 4
    return (
        DemoCamera("gate", first, None),
        DemoCamera("street", first + 1, "h264"),
        DemoCamera("yard", first + 2, "vp9"),
        DemoCamera("market", first + 3, "mjpeg"),
    )


def recorders() -> ProcessPoolExecutor:
    """Processes that make recordings without slowing down what starts beside them."""
    return ProcessPoolExecutor(
        _RECORDERS, mp_context=multiprocessing.get_context("spawn"), initializer=os.nice, initargs=(5,)
    )
