"""Whose turn it is on the device: plain policy, without a clock, a thread or a GPU."""

from __future__ import annotations

from enum import Enum


class Turn(Enum):
    """A kind of work, one job of which is done next."""

    QUESTION = "question"
    INGEST = "ingest"
    BACKGROUND = "background"


class Scheduler:
    """Questions first, with every nth turn for ingest, so that a flood of questions cannot blind the cameras.

    What has waited for `max_wait` turns goes before its betters: background work is put off, never starved.
    """

    def __init__(self, *, ingest_every: int = 4, background_every: int = 16) -> None:
        self._max_wait = {Turn.QUESTION: 1, Turn.INGEST: ingest_every, Turn.BACKGROUND: background_every}
        self._waited = dict.fromkeys(Turn, 0)

    def next_turn(self, waiting: set[Turn]) -> Turn | None:
        """The kind of work to do next among the kinds that wait; None if nothing does."""
        if not waiting:
            return None
        overdue = [turn for turn in Turn if turn in waiting and self._waited[turn] >= self._max_wait[turn]]
        # The rarest of the overdue first: the others' next turn is never far.
        chosen = overdue[-1] if overdue else next(turn for turn in Turn if turn in waiting)
        for turn in Turn:
            self._waited[turn] = self._waited[turn] + 1 if turn in waiting and turn is not chosen else 0
        return chosen
