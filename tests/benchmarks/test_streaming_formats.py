"""Official annotations, prompts, rules and averages of the public benchmarks; what is broken is named."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rows import ALL
from benchmarks.streaming import ovo_bench, rvs, scores, streaming_bench
from benchmarks.streaming.benchmark import StreamBenchmark, StreamQuestion
from benchmarks.streaming.errors import AnnotationInvalid
from tests.benchmarks import recordings

ANY = StreamQuestion(id="1", task="EPM", text="", answer="B", at_s=0.0, videos=("a.mp4",), origin="")
READERS: dict[str, tuple[StreamBenchmark, Any]] = {
    "ovo": (ovo_bench.CURRENT, recordings.ovo_items),
    "streamingbench": (streaming_bench.REAL_TIME, recordings.streaming_bench_items),
    "rvs": (rvs.EGO, recordings.rvs_items),
}


def test_streaming_bench_asks_the_official_prompt_at_the_time_stamp(tmp_path: Path) -> None:
    found = streaming_bench.read(recordings.write(tmp_path / "real.json", recordings.streaming_bench_items()))

    assert found[0].text == (
        "You are an advanced video question-answering AI assistant. You have been provided with some frames from the "
        "video and a multiple-choice question related to the video. Your task is to carefully analyze the video and "
        "provide the best answer to question, choosing from the four options provided. Respond with only the letter "
        "(A, B, C, or D) of the correct option.\n\nQuestion: What is in view right now?\n\nOptions:\nA. A red car.\n"
        "B. A dog.\nC. Nothing.\nD. A box.\n\nThe best option is:"
    )
    assert found[1].text == found[0].text
    assert [question.at_s for question in found] == [6.0, 10.0, 13.0]
    assert found[0].videos == ("videos/sample_1_real.mp4", "sample_1_real.mp4", "sample_1/video.mp4")


def test_the_csv_of_streaming_bench_has_the_same_questions_as_its_json(tmp_path: Path) -> None:
    recordings.write_csv(tmp_path / "real.csv")
    from_csv = streaming_bench.read(tmp_path / "real.csv")
    from_json = streaming_bench.read(recordings.write(tmp_path / "real.json", recordings.streaming_bench_items()))

    def content(question: StreamQuestion) -> tuple[object, ...]:
        return question.text, question.answer, question.at_s, question.task, set(question.videos)

    assert [content(question) for question in from_csv] == [content(question) for question in from_json]
    assert from_csv[2].id == "Real-Time Visual Understanding_sample_2_1"


def test_ovo_bench_asks_each_kind_of_task_with_its_official_prompt(tmp_path: Path) -> None:
    found = {one.id: one for one in ovo_bench.read(recordings.write(tmp_path / "ovo.json", recordings.ovo_items()))}

    assert found["0"].text == (
        "\nQuestion: What is in view?\nOptions:\nA. A red car.; B. A dog.; C. Nothing.; D. A box.;\n\nRespond only "
        "with the letter corresponding to your chosen option (e.g., A, B, C). \nDo not include any additional text or "
        "explanation in your response.\n"
    )
    assert "question: How many times did they cross the street?\nProvide your answer as a single" in found["3_1"].text
    assert "the whole procedures: \npark the car\nYour task is" in found["4_0"].text
    assert "the end of the video.\nWho came?\nDecide whether" in found["5_1"].text
    assert {name: one.answer for name, one in found.items()} == {
        "0": "B", "1": "B", "2": "B", "3_0": "0", "3_1": "2", "4_0": "No", "5_0": "No", "5_1": "Yes",
    }  # fmt: skip
    assert (found["1"].at_s, found["3_1"].at_s) == (12.5, 11.3)
    assert found["3_1"].videos == ("streets/second.mp4", "3_1.mp4")


def test_rvs_asks_the_question_itself_at_its_end_time(tmp_path: Path) -> None:
    items = recordings.rvs_items()
    found = rvs.read(recordings.write(tmp_path / "ego4d_oe.json", items))

    assert len(found) == len({one.id for one in found}) == sum(len(item["conversations"]) for item in items) > 10
    assert found[0].text == items[0]["conversations"][0]["question"]
    assert found[0].at_s == 8.5
    assert found[0].videos == ("data/rvs/ego/videos/first.mp4", "first.mp4")


@pytest.mark.parametrize(
    ("task", "answer", "response", "is_right"),
    [
        ("EPM", "B", "B", True),
        ("EPM", "B", "The answer is B.", True),
        ("EPM", "B", "A", False),
        ("EPM", "B", "", False),
        ("REC", "12", "12", True),
        ("REC", "12", "1 or 2", True),  # the official rule joins the digits
        ("REC", "12", "twelve", False),
        ("REC", "2", "12", False),
        ("SSR", "Yes", "Yes, they are.", True),
        ("SSR", "Yes", "yes", False),
        ("CRR", "No", "N", True),
        ("CRR", "No", "Y", False),
        ("OCR", "N", "N", True),
    ],
)
def test_ovo_bench_scores_by_its_rules(task: str, answer: str, response: str, is_right: bool) -> None:
    assert ovo_bench.is_right(replace(ANY, task=task, answer=answer), response) is is_right


@pytest.mark.parametrize(
    ("response", "is_right"), [("B", True), ("B. A dog.", True), ("The answer is B", False), ("", False)]
)
def test_streaming_bench_scores_the_first_character(response: str, is_right: bool) -> None:
    assert streaming_bench.is_right(ANY, response) is is_right


def test_the_figures_of_ovo_bench_are_means_of_tasks_and_of_categories() -> None:
    first = [("EPM", True), ("EPM", True), ("EPM", False), ("EPM", False), ("ASI", True), ("OCR", False), ("OCR", True)]
    second = [("REC", True), ("REC", False), ("REC", False), ("REC", False)]
    found = {figure.name: scores.score(figure, [first, second]) for figure in ovo_bench.figures([])}

    def value(name: str) -> float:
        one = found[name]
        assert one is not None
        assert one.low <= one.value <= one.high
        return one.value

    assert value("EPM") == 0.5
    assert value("backward") == 0.75
    assert value("real-time") == 0.5
    assert value("backward and real-time") == 0.625
    assert value("forward") == 0.25
    assert value(ALL) == pytest.approx(0.5)
    assert found["HLD"] is None


def test_streaming_bench_pools_all_questions() -> None:
    by_video = [[("Counting", True), ("Counting", True), ("Counting", True)], [("Clips Summarize", False)]]
    found = {
        figure.name: scores.score(figure, by_video)
        for figure in streaming_bench.figures(["Clips Summarize", "Counting"])
    }

    assert [(name, one and (one.value, one.n)) for name, one in found.items()] == [
        (ALL, (0.75, 4)), ("Clips Summarize", (0.0, 1)), ("Counting", (1.0, 3)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("ovo", (1, "realtime"), "soon", "item 2: realtime is 'soon' (expected seconds, at least 0)"),
        ("ovo", (1, "realtime"), None, "item 2: realtime is missing (expected seconds, at least 0)"),
        ("ovo", (0, "gt"), 4, "item 1: gt is 4 (expected an integer, at least 0, below 4)"),
        ("ovo", (0, "task"), "XYZ", "item 1: task is 'XYZ' (expected one of EPM, ASI, HLD, OCR,"),
        ("ovo", (0, "options"), ["one"], "item 1: options is ['one'] (expected 2 to 26 texts)"),
        ("ovo", (3, "test_info", 1, "count"), -1, "item 4, test_info 2: count is -1 (expected an integer, at least 0)"),
        ("ovo", (3, "test_info"), [], "item 4: test_info is [] (expected a list of objects)"),
        ("ovo", (4, "test_info", 0, "type"), True, "item 5, test_info 1: type is True (expected an integer, at"),
        ("streamingbench", (1, "video_path"), "", "item 2: video_path is '' (expected a text)"),
        ("streamingbench", (0, "questions", 1, "answer"), "E", "questions 2: answer is 'E' (expected A, B, C or D)"),
        ("streamingbench", (0, "questions", 0, "time_stamp"), "6 s", "time_stamp is '6 s' (expected HH:MM:SS)"),
        ("streamingbench", (0, "questions", 0, "options"), ["a"], "questions 1: options is ['a'] (expected 4 texts)"),
        ("rvs", (0, "conversations", 0, "end_time"), -1, "item 1, conversations 1: end_time is -1 (expected seconds,"),
        ("rvs", (0, "conversations", 0, "answer"), None, "conversations 1: answer is missing (expected a text)"),
    ],
)  # fmt: skip
def test_a_broken_field_is_refused_with_file_item_and_field(
    kind: str, path: tuple[Any, ...], value: object, message: str, tmp_path: Path
) -> None:
    benchmark, make_items = READERS[kind]
    items = copy.deepcopy(make_items())
    place: Any = items
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    file = recordings.write(tmp_path / "broken.json", items)

    with pytest.raises(AnnotationInvalid, match=re.escape(message)) as refused:
        benchmark.read(file)

    assert str(refused.value).startswith(f"{file}: item ")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '[{"id": 1,\n}]', "line 2: not JSON"),
        ("a.json", "{}", "expected a list of objects"),
        ("a.json", "[3]", "item 1 is 3 (expected an object)"),
        ("a.csv", "", "line 1: question_id is missing (expected a text)"),
        ("a.csv", "question_id,options\nx_sample_1,[]\n", "line 2: question_id is 'x_sample_1' (expected to end in"),
        (
            "a.csv",
            "question_id,options\nx_sample_1_2,oops(\n",
            "line 2: options is 'oops(' (expected a list of 4 texts",
        ),
    ],
)
def test_a_file_in_another_format_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(AnnotationInvalid, match=re.escape(f"{tmp_path / name}: {message}")):
        streaming_bench.read(tmp_path / name)


def test_predictions_are_lines_that_the_official_judge_of_rvs_reads(tmp_path: Path) -> None:
    question = replace(ANY, text="what came first", answer="a dog", answer_type="first")

    file = rvs.write_predictions(tmp_path / "questions-4000", {"1": question}, [("1", "a red dog")])

    assert file == tmp_path / "questions-4000" / "pred.json"
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"id": "1", "question": "what came first", "answer": "a dog", "answer_type": "first", "pred": "a red dog"}
    ]
