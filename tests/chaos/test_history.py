"""Each invariant of a history finds its violation: chaos that could not fail would prove nothing."""

from __future__ import annotations

import pytest

from tests.chaos.history import ROLLED_BACK, STORE_EMPTIED, Event, History

EMPTIED = Event(2.0, "fault", detail=STORE_EMPTIED)
ERASED = Event(2.0, "erased", "g1", since_s=1.5)
ADDED = Event(2.0, "added", "g1", name="gate", since_s=1.0)
UNREGISTERED = Event(1.0, "unregistered", "g1", name="gate")
LEFT = Event(9.0, "left", "g1", detail="checkpoint")
PRESENT = Event(9.0, "present", "g1", name="gate", detail="rtsp://gate")


@pytest.mark.parametrize(
    ("events", "violation"),
    [
        ([Event(1.0, "owned", "gate", 5, "x"), Event(2.0, "owned", "gate", 5, "y")], "gate: epoch 5 of ['x', 'y']"),
        (
            [Event(1.0, "answer", "gate", 5, "x"), EMPTIED, Event(3.0, "owned", "gate", 5, "y")],
            "gate: epoch 5 of ['x', 'y']",
        ),
        (
            [Event(1.0, "answer", "gate", 6, "y"), Event(2.0, "answer", "gate", 5, "x")],
            "2.00 gate: answer of epoch 5 after a newer one",
        ),
        (
            [Event(1.0, "commit", "gate", 6, "y"), Event(2.0, "commit", "gate", 5, "x")],
            "2.00 gate: commit of epoch 5 after a newer one",
        ),
        (
            [Event(1.0, "commit", "gate", 5, "x", frames=8), Event(2.0, "restored", "gate", 6, "y", frames=7)],
            "2.00 gate: restored 7 of 8 frames",
        ),
        (
            [Event(1.0, "proven", "gate", 5, "x"), Event(1.0, "proven", "gate", 6, "y")],
            "1.00 gate: ['x', 'y']",
        ),
        (
            [
                Event(1.0, "resumed", incarnation="x"),
                Event(8.0, "proven", "gate", 5, "x"),
                Event(8.0, "proven", "gate", 6, "y"),
            ],
            "8.00 gate: ['x', 'y']",
        ),
        (
            [Event(1.0, "restored", "g1", frames=8, scenes=("g0 gate",))],
            "1.00 g1: restored of a memory of ['g0 gate']",
        ),
        (
            [Event(1.0, "answer", "g1", frames=8, scenes=("g1 gate", "g1 yard"))],
            "1.00 g1: answer of a memory of ['g1 gate', 'g1 yard']",
        ),
        (
            [ERASED, Event(3.0, "restored", "g1", frames=8, first_s=1.0)],
            "3.00 g1: restored of a memory from 1.00, erased",
        ),
        (
            [ERASED, Event(3.0, "answer", "g1", frames=8, since_s=2.5, first_s=1.0)],
            "3.00 g1: answer of a memory from 1.00, erased",
        ),
        (
            [Event(1.0, "removed", "g1"), Event(3.0, "answer", "g1", since_s=2.0)],
            "3.00 g1: answer after its removal",
        ),
        ([UNREGISTERED, LEFT], "g1: checkpoint is left"),
        ([Event(9.0, "watched", "g1", detail="rtsp://gate")], "g1: watched, and nobody wants it"),
        ([PRESENT, Event(9.0, "watched", "g1", detail="rtsp://old@gate")], "g1: watched with an old URL"),
        ([ADDED], "g1: gate was added and is gone"),
        ([Event(9.0, "excess", detail="2.1")], "shard 2.1: runs, and nobody wants it"),
        ([ADDED, Event(9.0, "present", "g2", name="gate")], "g1: gate was added and is gone"),
        ([Event(0.5, "removing", name="gate"), ADDED], "g1: gate was added and is gone"),
    ],
)
def test_a_violated_invariant_is_found(events: list[Event], violation: str) -> None:
    assert History(0, events).violations() == [violation]


@pytest.mark.parametrize(
    "events",
    [
        [Event(1.0, "owned", "gate", 5, "x"), EMPTIED, Event(3.0, "owned", "gate", 5, "y")],
        [Event(1.0, "commit", "gate", 5, "x", frames=8), EMPTIED, Event(2.0, "restored", "gate", 6, "y", frames=0)],
        [Event(1.0, "commit", "gate", 5, frames=8), Event(2.0, "deleted", "gate"), Event(3.0, "restored", "gate", 6)],
        [Event(1.0, "proven", "gate", 5, "x"), Event(1.0, "proven", "yard", 6, "y")],
        [Event(1.0, "proven", "gate", 5, "x"), Event(1.1, "proven", "gate", 6, "y")],
        [
            Event(1.0, "resumed", incarnation="x"),
            Event(2.0, "proven", "gate", 5, "x"),
            Event(2.0, "proven", "gate", 6, "y"),
        ],
        [Event(1.0, "answer", "g1", frames=8, scenes=("g1 gate",))],
        [ERASED, Event(3.0, "answer", "g1", frames=8, since_s=1.9, first_s=1.0)],
        [ERASED, Event(3.0, "answer", "g1", frames=8, since_s=2.5, first_s=1.6)],
        [Event(1.0, "erased", "g1", since_s=1.0), EMPTIED, Event(3.0, "restored", "g1", frames=8, first_s=0.5)],
        [Event(1.0, "removed", "g1"), Event(3.0, "answer", "g1", since_s=0.9)],
        [UNREGISTERED, EMPTIED, LEFT],
        [UNREGISTERED, LEFT, PRESENT],
        [PRESENT, Event(9.0, "watched", "g1", detail="rtsp://gate")],
        [ADDED, Event(3.0, "removing", name="gate")],
        [ADDED, Event(3.0, "forgotten", "g1")],
        [ADDED, PRESENT],
        [ADDED, Event(3.0, "fault", detail=ROLLED_BACK), Event(9.0, "present", "g2", name="gate")],
    ],
)
def test_a_history_without_a_violation_passes(events: list[Event]) -> None:
    assert History(0, events).violations() == []
