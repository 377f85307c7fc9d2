"""What a public benchmark is: questions about moments of videos, and how answers are scored officially."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.streaming.scores import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamQuestion:
    """A question about a video up to a moment. text: what the model is asked, the official prompt.

    videos: where the video may be, below the folder of videos; the first that exists is used. origin: the place of the
    video's name in the annotations. answer_type: what RVS calls the kind of the answer.
    """

    id: str
    task: str
    text: str
    answer: str
    at_s: float
    videos: tuple[str, ...]
    origin: str
    answer_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBenchmark:
    """One edition of a benchmark. fps and max_answer_tokens: defaults of this edition.

    read: the questions of an annotation file, raises AnnotationInvalid. is_right: the official rule for one response;
    None where a language model decides. figures: what is reported, of the tasks that occur.
    """

    name: str
    edition: str
    read: Callable[[Path], list[StreamQuestion]]
    is_right: Callable[[StreamQuestion, str], bool] | None
    figures: Callable[[Sequence[str]], list[Figure]]
    fps: float
    max_answer_tokens: int
