"""One part of a run, from streams to outcomes, kept in a file so that an interrupted run goes on where it was."""

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
from benchmarks.contenders import Task
from benchmarks.exam import Examiner, Outcome
from benchmarks.stream_memories import ANSWER_TOKENS, StreamMemory
from benchmarks.streams import FRAMES_PER_STEP, VISITS, Need, Stream, TimedQuestion
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models.answer_decoder import Answer, AnswerDecoder
from models.llava_onevision import LlavaOnevision

MIXED = "mixed"  # streams of every character

_TIMED_QUESTION = "what colour was the last car"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a part is: one policy at one budget over streams of one length. Two of the same settings are the same."""

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
        """Where its outcomes lie."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]
        return folder / f"{self.policy}-{self.budget}-{self.length}-{digest}.json"


@dataclass(frozen=True, slots=True)
class Part:
    """What was measured. outcomes: by stream."""

    settings: Settings
    outcomes: list[list[Outcome]]
    nbytes_per_camera: int
    upkeep_share: float
    ttft_ms: float

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = self.settings.file(folder).with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.rename(self.settings.file(folder))


def load(settings: Settings, folder: Path) -> Part | None:
    """The part of these settings, if an earlier run has finished it."""
    file = settings.file(folder)
    if not file.is_file():
        return None
    saved = json.loads(file.read_text())
    outcomes = [[_outcome(**item) for item in of_stream] for of_stream in saved.pop("outcomes")]
    return Part(**saved | {"settings": settings, "outcomes": outcomes})


def measure(model: LlavaOnevision, settings: Settings, given: Sequence[Stream]) -> Part:
    """Reads the streams side by side under one policy and asks at every moment."""
    passed = [stream.footage.passed for stream in given]
    task = Task(model, len(given), settings.budget, settings.length, passed)
    reader = contenders.named(settings.policy).make(task)
    examiner = Examiner(model)
    clock = _FirstToken(model)
    outcomes: list[list[Outcome]] = [[] for _ in given]
    waits, ingest_s = [], _embedding_s(model) * settings.length * len(given)
    for newest, embedded, times_s in streams.steps([stream.footage.embedded for stream in given]):
        began_s = time.perf_counter()
        reader.append(embedded, times_s)
        ingest_s += time.perf_counter() - began_s
        for which, stream in enumerate(given):
            if asked := stream.asked.get(newest):
                waits.append(clock.wait_s(reader, which, asked))
                for held, some in reader.recall(which, asked):
                    outcomes[which] += examiner.ask(held, some)
    return Part(
        settings,
        outcomes,
        reader.nbytes_per_camera,
        round(reader.upkeep_s / ingest_s, 4),
        round(1000 * statistics.median(waits), 2),
    )


@functools.cache
def current_commit() -> str:
    """The commit of this code, and what is changed since, so that rows of different code are never mixed."""
    commit = _git("rev-parse", "--short=10", "HEAD").strip()
    changed = _git("diff", "HEAD", "--", "*.py", "models/tiny/checkpoint")
    return commit + (f"+{hashlib.sha256(changed.encode()).hexdigest()[:6]}" if changed else "")


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _outcome(*, need: str, **rest: object) -> Outcome:
    return Outcome(need=Need(need), **rest)  # type: ignore[arg-type]


def _embedding_s(model: LlavaOnevision) -> float:
    """What the vision encoder takes for a frame; the streams of a run are embedded once for all policies."""
    side = model.spec.frame_size
    frames = torch.zeros(FRAMES_PER_STEP, side, side, 3, dtype=torch.uint8)
    model.embed_frames(frames)
    began_s = time.perf_counter()
    for _ in range(5):
        model.embed_frames(frames)
    return (time.perf_counter() - began_s) / (5 * FRAMES_PER_STEP)


class _FirstToken:
    """Times what a question waits for on an idle device: whatever is to be recalled, the copy, the first token."""

    def __init__(self, model: LlavaOnevision) -> None:
        self._model = model
        self._writer = AnswerDecoder(model)
        self._room: Slabs | None = None

    def wait_s(self, reader: StreamMemory, stream: int, asked: Sequence[TimedQuestion]) -> float:
        began_s = time.perf_counter()
        held, _ = next(reader.recall(stream, asked[:1]))
        copy = self._copy(held)
        self._writer.prefill(Answer(copy, self._model.prompts.question(_TIMED_QUESTION)))
        return time.perf_counter() - began_s

    def _copy(self, held: Memory) -> Memory:
        needed = held.slabs.capacity + ANSWER_TOKENS
        if self._room is None or self._room.capacity < needed:
            self._room = Slabs(self._model.spec.kv, slots=1, capacity=needed)
        copy = Memory(self._room, 0)
        copy.copy_from(held)
        return copy
