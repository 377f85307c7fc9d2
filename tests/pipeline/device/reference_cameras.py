"""What each camera's memory must be: its frames alone, one step after the other, and its questions one by one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from cache_store import checkpoint_codec
from cache_store.cached_tokens import CachedTokens
from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap
from cache_store.memory import Memory
from models.memory_writer import MemoryWriter
from pipeline.answers import AnswerEvent, Evidence, QuestionError
from pipeline.device import frame_steps
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.camera_slots import CameraSlots
from pipeline.device.device_config import DeviceConfig
from pipeline.device.frame_steps import EncodedStep
from pipeline.sources.clips import Clip
from tests.pipeline.device.question_batches import Question, Questioning, outcome

_ROUNDING = 1e-6  # of a batch in float64; summaries are means in float32


class ReferenceCameras:
    """Each camera on a device of its own, without faults, neighbours, a queue or a schedule."""

    def __init__(self, writer: MemoryWriter, config: DeviceConfig) -> None:
        self._writer = writer
        self._config = replace(config, max_cameras=1)
        self._devices: dict[str, CameraSlots] = {}
        self._encoded: dict[str, list[EncodedStep]] = {}

    def add(self, name: str, checkpoint: Checkpoint | None, gap: Gap | None, *, is_gated: bool) -> None:
        device = CameraSlots(self._writer, self._config, lambda _: 0)
        device.add(name, checkpoint, started_s=0.0, gap=gap, is_gated=is_gated)
        self._devices[name] = device

    def remove(self, name: str) -> None:
        del self._devices[name]

    def erase(self, name: str, gap: Gap) -> None:
        self._devices[name].erase(name, gap)

    def set_gate(self, name: str, *, is_gated: bool) -> None:
        self._devices[name].set_gate(name, is_gated=is_gated)

    def get(self, name: str) -> CameraMemory:
        return self._devices[name].get(name)

    def encode(self, clip: Clip) -> None:
        """The first part of a step of frames; `append` is the second."""
        self._encoded[clip.camera] = frame_steps.encode(self._writer, [self.get(clip.camera).prepare(clip)])

    def discard(self, name: str) -> None:
        """The step is not appended."""
        del self._encoded[name]
        self.get(name).gate.invalidate()

    def append(self, name: str) -> None:
        encoded = self._encoded.pop(name)
        appended = frame_steps.append(self._writer, encoded)
        self.get(name).note(encoded[0], appended[0])

    def compact(self, name: str) -> None:
        camera = self.get(name)
        camera.note_compaction(frame_steps.compact(self._writer, [camera.memory])[0])

    def answer(self, question: Question) -> list[AnswerEvent | QuestionError]:
        """The events of a question that nobody else's disturbs."""
        questioning = Questioning(self._writer.model, {question.camera: self.get(question.camera)}, slots=1)
        questioning.run([question])
        return questioning.events[question]

    def adopt(self, camera: CameraMemory) -> None:
        """The camera becomes what a fault has left of it."""
        shared = {id(camera._writer): self._writer, id(camera.memory.slabs.shape): self._writer.model.spec.kv}
        self._devices[camera.name].cameras[camera.name] = copy.deepcopy(camera, shared)

    def assert_copy(self, name: str, saved: Checkpoint) -> None:
        """A copy of the camera's summary tier has what it must have."""
        reference = checkpoint_codec.on_host(self.get(name).snapshot(0, 5_000.0))
        assert saved.thumbnails == reference.thumbnails
        assert saved.facts.next_position == reference.facts.next_position
        for mine, other in zip(saved.layers, reference.layers, strict=True):
            assert_equal_tokens(mine, other)

    def assert_equal(self, camera: CameraMemory) -> None:
        """The camera, of an engine, is what it must be, but for the rounding of batches."""
        reference = self.get(camera.name)
        assert_equal_memories(camera.memory, reference.memory)
        assert camera.gaps == reference.gaps
        assert camera.thumbnails.by_frame() == reference.thumbnails.by_frame()


def assert_equal_answers(
    events: Sequence[AnswerEvent | QuestionError], alone: Sequence[AnswerEvent | QuestionError]
) -> None:
    """The same but for ids, times and the rounding of attention weights, which are float32."""
    assert outcome(events) == outcome(alone)
    mine, other = ([event.weight for event in some if isinstance(event, Evidence)] for some in (events, alone))
    assert mine == pytest.approx(other, abs=1e-5)


def assert_equal_memories(memory: Memory, reference: Memory) -> None:
    names = ("lengths", "next_position", "next_frame", "origin_s", "compactions", "has_summaries")
    assert [getattr(memory, name) for name in names] == [getattr(reference, name) for name in names]
    for layer in range(memory.num_layers):
        assert_equal_tokens(memory.layer(layer), reference.layer(layer))


def assert_equal_tokens(tokens: CachedTokens, reference: CachedTokens) -> None:
    for name, _, mine in tokens.tensors():
        other = getattr(reference, name)
        if name in ("keys", "values"):
            assert torch.allclose(mine.double(), other.double(), rtol=0, atol=_ROUNDING), name
        else:
            assert torch.equal(mine, other), name
