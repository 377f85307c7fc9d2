"""OVO-Bench in its current edition: annotations, prompts, rules and averages. No language model scores it.

Source: JoeLeelyf/OVO-Bench, `constant.py` (prompts), `utils/OVOBench.py` (how they are filled in),
`utils/OVOBenchScore.py` (rules) and `data/ovo_bench_new.json`. The edition before had one average over all tasks; this
one has the mean of the three categories, as the paper (issue 7 there).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from benchmarks.rows import ALL
from benchmarks.streaming import annotation_files, scores
from benchmarks.streaming.annotation_files import Entry
from benchmarks.streaming.benchmark import StreamBenchmark, StreamQuestion
from benchmarks.streaming.scores import Figure

BACKWARD = ("EPM", "ASI", "HLD")
REAL_TIME = ("OCR", "ACR", "ATR", "STU", "FPD", "OJR")
FORWARD = ("REC", "SSR", "CRR")

# The texts are official to the character, with their errors and their spaces at ends of lines.
CHOICE_PROMPT = (
    "\nQuestion: {}\nOptions:\n{}\n\n"
    "Respond only with the letter corresponding to your chosen option (e.g., A, B, C). \n"
    "Do not include any additional text or explanation in your response.\n"
)
REC_PROMPT = (
    "\nYou're watching a video in which people may perform a certain type of action repetively. \n"
    "The person performing this kind of action are referred to as 'they' in the following statement.\n"
    "You're task is to count how many times have different people in the video perform this kind of action in total.\n"
    "One complete motion counts as one. \n"
    "Now, answer the following question: {}\n"
    "Provide your answer as a single number (e.g., 0, 1, 2, 3…) indicating the total count.\n"
    "Do not include any additional text or explanation in your response.\n"
)
SSR_PROMPT = (
    "\nYou're watching a tutorial video which contain a sequential of steps. \n"
    "The following is one step from the whole procedures: \n{}\n"
    "Your task is to determine if the man or woman in the video is currently performing this step.\n"
    "Answer only with “Yes” or “No”.\n"
    "Do not include any additional text or explanation in your response.\n"
)
CRR_PROMPT = (
    "\nYou're responsible of answering questions based on the video content. \n"
    "The following question are relevant to the latest frames, i.e. the end of the video.\n{}\n"
    "Decide whether existing visual content, especially latest frames, i.e. frames that near the end of the video, "
    "provide enough information for answering the question.\n"
    "Answer only with “Yes” or “No”.\n"
    "Do not include any additional text or explanation in your response.\n"
)
_MAX_OPTIONS = 26


def read(file: Path) -> list[StreamQuestion]:
    """The questions of `ovo_bench_new.json`: one for each item, and for a forward task one for each of its moments."""
    questions = []
    for entry in annotation_files.read_json(file):
        name, task = str(entry.integer("id")), entry.text("task")
        if task in FORWARD:
            moments = enumerate(entry.entries("test_info"))
            questions += [_forward(entry, moment, task, f"{name}_{index}") for index, moment in moments]
        elif task in (*BACKWARD, *REAL_TIME):
            questions.append(_choice(entry, task, name))
        else:
            raise entry.refuse("task", f"one of {', '.join((*BACKWARD, *REAL_TIME, *FORWARD))}")
    return questions


def is_right(question: StreamQuestion, response: str) -> bool:
    """REC: the digits of the response, joined, are the count. Otherwise the response contains the letter, or Yes or No.

    SSR and CRR: `Y` or `N` alone counts too.
    """
    if question.task == "REC":
        return "".join(re.findall(r"\d+", response)) == question.answer
    return question.answer in response or (question.task in FORWARD and response == question.answer[0])


def figures(_tasks: Sequence[str]) -> list[Figure]:
    """The official averages, the mean of the first two categories that many papers report alone, and each task."""
    return [
        scores.mean_of_tasks(ALL, BACKWARD, REAL_TIME, FORWARD),
        scores.mean_of_tasks("backward and real-time", BACKWARD, REAL_TIME),
        scores.mean_of_tasks("backward", BACKWARD),
        scores.mean_of_tasks("real-time", REAL_TIME),
        scores.mean_of_tasks("forward", FORWARD),
        *[scores.pooled(task, [task]) for task in (*BACKWARD, *REAL_TIME, *FORWARD)],
    ]


def _choice(entry: Entry, task: str, name: str) -> StreamQuestion:
    options = entry.texts("options", 2, _MAX_OPTIONS)
    listed = "; ".join(f"{chr(65 + index)}. {option}" for index, option in enumerate(options)) + ";"
    return StreamQuestion(
        id=name,
        task=task,
        text=CHOICE_PROMPT.format(entry.text("question"), listed),
        answer=chr(65 + entry.integer("gt", len(options))),
        at_s=entry.seconds("realtime"),
        videos=_videos(entry, name),
        origin=entry.origin("video"),
    )


def _forward(entry: Entry, moment: Entry, task: str, name: str) -> StreamQuestion:
    if task == "REC":
        text, answer = REC_PROMPT.format(f"How many times did they {entry.text('activity')}?"), moment.integer("count")
    elif task == "SSR":
        text, answer = SSR_PROMPT.format(moment.text("step")), moment.integer("type", 2)
    else:
        text, answer = CRR_PROMPT.format(entry.text("question")), moment.integer("type", 2)
    return StreamQuestion(
        id=name,
        task=task,
        text=text,
        answer=str(answer) if task == "REC" else ("No", "Yes")[answer],
        at_s=moment.seconds("realtime"),
        videos=_videos(entry, name),
        origin=entry.origin("video"),
    )


def _videos(entry: Entry, name: str) -> tuple[str, ...]:
    """The source video, which all questions about it share, or the official clip that ends at the question."""
    video = PurePosixPath(entry.text("video").removeprefix("./"))
    return str(video), f"{name}.mp4"


CURRENT = StreamBenchmark(
    name="OVO-Bench",
    edition="v2, mean of three categories",
    read=read,
    is_right=is_right,
    figures=figures,
    fps=1.0,
    max_answer_tokens=16,
)
