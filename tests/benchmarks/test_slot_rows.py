"""Slots of int8 rows beside exact ones, question by question."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import slot_rows
from benchmarks.exam import Outcome
from benchmarks.parts import Part, Settings
from benchmarks.streams import Need


def part_of(policy: str, answers: list[list[bool]], nbytes: int) -> Part:
    outcomes = [[Outcome("colour", Need.NOW, None, is_right) for is_right in of_stream] for of_stream in answers]
    return Part(Settings("abc", "model", 1, len(answers), policy, 48, 256), outcomes, nbytes, 0.0, 0.0)


def test_the_points_that_are_lost_are_those_of_pairs_of_answers() -> None:
    exact = part_of("questions", [[True, True, False], [True, False]], 200)
    rounded = part_of("questions-int8", [[True, False, True], [False, False]], 110)

    row = slot_rows.row_of("tiny", exact, rounded)

    assert (row.n, row.exact, row.int8, row.changed_answers) == (5, 0.6, 0.4, 3)
    assert row.lost_points == 20.0
    assert row.low <= 20.0 <= row.high
    assert "| 20.00 (0.00 to 50.00) |" in slot_rows.table([replace(row, low=0.0, high=50.0)])


def test_a_short_stream_is_answered_from_both_kinds_of_slots() -> None:
    row = slot_rows.worst(1, 48)

    assert row.policy == "questions"
    assert row.n > 0
    assert row.int8_nbytes < row.exact_nbytes
