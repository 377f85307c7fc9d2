"""The accuracy benchmark: budgets are kept, parts are resumed and never mixed, wrong options are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import accuracy, contenders, parts, rows, streams
from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.exam import Examiner
from benchmarks.parts import Part, Settings
from benchmarks.rows import ALL
from benchmarks.stream_memories import BoundedMemory, StreamMemory, Task
from benchmarks.streams import FRAMES_PER_STEP, Character, Stream
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models import registry
from models.answer_decoder import Answer, AnswerDecoder
from models.errors import InvalidBudget
from models.llava_onevision import LlavaOnevision
from tests.benchmarks.conftest import RunBenchmark


@pytest.fixture(scope="module")
def tiny() -> LlavaOnevision:
    loaded = registry.load_model("tiny", "cpu")
    assert isinstance(loaded, LlavaOnevision)
    return loaded


@pytest.fixture(scope="module")
def filmed(tiny: LlavaOnevision) -> list[Stream]:
    return [streams.make_stream(tiny, seed, 48) for seed in (1, 2)]


@pytest.fixture(scope="module")
def part(tiny: LlavaOnevision, filmed: list[Stream]) -> Part:
    """The results of the default policy on these streams."""
    return parts.measure(tiny, settings(), filmed)


def append_all(contender: StreamMemory, filmed: list[Stream]) -> None:
    for _, encoded, times_s in streams.steps([stream.footage for stream in filmed]):
        contender.append(encoded, times_s)


def settings(policy: str = OURS, commit: str = "abc", budget: int = 96) -> Settings:
    return Settings(commit, "model", 1, 2, policy, budget, 48)


@pytest.mark.parametrize("name", [name for name in CONTENDERS if name not in ("full", "ours-gated-between")])
def test_every_contender_recalls_no_more_than_its_budget(tiny: LlavaOnevision, filmed: list[Stream], name: str) -> None:
    contender = contenders.named(name).make(
        Task(tiny, len(filmed), 48, 48, [stream.footage.passed for stream in filmed])
    )
    append_all(contender, filmed)
    questions = next(iter(filmed[0].questions.values()))

    recalled = list(contender.recall(0, questions))

    assert [item for _, some in recalled for item in some] == list(questions)
    for memory, _ in recalled:
        assert all(0 < length - memory.prefix_length <= 48 for length in memory.lengths)
    assert contender.nbytes_per_camera > 0


def test_a_memory_that_waits_for_room_is_asked_with_what_its_slot_holds(tiny: LlavaOnevision) -> None:
    stream = streams.make_stream(tiny, 1, 48)
    contender = contenders.named("ours-gated-between").make(Task(tiny, 1, 48, 48, [stream.footage.passed]))
    assert isinstance(contender, BoundedMemory)
    longest = 0

    for _, encoded, times_s in streams.steps([stream.footage]):
        contender.append(encoded, times_s)
        (memory, _), *_ = contender.recall(0, [])
        longest = max(longest, memory.longest - memory.prefix_length)

    assert 48 < longest <= contender.writer.capacity - memory.prefix_length
    assert memory.compactions > 0


def test_streams_of_a_seed_are_the_same_and_of_another_are_not(tiny: LlavaOnevision) -> None:
    first, again, other = (streams.make_stream(tiny, seed, 32) for seed in (5, 5, 6))

    assert torch.equal(first.footage.cells.tokens, again.footage.cells.tokens)
    assert first.questions == again.questions
    assert not torch.equal(first.footage.cells.tokens, other.footage.cells.tokens)


def test_questions_come_at_the_end_of_a_step_in_the_second_half(filmed: list[Stream]) -> None:
    frames = [frame for stream in filmed for frame in stream.questions]

    assert frames
    assert all(24 <= frame < 48 and frame % FRAMES_PER_STEP == FRAMES_PER_STEP - 1 for frame in frames)


def test_the_examiners_single_pass_agrees_with_greedy_decoding(tiny: LlavaOnevision, filmed: list[Stream]) -> None:
    """The slow reference: every question on its own copy of the memory, token by token, as in the product."""
    contender = contenders.named(OURS).make(Task(tiny, len(filmed), 96, 48))
    append_all(contender, filmed)
    decoder, examiner = AnswerDecoder(tiny), Examiner(tiny)
    for index, stream in enumerate(filmed):
        questions = [item for some in stream.questions.values() for item in some]
        memory, _ = next(contender.recall(index, questions))
        answers = [greedy(tiny, decoder, memory, item.question.text) for item in questions]

        outcomes = examiner.ask(memory, questions)

        assert [outcome.is_right for outcome in outcomes] == [
            text == item.question.answer for text, item in zip(answers, questions, strict=True)
        ]


def greedy(tiny: LlavaOnevision, decoder: AnswerDecoder, memory: Memory, question: str) -> str:
    copy = Memory(Slabs(tiny.spec.kv, slots=1, capacity=memory.slabs.capacity + 64), 0)
    copy.copy_from(memory)
    answer = Answer(copy, tiny.prompts.question(question))
    decoder.step([answer])
    while not decoder.is_ended(answer) and len(answer.ids) < 8:
        decoder.step([answer])
    return tiny.prompts.decode(tuple(answer.ids))


def test_a_finished_part_is_loaded_and_one_of_other_code_is_not(part: Part, tmp_path: Path) -> None:
    part.save(tmp_path)

    assert parts.load(settings(), tmp_path) == part
    assert parts.load(settings(commit="def"), tmp_path) is None
    assert parts.load(settings(budget=48), tmp_path) is None


def test_rows_count_every_question_once_for_each_need(part: Part, filmed: list[Stream]) -> None:
    found = {row.need: row for row in rows.rows_of([part]) if row.delay_s is None}

    assert found[ALL].n == sum(row.n for need, row in found.items() if need != ALL)
    assert found[ALL].n == sum(len(some) for stream in filmed for some in stream.questions.values())
    assert all(row.low <= row.accuracy <= row.high and row.commit == "abc" for row in found.values())


def test_rows_of_several_models_count_each_of_them_about_the_same_streams(part: Part) -> None:
    wrong = [[replace(outcome, is_right=False) for outcome in of_stream] for of_stream in part.outcomes]

    alone = next(rows.rows_of([part]))
    both = next(rows.rows_of([part, replace(part, outcomes=wrong)]))

    assert both.by_model == [alone.accuracy, 0.0]
    assert both.n == 2 * alone.n
    assert both.accuracy == pytest.approx(alone.accuracy / 2, abs=1e-3)


def test_evidence_is_compared_with_random_and_newest_moments(part: Part) -> None:
    proven = [outcome for of_stream in part.outcomes for outcome in of_stream if outcome.cited]

    assert proven
    assert all(outcome.is_right and outcome.shown <= outcome.cited <= 3 for outcome in proven)
    assert all(0 < outcome.by_chance <= 1 and 0 <= outcome.newest <= 1 for outcome in proven)
    assert all(outcome.newest > 0 for outcome in proven if outcome.type == "where")


def test_a_stream_of_a_character_differs_from_another_only_in_that(tiny: LlavaOnevision) -> None:
    characters = (Character.STEADY, Character.LIGHTS)
    steady, lights = (streams.make_stream(tiny, 4, 48, character) for character in characters)

    assert steady.questions == lights.questions
    assert not torch.equal(steady.footage.cells.tokens, lights.footage.cells.tokens)


def test_the_interval_is_narrow_if_streams_agree_and_wide_if_not() -> None:
    agreeing = rows.interval([[True, False]] * 20)
    divided = rows.interval([[True, True]] * 10 + [[False, False]] * 10)

    assert agreeing == (0.5, 0.5)
    assert divided[0] < 0.4
    assert divided[1] > 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policies", "lru"], "policy 'lru' (one of full, window"),
        (["--streams", "0"], "argument --streams: 0 (at least 1)"),
        (["--budgets", "17"], "--budgets 17: the recent window (16 tokens) and a summary need at least 18"),
    ],
)
def test_a_wrong_option_is_refused_with_its_limit(
    arguments: list[str], message: str, tmp_path: Path, run_benchmark: RunBenchmark
) -> None:
    ended = run_benchmark(accuracy, "--folder", tmp_path, *arguments)

    assert ended.code == 2
    assert message in ended.err
    assert not list(tmp_path.iterdir())


def test_a_small_run_writes_rows_plots_and_tables_and_the_next_loads_its_parts(
    tmp_path: Path, run_benchmark: RunBenchmark
) -> None:
    arguments = ["--threads", "1", "--streams", "2", "--lengths", "32", "--budgets", "48", "96"]
    arguments += ["--policies", "full", "window", "questions", "--folder", tmp_path / "parts"]
    arguments += ["--json", tmp_path / "rows.json", "--plots", tmp_path]
    first, again = (run_benchmark(accuracy, *arguments) for _ in range(2))

    assert (first.code, again.code) == (0, 0)
    assert "### 32 frames, 96 tokens a layer" in first.out
    assert again.out == first.out
    assert "questions, 48 tokens, 32 frames" in first.err
    assert "tokens, 32 frames" not in again.err
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {row["policy"] for row in rows} == {"full", "window", "questions"}
    assert {file.name for file in tmp_path.glob("*.png")} == {f"accuracy-{of}.png" for of in ("budget", "delay")}


def test_a_budget_below_the_window_is_refused(tiny: LlavaOnevision) -> None:
    with pytest.raises(InvalidBudget, match="at least 18"):
        contenders.named(OURS).make(Task(tiny, 1, 17, 48))


def test_only_the_contender_of_ranks_renumbers_positions_at_every_compaction(
    tiny: LlavaOnevision, filmed: list[Stream]
) -> None:
    def has_gaps(name: str) -> bool:
        contender = contenders.named(name).make(Task(tiny, len(filmed), 48, 48))
        append_all(contender, filmed)
        assert isinstance(contender, BoundedMemory)
        memory = contender.memories[0]
        positions = torch.cat([memory.layer(layer).positions for layer in range(memory.num_layers)]).unique()
        return positions.tolist() != list(range(memory.next_position))

    assert has_gaps(OURS)
    assert not has_gaps("ours-ranks")
