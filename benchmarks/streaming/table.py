"""From answers to rows of the table that benchmarks.accuracy prints too."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.rows import ScoreRow
from benchmarks.streaming import scores
from benchmarks.streaming.answers import AnswerRow
from benchmarks.streaming.benchmark import StreamBenchmark


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow(ScoreRow):
    """A figure of a policy at a budget. length: median frames before a question; num_questions: of the edition.

    judge_score: the mean of a language model's scores, 0 to 5; None where rules decide.
    """

    benchmark: str
    edition: str
    annotations: str
    model: str
    fps: float
    context_s: float | None
    num_questions: int
    judge_score: float | None = None

    @property
    def heading(self) -> str:
        context = "all frames" if self.context_s is None else f"the last {self.context_s:g} s"
        asked_of = f"{self.num_questions:,} questions"
        return (
            f"{self.benchmark} ({self.edition}, annotations {self.annotations}, {asked_of}), {self.model}, "
            f"{self.fps:g} fps, {context} before a question"
        )

    @property
    def label(self) -> str:
        return f"{self.policy}, {self.budget:,} tokens"

    @property
    def details(self) -> dict[str, str]:
        score = {} if self.judge_score is None else {"score": f"{self.judge_score:.2f}"}
        return {"frames": f"{self.length:,}"} | score


def rows_of(benchmark: StreamBenchmark, answers: Iterable[AnswerRow], num_questions: int) -> Iterator[StreamRow]:
    """The figures of each policy and budget over its scored answers, in the order in which they first answered."""
    by_entrant: dict[tuple[str, int], list[AnswerRow]] = {}
    for answer in answers:
        if answer.is_right is not None:
            by_entrant.setdefault((answer.policy, answer.budget), []).append(answer)
    for some in by_entrant.values():
        yield from _rows_of(benchmark, some, num_questions)


def _rows_of(benchmark: StreamBenchmark, answers: Sequence[AnswerRow], num_questions: int) -> Iterator[StreamRow]:
    by_video: dict[str, list[tuple[str, bool]]] = {}
    for answer in answers:
        by_video.setdefault(answer.video, []).append((answer.task, bool(answer.is_right)))
    settings = answers[0].settings
    for figure in benchmark.figures(sorted({answer.task for answer in answers})):
        score = scores.score(figure, list(by_video.values()))
        if score is None:
            continue
        yield StreamRow(
            policy=answers[0].policy,
            budget=answers[0].budget,
            length=round(statistics.median(answer.frames for answer in answers)),
            need=figure.name,
            accuracy=round(score.value, 4),
            low=round(score.low, 4),
            high=round(score.high, 4),
            n=score.n,
            bytes_per_camera=max(answer.bytes_per_camera for answer in answers),
            upkeep_share=round(statistics.fmean(answer.upkeep_share for answer in answers), 4),
            ttft_ms=round(statistics.median(answer.ttft_ms for answer in answers), 2),
            by_model=[round(score.value, 4)],
            commit=settings.commit,
            benchmark=settings.benchmark,
            edition=settings.edition,
            annotations=settings.annotations,
            model=settings.model,
            fps=settings.fps,
            context_s=settings.context_s,
            num_questions=num_questions,
        )
