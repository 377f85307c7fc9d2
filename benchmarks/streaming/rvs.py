"""RVS-Ego and RVS-Movie: open questions about streams of half an hour to an hour. A language model scores them.

Source: the annotations with videos of the data set Becomebright/RVS (`ego4d_oe.json`, `movienet_oe.json`), which have
the questions of VStream-QA (IVGSZ/Flash-VStream). The official score asks gpt-3.5-turbo
(`flash_vstream/eval_video/eval_activitynet_qa.py` there); nothing here does. `write_predictions` writes what that
program reads, `read_judgements` reads what it writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmarks.rows import ALL
from benchmarks.streaming import annotation_files, scores
from benchmarks.streaming.benchmark import StreamBenchmark, StreamQuestion
from benchmarks.streaming.errors import AnswersInvalid
from benchmarks.streaming.scores import Figure


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the language model says of a response. score: 0 to 5."""

    response: str
    is_right: bool
    score: int


def read(file: Path) -> list[StreamQuestion]:
    """The questions of each conversation, each asked at its end time, the text as it is."""
    questions = []
    for item, entry in enumerate(annotation_files.read_json(file)):
        name, video = entry.text("video_id"), entry.text("video_path")
        path = PurePosixPath(video.removeprefix("./"))
        for index, one in enumerate(entry.entries("conversations")):
            questions.append(
                StreamQuestion(
                    id=f"{name}_{item}_{index}",
                    task=one.optional_text("answer_type") or "open",
                    text=one.text("question"),
                    answer=one.text("answer"),
                    at_s=one.seconds("end_time"),
                    videos=(str(path), path.name),
                    origin=entry.origin("video_path"),
                    answer_type=one.optional_text("answer_type"),
                )
            )
    return questions


def figures(tasks: Sequence[str]) -> list[Figure]:
    """All questions pooled, and each kind of answer."""
    return [scores.pooled(ALL, tasks), *[scores.pooled(task, [task]) for task in tasks]]


def write_predictions(
    folder: Path, questions: Mapping[str, StreamQuestion], responses: Iterable[tuple[str, str]]
) -> Path:
    """Writes `pred.json`, one JSON object a line, as the official program reads it. responses: question id and text."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "id": name,
            "question": questions[name].text,
            "answer": questions[name].answer,
            "answer_type": questions[name].answer_type,
            "pred": response,
        }
        for name, response in responses
    ]
    file = folder / "pred.json"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def read_judgements(folder: Path) -> dict[str, Judgement]:
    """What the official program wrote as `results.json`, by the id of the question; empty without that file.

    Raises AnswersInvalid.
    """
    file = folder / "results.json"
    judgements: dict[str, Judgement] = {}
    if not file.is_file():
        return {}
    try:
        for key, (verdict, answered) in json.loads(file.read_text()).items():
            name = key.rpartition("_")[0]  # the program numbers the answers of an id
            is_right, score = "yes" in verdict["pred"].lower(), int(verdict["score"])
            judgements[name] = Judgement(str(answered["pred"]), is_right, score)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnswersInvalid(f"{file}: not what the official program writes ({error})") from error
    return judgements


def _edition(name: str) -> StreamBenchmark:
    return StreamBenchmark(
        name=name,
        edition="Becomebright/RVS",
        read=read,
        is_right=None,
        figures=figures,
        fps=0.5,
        max_answer_tokens=256,
    )


EGO, MOVIE = _edition("RVS-Ego"), _edition("RVS-Movie")
