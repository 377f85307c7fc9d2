"""A job that fails at any point ends its question, its frames or its command: the device and its neighbours go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap
from cache_store.tiers import MemoryConfig
from models.llava_onevision import LlavaOnevision
from pipeline.answers import AnswerFailed, QuestionError
from pipeline.cameras import CameraFailed
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from tests.conftest import assert_same
from tests.pipeline.device.engine_driver import MEMORY, ask, clip, ingest, settle, whole
from tests.pipeline.device.faults import Faults

CONFIG = DeviceConfig(max_cameras=3, max_running_questions=2, max_answer_tokens=6)
LARGE = MemoryConfig(tokens_per_layer=256, recent_frames=4)
ERRORS = {
    torch.OutOfMemoryError: "CUDA out of memory",
    MemoryError: "",
    RuntimeError: "unable to write",
    ValueError: "quality",
    ZeroDivisionError: "",
}
QUESTION = "what is in view"


@contextmanager
def running(model: LlavaOnevision, memory: MemoryConfig = MEMORY) -> Iterator[Engine]:
    engine = Engine(model, memory, CONFIG, clock=lambda: 5_000.0)
    engine.start()
    try:
        yield engine
    finally:
        engine.close()


def tensors(saved: Checkpoint) -> list[torch.Tensor]:
    return [tensor for layer in saved.layers for _, _, tensor in layer.tensors()]


@dataclass(frozen=True, repr=False)
class Memories:
    """Whole memories of two cameras, and one that was saved where memories may be larger."""

    lobby: Checkpoint
    gate: Checkpoint
    large: Checkpoint


@pytest.fixture(scope="module")
def saved(model: LlavaOnevision) -> Memories:
    with running(model) as engine:
        for camera, num_clips in (("lobby", 14), ("gate", 11)):
            engine.add_camera(camera)
            ingest(engine, camera, num_clips)
        lobby, gate = whole(engine, "lobby"), whole(engine, "gate")
    with running(model, LARGE) as engine:
        engine.add_camera("yard")
        ingest(engine, "yard", 20)
        return Memories(lobby, gate, whole(engine, "yard"))


def ingest_clip(engine: Engine, saved: Memories) -> None:
    engine.clips.put(clip("lobby", 2_000.0, seed=77))
    settle(engine)


def answer(engine: Engine, saved: Memories) -> None:
    end = ask(engine, "lobby", QUESTION).wait()[-1]
    if isinstance(end, QuestionError):
        raise end


def copy(engine: Engine, saved: Memories) -> None:
    whole(engine, "lobby")


def add(engine: Engine, saved: Memories) -> None:
    engine.add_camera("yard")


def restore(engine: Engine, saved: Memories) -> None:
    engine.add_camera("yard", saved.large)


Kind = Callable[[Engine, Memories], None]
ERROR_OF: dict[Kind, type[Exception] | None] = {
    ingest_clip: None,
    answer: AnswerFailed,
    copy: CameraFailed,
    add: CameraFailed,
    restore: CameraFailed,
}


@dataclass(repr=False)
class Outcome:
    """What a run with a fault must not change: the neighbour's answer and memory, before and after one more clip."""

    num_operations: int
    answer: str
    gate: list[torch.Tensor]
    gate_later: list[torch.Tensor]
    lobby: list[torch.Tensor]
    gaps: tuple[Gap, ...]
    has_failed: bool


def run(model: LlavaOnevision, saved: Memories, kind: Kind, *, fails_after: int, error: type[Exception]) -> Outcome:
    """One job in an engine with two cameras, then everything that its device must still be able to do."""
    with running(model) as engine:
        engine.add_camera("lobby", saved.lobby)
        engine.add_camera("gate", saved.gate)
        faults, expected = Faults.of(engine), ERROR_OF[kind]
        before = faults.num_operations
        faults.fail_after(fails_after, error(ERRORS[error]))
        seen: Exception | None = None
        try:
            kind(engine, saved)
        except (AnswerFailed, CameraFailed) as raised:
            seen = raised
        settle(engine)
        num_operations, has_failed = faults.num_operations - before, faults.disarm()
        if expected is not None:
            assert type(seen) is (expected if has_failed else type(None))
        lobby, gate = tensors(whole(engine, "lobby")), tensors(whole(engine, "gate"))
        gaps = engine.status("lobby").gaps
        # Every slot is free again, of cameras and of questions.
        if has_failed and kind in (add, restore):
            engine.add_camera("yard", saved.large)
        questions = [ask(engine, camera, QUESTION) for camera in ("lobby", "gate", "lobby", "gate")]
        answers = [question.done().answer for question in questions]
        ingest(engine, "lobby", 1, first_s=3_000.0)
        ingest(engine, "gate", 1, first_s=3_000.0)
        assert answers[1] == answers[3]
        return Outcome(num_operations, answers[1], gate, tensors(whole(engine, "gate")), lobby, gaps, has_failed)


@pytest.fixture(scope="module")
def undisturbed(model: LlavaOnevision, saved: Memories) -> dict[Kind, Outcome]:
    return {kind: run(model, saved, kind, fails_after=1 << 40, error=MemoryError) for kind in ERROR_OF}


@pytest.mark.parametrize("kind", ERROR_OF)
@given(place=st.floats(0, 1, exclude_max=True), error=st.sampled_from(list(ERRORS)))
@settings(max_examples=8)
def test_a_fault_at_any_point_of_a_job_changes_nothing_else(
    model: LlavaOnevision,
    saved: Memories,
    undisturbed: dict[Kind, Outcome],
    kind: Kind,
    place: float,
    error: type[Exception],
) -> None:
    usual = undisturbed[kind]

    faulty = run(model, saved, kind, fails_after=int(place * usual.num_operations), error=error)

    assert faulty.has_failed
    assert faulty.answer == usual.answer
    assert_same(faulty.gate, usual.gate)
    assert_same(faulty.gate_later, usual.gate_later)
    if faulty.gaps != usual.gaps:
        (gap,) = faulty.gaps
        assert (gap.start_s, gap.end_s) == (saved.lobby.facts.newest_s, 2_001.5)
        assert kind is ingest_clip
        assert_same(faulty.lobby, tensors(saved.lobby))
    else:
        assert_same(faulty.lobby, usual.lobby)
