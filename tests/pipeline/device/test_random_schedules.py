"""Random schedules of a device, by seed: a fault ends one question or loses frames of one camera, and every other
question gets the answer that it gets alone. HERMES_FUZZ_SCHEDULES is the number of seeds; `make fuzz` sets more."""

from __future__ import annotations

import copy
import functools
import os
import random
from dataclasses import replace

import pytest

from cache_store.row_format import RowFormat
from cache_store.tiers import MemoryConfig, PolicyName
from models import registry
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.processor_config import PixelScale
from models.tiny import network
from models.vision_language_model import VideoLanguageModel
from pipeline.device.device_config import DeviceConfig
from tests.models.families import FAMILIES, rebuilt
from tests.pipeline.device.checked_device import CheckedDevice
from tests.pipeline.device.damaged_model import DamagedModel
from tests.pipeline.device.random_schedule import RandomSchedule
from tests.pipeline.device.reference_cameras import ReferenceCameras
from tests.pipeline.device.stepped_engine import SteppedEngine

SCHEDULES = int(os.environ.get("HERMES_FUZZ_SCHEDULES", "5"))
TURNS = 40
COVERING = range(5)  # seeds whose schedules have all kinds of work; one of a hundred has no compaction
MODELS = ("tiny", "qwen3_vl", "qwen2_5_vl", "qwen3_5")


@functools.cache
def exact(family: str) -> VideoLanguageModel:
    """A model in float64, where a batch rounds so little that its answers are those of one memory."""
    if family != "tiny":
        model = FAMILIES[family]().model
        return rebuilt(model, model._network.double(), model.prompts)  # type: ignore[attr-defined]
    shipped = registry.load_model(family, "cpu")
    assert isinstance(shipped, LlavaOnevision)
    pixels = PixelScale((network.PIXEL_MEAN,) * 3, (network.PIXEL_STD,) * 3)
    return LlavaOnevision(
        shipped._network.double(), shipped.prompts, name="exact", pixels=pixels, generation=shipped.generation
    )


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_a_fault_affects_one_and_every_answer_is_the_one_alone(seed: int) -> None:
    rng, whole = random.Random(seed), exact(MODELS[seed % len(MODELS)])
    recent_frames = rng.choice((2, 4))
    memory = MemoryConfig(
        tokens_per_layer=whole.spec.layout.max_tokens(recent_frames) + rng.choice((2, 32)),
        recent_frames=recent_frames,
        policy=rng.choice((PolicyName.QUESTIONS, PolicyName.HERMES)),
    )
    config = DeviceConfig(
        max_cameras=3,
        max_running_questions=rng.choice((1, 3, 4)),
        max_memory_copies=rng.choice((1, 2, 3)),
        slot_rows=rng.choice((RowFormat.EXACT, RowFormat.EXACT, RowFormat.INT8)),
        max_waiting_questions=4,
        max_question_tokens=32,
        max_answer_tokens=6,
        max_frames_per_step=4,
        max_tokens_per_pass=rng.choice((64, 128, 2_048)),
    )
    limited = _with_few_positions(whole, memory, config)
    model = DamagedModel(limited)
    reference = MemoryWriter(limited, memory, max_frames=config.max_frames_per_step, reserve=config.answer_reserve)
    # Decode steps of fixed shapes and ordinary ones in turn; recurrent layers have ordinary ones alone.
    has_fixed_steps = seed // len(MODELS) % 2 == 0 and whole.spec.kv.recurrent is None
    engine = SteppedEngine(model, memory, config, has_fixed_steps=has_fixed_steps)
    model.fixed_steps = engine.fixed_steps
    device = CheckedDevice(engine, model, ReferenceCameras(reference, config))

    RandomSchedule(seed, device, config, limited.spec.layout.frame_fit(64, 64)).run(TURNS)
    if seed in COVERING:
        assert device.counts["compacted"]
        # On several axes a step takes fewer positions than it has tokens.
        assert device.counts["reindexed"] or limited.spec.kv.positions.num_axes > 1
        assert device.counts["failed"]
        assert device.counts["Done"]
        assert engine.fixed_steps is None or engine.fixed_steps.memories


def _with_few_positions(model: VideoLanguageModel, memory: MemoryConfig, config: DeviceConfig) -> VideoLanguageModel:
    """The model with so few positions that a memory is renumbered every few steps."""
    writer = MemoryWriter(model, memory, max_frames=config.max_frames_per_step, reserve=config.answer_reserve)
    reserve = max(config.answer_reserve, writer.scorer.num_positions)
    limit = writer._num_positions + reserve + 4
    limited = copy.copy(model)
    limited.spec = replace(model.spec, max_positions=limit, reliable_positions=limit)
    return limited
