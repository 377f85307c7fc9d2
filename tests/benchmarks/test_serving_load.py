"""The load of a running engine: cameras whose frames are waited for."""

from __future__ import annotations

import pytest
import torch

from benchmarks.on_device import plain_models
from benchmarks.on_device.serving_load import Cameras
from cache_store.tiers import MemoryConfig
from pipeline.device.device_config import DeviceConfig


def test_frames_are_waited_for_and_never_those_that_were_lost() -> None:
    model = plain_models.load(plain_models.TINY, torch.device("cpu"))
    cameras = Cameras(model, MemoryConfig(tokens_per_layer=128), DeviceConfig(max_cameras=2, max_frames_per_step=2))
    try:
        cameras.fill(2)
        assert [cameras.engine.status(name).frames_seen for name in cameras.names] == [4, 4]

        cameras.engine.clips.count_dropped(cameras.names[1], 3)
        cameras._next_frame[cameras.names[1]] += 3
        with pytest.raises(RuntimeError, match="camera 'camera-1': 3 frames were lost"):
            cameras.settle()
    finally:
        cameras.engine.close()
