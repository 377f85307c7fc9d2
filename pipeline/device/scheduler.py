"""Which kind of work the device does next: plain policy, without a clock, a thread or a GPU."""

from __future__ import annotations

from enum import Enum


class Turn(Enum):
    """A kind of work; one turn is one job. The most urgent kind comes first."""

    QUESTION = "question"
    INGEST = "ingest"
    BACKGROUND = "background"


class Scheduler:
    """Questions first, but ingest is never starved, and background work is delayed, not starved.

    A kind of work is promoted after max_wait turns: ingest gets a turn after it waited `ingest_every` turns, background
    work after it waited `background_every` turns.
    """

    def __init__(self, *, ingest_every: int = 4, background_every: int = 16) -> None:
        self._max_wait = {Turn.QUESTION: 1, Turn.INGEST: ingest_every, Turn.BACKGROUND: background_every}
        self._waited = dict.fromkeys(Turn, 0)

    def next_turn(self, waiting: set[Turn]) -> Turn | None:
        """The kind of work to do next among those that wait, None if none does."""
        if not waiting:
            return None
        overdue = [turn for turn in Turn if turn in waiting and self._waited[turn] >= self._max_wait[turn]]
        # Of several overdue kinds the rarest comes first: the others become overdue again soon.
        chosen = overdue[-1] if overdue else next(turn for turn in Turn if turn in waiting)
        for turn in Turn:
            self._waited[turn] = self._waited[turn] + 1 if turn in waiting and turn is not chosen else 0
        return chosen
