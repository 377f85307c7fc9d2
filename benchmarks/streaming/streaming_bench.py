"""StreamingBench, real-time visual understanding: its two annotation formats, its prompt and its rule.

Source: THUNLP-MT/StreamingBench, `src/benchmark/StreamingBench.py` (prompt), `src/data/count.py` (rule),
`src/data/questions_real.json`, and `Real_Time_Visual_Understanding.csv` of the data set mjuicem/StreamingBench.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from benchmarks.rows import ALL
from benchmarks.streaming import annotation_files, scores
from benchmarks.streaming.annotation_files import Entry
from benchmarks.streaming.benchmark import StreamBenchmark, StreamQuestion
from benchmarks.streaming.errors import AnnotationInvalid
from benchmarks.streaming.scores import Figure

PROMPT = (
    "You are an advanced video question-answering AI assistant. You have been provided with some frames from the video "
    "and a multiple-choice question related to the video. Your task is to carefully analyze the video and provide the "
    "best answer to question, choosing from the four options provided. Respond with only the letter (A, B, C, or D) of "
    "the correct option.\n\nQuestion: {}\n\nOptions:\n{}\n{}\n{}\n{}\n\nThe best option is:"
)
_LETTERS = "ABCD"
_SAMPLE = re.compile(r"_sample_(\d+)_\d+$")
_TIME = re.compile(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d)")


def read(file: Path) -> list[StreamQuestion]:
    """The questions of `questions_real.json`, or of the data set's CSV if the file's name ends so."""
    if file.suffix.lower() == ".csv":
        return [_of_line(entry) for entry in _lines(file)]
    questions = []
    for item, entry in enumerate(annotation_files.read_json(file)):
        video = entry.text("video_path")
        path = PurePosixPath(video.removeprefix("./"))
        stem = path.stem.removesuffix("_real")
        videos = (str(path), path.name, f"{stem}/video{path.suffix}")
        for index, question in enumerate(entry.entries("questions")):
            options = question.texts("options", 4, 4)
            questions.append(_question(question, f"{item}_{index}", options, videos, entry.origin("video_path")))
    return questions


def is_right(question: StreamQuestion, response: str) -> bool:
    """Whether the first character of the response is the letter of the right option."""
    return response[:1] == question.answer


def figures(tasks: Sequence[str]) -> list[Figure]:
    """All questions pooled, and each task."""
    return [scores.pooled(ALL, tasks), *[scores.pooled(task, [task]) for task in tasks]]


def _lines(file: Path) -> list[Entry]:
    reader = csv.DictReader(io.StringIO(annotation_files.read_text(file), newline=""))
    try:
        entries = [Entry(file, f"line {reader.line_num}", dict(line)) for line in reader]
    except csv.Error as error:
        raise AnnotationInvalid(f"{file}: line {reader.line_num}: {error}") from error
    return entries or [Entry(file, "line 1", {})]  # the first field that is read is then missing


def _of_line(entry: Entry) -> StreamQuestion:
    name = entry.text("question_id")
    sample = _SAMPLE.search(name)
    if sample is None:
        raise entry.refuse("question_id", "to end in _sample_N_N")
    number = sample.group(1)
    videos = (f"sample_{number}/video.mp4", f"sample_{number}_real.mp4", f"videos/sample_{number}_real.mp4")
    try:
        options = ast.literal_eval(entry.text("options"))
    except (ValueError, SyntaxError):
        raise entry.refuse("options", "a list of 4 texts as Python writes it") from None
    listed = Entry(entry.file, entry.item, {**entry.fields, "options": options})
    return _question(listed, name, listed.texts("options", 4, 4), videos, entry.origin("question_id"))


def _question(entry: Entry, name: str, options: list[str], videos: tuple[str, ...], origin: str) -> StreamQuestion:
    if not options[0].startswith("A."):
        options = [f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=True)]
    answer = entry.text("answer").strip()
    if answer not in tuple(_LETTERS):
        raise entry.refuse("answer", "A, B, C or D")
    return StreamQuestion(
        id=name,
        task=entry.text("task_type").strip(),
        text=PROMPT.format(entry.text("question"), *options),
        answer=answer,
        at_s=_seconds(entry),
        videos=videos,
        origin=origin,
    )


def _seconds(entry: Entry) -> float:
    """Of `time_stamp`: hours, minutes and seconds; the hours may be missing."""
    parts = _TIME.fullmatch(entry.text("time_stamp").strip())
    if parts is None:
        raise entry.refuse("time_stamp", "HH:MM:SS")
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return float(3_600 * hours + 60 * minutes + seconds)


REAL_TIME = StreamBenchmark(
    name="StreamingBench",
    edition="real-time visual understanding",
    read=read,
    is_right=is_right,
    figures=figures,
    fps=1.0,
    max_answer_tokens=16,
)
