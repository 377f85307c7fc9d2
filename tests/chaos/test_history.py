"""Each invariant of a history finds its violation: chaos that could not fail would prove nothing."""

from __future__ import annotations

import pytest

from tests.chaos.history import Event, History

EMPTIED = Event(2.0, "fault", detail="store emptied")


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
    ],
)
def test_a_violated_invariant_is_found(events: list[Event], violation: str) -> None:
    assert History(0, events).violations() == [violation]


@pytest.mark.parametrize(
    "events",
    [
        [Event(1.0, "owned", "gate", 5, "x"), EMPTIED, Event(3.0, "owned", "gate", 5, "y")],
        [Event(1.0, "commit", "gate", 5, "x", frames=8), EMPTIED, Event(2.0, "restored", "gate", 6, "y", frames=0)],
        [Event(1.0, "proven", "gate", 5, "x"), Event(1.0, "proven", "yard", 6, "y")],
        [Event(1.0, "proven", "gate", 5, "x"), Event(1.1, "proven", "gate", 6, "y")],
    ],
)
def test_a_history_without_a_violation_passes(events: list[Event]) -> None:
    assert History(0, events).violations() == []
