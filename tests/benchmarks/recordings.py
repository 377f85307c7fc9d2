"""A folder of drawn streets as videos, with annotations in the official formats of the public benchmarks."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

from benchmarks import streams
from benchmarks.streams import Character
from models.tiny.scenes import questions
from models.tiny.scenes.questions import Question
from models.tiny.scenes.scene import Scene
from pipeline.decoding import video_writer

LENGTH_S = 24
VIDEO_FPS = 8
OPTIONS = ["A red car.", "A dog.", "Nothing.", "A box."]


def street(seed: int) -> Scene:
    return streams.make_scene(seed, Character.STEADY, 2 * LENGTH_S)


def film(scene: Scene, path: Path, length_s: float = LENGTH_S) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = (scene.frame(index / VIDEO_FPS, 128, 96) for index in range(round(length_s * VIDEO_FPS)))
    video_writer.write_video(images, path, fps=VIDEO_FPS, codec="h264")


def asked_of(scene: Scene, at_s: float) -> list[Question]:
    """Questions of the tiny model's own kind, with their true answers."""
    return questions.questions_at(scene.visits(at_s + 1), at_s, random.Random(0))


def ovo_items() -> list[dict[str, Any]]:
    """As in ovo_bench_new.json: one item of each kind."""
    choice = {"question": "What is in view?", "options": OPTIONS, "answer": OPTIONS[1], "gt": 1}
    return [
        {"id": 0, "task": "EPM", "video": "streets/first.mp4", "realtime": 9, **choice},
        {"id": 1, "task": "OCR", "video": "streets/first.mp4", "realtime": 12.5, **choice},
        {"id": 2, "task": "HLD", "video": "streets/second.mp4", "realtime": 7, **choice},
        {"id": 3, "task": "REC", "video": "streets/second.mp4", "activity": "cross the street", "test_info": [
            {"realtime": 5, "count": 0}, {"realtime": 11.3, "count": 2},
        ]},
        {"id": 4, "task": "SSR", "video": "streets/first.mp4", "tutorial": "t", "test_info": [
            {"step": "park the car", "realtime": 6, "type": 0},
        ]},
        {"id": 5, "task": "CRR", "video": "streets/second.mp4", "question": "Who came?", "answer": "A dog",
         "ask_time": 3, "clue_time": 8, "test_info": [{"realtime": 4, "type": 0}, {"realtime": 10, "type": 1}]},
    ]  # fmt: skip


def streaming_bench_items() -> list[dict[str, Any]]:
    """As in questions_real.json."""
    question = {"task_type": "Object Recognition", "question": "What is in view right now?", "answer": "B"}
    question |= {"required_ability": "working memory"}
    return [
        {
            "time": "[0:00:00 - 0:00:10]",
            "questions": [
                question | {"time_stamp": "00:00:06", "options": OPTIONS},
                question
                | {"time_stamp": "00:10", "options": [f"{a}. {b}" for a, b in zip("ABCD", OPTIONS, strict=True)]},
            ],
            "video_categories": "streets",
            "video_path": "./videos/sample_1_real.mp4",
        },
        {
            "time": "[0:00:10 - 0:00:20]",
            "questions": [question | {"task_type": "Counting", "time_stamp": "00:00:13", "options": OPTIONS}],
            "video_categories": "streets",
            "video_path": "./videos/sample_2_real.mp4",
        },
    ]


def write_csv(file: Path) -> None:
    """The same questions as in `streaming_bench_items`, as the data set's CSV."""
    columns = ["question_id", "task_type", "question", "time_stamp", "answer", "options", "frames_required"]
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, [*columns, "temporal_clue_type"])
        writer.writeheader()
        for sample, item in enumerate(streaming_bench_items(), 1):
            for number, question in enumerate(item["questions"], 1):
                line = {name: question[name] for name in columns if name in question}
                name = f"Real-Time Visual Understanding_sample_{sample}_{number}"
                line |= {"question_id": name, "options": str(question["options"])}
                writer.writerow(line | {"frames_required": "single", "temporal_clue_type": "Prior"})


def rvs_items() -> list[dict[str, Any]]:
    """As in ego4d_oe.json, with questions that the tiny model knows."""
    items = []
    for seed, name in enumerate(("first", "second"), 1):
        conversations = [
            {"question": one.text, "answer": one.answer, "answer_type": one.type, "start_time": 0, "end_time": at_s}
            for at_s in (8.5, 15.0, 22.5)
            for one in asked_of(street(seed), at_s)
        ]
        path = f"data/rvs/ego/videos/{name}.mp4"
        items.append({"video_id": name, "video_path": path, "duration": LENGTH_S, "conversations": conversations})
    return items


def write(file: Path, items: object) -> Path:
    file.write_text(json.dumps(items))
    return file


def arguments(folder: Path, annotations: str, answers: Path, *more: object) -> list[object]:
    named = ["--annotations", folder / annotations, "--videos", folder, "--answers", answers, "--model", "tiny"]
    return [*named, "--device", "cpu", "--threads", 1, *more]


def answer_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]
