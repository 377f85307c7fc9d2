"""One part of a run, from streams to outcomes, saved in a file so that an interrupted run can continue."""

from __future__ import annotations

import functools
import hashlib
import json
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks import contenders, streams
from benchmarks.exam import Examiner, Outcome
from benchmarks.scratch_slot import ScratchSlot
from benchmarks.stream_memories import ANSWER_TOKENS, StreamMemory, Task
from benchmarks.streams import FRAMES_PER_STEP, VISITS, Need, Stream, TimedQuestion
from models.answer_decoder import Answer, AnswerDecoder
from models.vision_language_model import VideoLanguageModel

MIXED = "mixed"  # streams of every character

_TIMED_QUESTION = "what colour was the last car"


@dataclass(frozen=True, slots=True)
class Settings:
    """What identifies a part: one policy at one budget over streams of one length."""

    commit: str
    fingerprint: str  # of the model
    seed: int
    num_streams: int
    policy: str
    budget: int
    length: int
    character: str = MIXED
    visits: int = VISITS

    def file(self, folder: Path) -> Path:
        """The file of its outcomes."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]
        return folder / f"{self.policy}-{self.budget}-{self.length}-{digest}.json"


@dataclass(frozen=True, slots=True)
class Part:
    """What was measured. outcomes: of each stream."""

    settings: Settings
    outcomes: list[list[Outcome]]
    nbytes_per_camera: int
    upkeep_share: float
    ttft_ms: float

    def save(self, folder: Path) -> None:
        """Writes the part to its file in one step."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = self.settings.file(folder).with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.rename(self.settings.file(folder))


def load(settings: Settings, folder: Path) -> Part | None:
    """The saved part of these settings, None if no run has finished it."""
    file = settings.file(folder)
    if not file.is_file():
        return None
    saved = json.loads(file.read_text())
    outcomes = [[_outcome(**item) for item in of_stream] for of_stream in saved.pop("outcomes")]
    return Part(**saved | {"settings": settings, "outcomes": outcomes})


def measure(model: VideoLanguageModel, settings: Settings, all_streams: Sequence[Stream]) -> Part:
    """Appends all streams step by step under one policy and asks their questions."""
    passed = [stream.footage.passed for stream in all_streams]
    task = Task(model, len(all_streams), settings.budget, settings.length, passed)
    contender = contenders.named(settings.policy).make(task)
    examiner = Examiner(model)
    clock = _FirstToken(model)
    outcomes: list[list[Outcome]] = [[] for _ in all_streams]
    waits, ingest_s = [], _embedding_s(model) * settings.length * len(all_streams)
    for newest, encoded, times_s in streams.steps([stream.footage for stream in all_streams]):
        began_s = time.perf_counter()
        contender.append(encoded, times_s)
        ingest_s += time.perf_counter() - began_s
        for index, stream in enumerate(all_streams):
            if questions := stream.questions.get(newest):
                waits.append(clock.wait_s(contender, index, questions))
                for memory, some in contender.recall(index, questions):
                    outcomes[index] += examiner.ask(memory, some)
    return Part(
        settings,
        outcomes,
        contender.nbytes_per_camera,
        round(contender.upkeep_s / ingest_s, 4),
        round(1000 * statistics.median(waits), 2),
    )


@functools.cache
def current_commit() -> str:
    """The commit of this code, with a digest of uncommitted changes, so that rows of different code are never mixed."""
    commit = _git("rev-parse", "--short=10", "HEAD").strip()
    changed = _git("diff", "HEAD", "--", "*.py", "models/tiny/*checkpoint")
    return commit + (f"+{hashlib.sha256(changed.encode()).hexdigest()[:6]}" if changed else "")


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _outcome(*, need: str, **rest: object) -> Outcome:
    return Outcome(need=Need(need), **rest)  # type: ignore[arg-type]


def _embedding_s(model: VideoLanguageModel) -> float:
    """Seconds of the vision encoder for one frame. The streams of a run are embedded once for all policies."""
    side = model.spec.layout.square
    frames = torch.zeros(FRAMES_PER_STEP, side, side, 3, dtype=torch.uint8)
    groups = model.spec.layout.group(frames)
    model.embed_frames(groups)
    began_s = time.perf_counter()
    for _ in range(5):
        model.embed_frames(groups)
    return (time.perf_counter() - began_s) / (5 * FRAMES_PER_STEP)


class _FirstToken:
    """Measures the time to first token on an idle device: recall, copy of the slot, prefill, first token."""

    def __init__(self, model: VideoLanguageModel) -> None:
        self._model = model
        self._decoder = AnswerDecoder(model)
        self._scratch = ScratchSlot(ANSWER_TOKENS)

    def wait_s(self, contender: StreamMemory, stream: int, questions: Sequence[TimedQuestion]) -> float:
        began_s = time.perf_counter()
        memory, _ = next(contender.recall(stream, questions[:1]))
        copy = self._scratch.copy(memory)
        self._decoder.step([Answer(copy, self._model.prompts.question(_TIMED_QUESTION))])
        return time.perf_counter() - began_s
