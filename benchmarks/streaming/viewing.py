"""Shows one video to several policies at once, as a stream, and asks its questions at their times."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from benchmarks import contenders
from benchmarks.scratch_slot import ScratchSlot
from benchmarks.stream_memories import StreamMemory, Task
from benchmarks.streaming import videos
from benchmarks.streaming.answers import AnswerRow, Settings
from benchmarks.streaming.benchmark import StreamQuestion
from benchmarks.streaming.videos import Frame, FrameReader
from benchmarks.streams import FRAMES_PER_STEP
from models import frame_encoder
from models.answer_decoder import Answer, AnswerDecoder
from models.vision_language_model import VideoLanguageModel


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy at a budget. contender: its name in `benchmarks.contenders`."""

    policy: str
    contender: str
    budget: int

    @classmethod
    def newest_frames(cls, num_frames: int, model: VideoLanguageModel) -> Entrant:
        """The simple baseline: the newest frames alone, whole, in a cache of their own."""
        return cls(f"last-{num_frames}", "last-n", model.spec.layout.max_tokens(num_frames))

    def memory(self, task: Task) -> StreamMemory:
        """Raises UnknownPolicy, UnsupportedModel, InvalidBudget."""
        return contenders.named(self.contender).make(task)


_ByMoment = dict[float, list[tuple[Entrant, StreamQuestion]]]  # by the moment


class Viewer:
    """Answers the questions of one video after the other. is_right: the official rule, None for no score.

    reserve: tokens that the longest question and its answer take.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        settings: Settings,
        is_right: Callable[[StreamQuestion, str], bool] | None,
        reserve: int,
    ) -> None:
        self._model, self._settings, self._is_right, self._reserve = model, settings, is_right, reserve
        self._decoder = AnswerDecoder(model)
        self._scratch = ScratchSlot(reserve)

    def watch(
        self, video: Path, name: str, todo: Sequence[tuple[Entrant, StreamQuestion]], moments: Collection[float]
    ) -> Iterator[AnswerRow]:
        """The answers of each entrant to its questions, in order of time. name: the video's, for the answers.

        moments: of all questions about the video, those too that are answered already: a stream is cut into steps at
        each, so that a run that goes on gives the answers that it would have given at once. Raises VideoUnreadable,
        InvalidBudget.
        """
        by_moment: _ByMoment = {}
        for entrant, question in todo:
            by_moment.setdefault(question.at_s, []).append((entrant, question))
        frames = FrameReader(videos.read(video, self._settings.fps, self._model.spec.layout.frame_fit))
        if self._settings.context_s is None:
            views = self._one_stream(frames, by_moment, sorted({*moments, *by_moment}))
        else:
            views = self._a_stream_each(frames, by_moment, self._settings.context_s)
        for at_s, seen in views:
            for entrant, question in by_moment.get(at_s, []):
                yield self._answer(seen, entrant, question, name)

    def _one_stream(
        self, frames: FrameReader, by_moment: _ByMoment, moments: Sequence[float]
    ) -> Iterator[tuple[float, _Seen]]:
        cuts = [at_s for at_s in moments if at_s <= max(by_moment)]
        seen = self._begin([entrant for some in by_moment.values() for entrant, _ in some], cuts)
        for at_s in cuts:
            seen.add(frames.until(at_s))
            yield at_s, seen

    def _a_stream_each(
        self, frames: FrameReader, by_moment: _ByMoment, context_s: float
    ) -> Iterator[tuple[float, _Seen]]:
        window: deque[Frame] = deque()
        for at_s, some in sorted(by_moment.items(), key=lambda item: item[0]):
            _shift(window, frames.until(at_s), context_s)
            seen = self._begin([entrant for entrant, _ in some], [at_s])
            seen.add([frame for frame in window if frame.time_s > at_s - context_s] or [window[-1]])
            yield at_s, seen

    def _begin(self, entrants: Sequence[Entrant], cuts: Sequence[float]) -> _Seen:
        """Empty memories, as large as a full cache of the frames up to the last cut would have to be."""
        span_s = min(cuts[-1], self._settings.context_s or math.inf)
        # At each cut a group of frames may be cut short.
        num_cut = len(cuts) * self._model.spec.layout.frames_per_group
        num_frames = math.ceil(span_s * self._settings.fps) + FRAMES_PER_STEP + num_cut
        tasks = {one: Task(self._model, 1, one.budget, num_frames, reserve=self._reserve) for one in entrants}
        return _Seen(self._model, {entrant: entrant.memory(task) for entrant, task in tasks.items()})

    def _answer(self, seen: _Seen, entrant: Entrant, question: StreamQuestion, video: str) -> AnswerRow:
        memory = seen.memories[entrant]
        began_s = time.perf_counter()
        recalled, _ = next(memory.recall(0, [question]))
        answer = Answer(self._scratch.copy(recalled), self._model.prompts.question(question.text))
        self._decoder.step([answer])
        ttft_s = time.perf_counter() - began_s
        while not self._decoder.is_ended(answer) and len(answer.ids) < self._settings.max_answer_tokens:
            self._decoder.step([answer])
        ids = answer.ids[:-1] if self._decoder.is_ended(answer) else answer.ids
        response = self._model.prompts.decode(tuple(ids))
        return AnswerRow(
            settings=self._settings,
            policy=entrant.policy,
            budget=entrant.budget,
            question=question.id,
            task=question.task,
            video=video,
            at_s=question.at_s,
            frames=seen.num_frames,
            response=response,
            expected=question.answer,
            is_right=None if self._is_right is None else self._is_right(question, response),
            bytes_per_camera=memory.nbytes_per_camera,
            upkeep_share=round(memory.upkeep_s / seen.ingest_s[entrant], 4),
            ttft_ms=round(1000 * ttft_s, 2),
        )


class _Seen:
    """What each entrant remembers of the frames so far, and the seconds that it took to take them in."""

    def __init__(self, model: VideoLanguageModel, memories: dict[Entrant, StreamMemory]) -> None:
        self._model = model
        self.memories = memories
        self.ingest_s = dict.fromkeys(memories, 0.0)
        self.num_frames = 0

    def add(self, frames: Iterable[Frame]) -> None:
        """Appends frames in steps; the last step is as short as it is, so that a question sees the newest frame."""
        remaining = iter(frames)
        while step := list(islice(remaining, FRAMES_PER_STEP)):
            began_s = time.perf_counter()
            encoded = frame_encoder.encode(self._model, [torch.stack([frame.pixels for frame in step])])
            times_s = torch.tensor([[frame.time_s for frame in step]], dtype=torch.float64)
            encoding_s = self._since(began_s)
            for entrant, memory in self.memories.items():
                began_s = time.perf_counter()
                memory.append(encoded, times_s)
                self.ingest_s[entrant] += encoding_s + self._since(began_s)
            self.num_frames += len(step)

    def _since(self, began_s: float) -> float:
        """Seconds since then, in which a GPU has done what it was told to."""
        if self._model.spec.device.type == "cuda":
            torch.cuda.synchronize(self._model.spec.device)
        return time.perf_counter() - began_s


def _shift(window: deque[Frame], frames: Iterable[Frame], span_s: float) -> None:
    """Adds frames and drops those that are older than the span before the newest one."""
    for frame in frames:
        window.append(frame)
        while window[0].time_s <= frame.time_s - span_s:
            window.popleft()
