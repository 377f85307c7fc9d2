"""Which work the device does next, and how much of it in one pass: plain policy, without a clock, a thread or a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

_BACKLOG_PARTS = 4  # batches, at most, for the frames that wait


class Work(Enum):
    """A kind of work. The most urgent kind comes first, the rarest last.

    A step of frames is three pieces of work, one after the other, because a question waits for the piece at hand.
    """

    PREFILL = "prefill"  # of questions
    DECODE = "decode"  # one token of each answer
    COMPACT = "compact"  # the memories that have no room for another step
    APPEND = "append"  # steps of frames that are encoded
    ENCODE = "encode"  # one step of frames of each camera
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Turn:
    """What runs next: the first `count` of one kind of work, as one batch. count: at least 1."""

    work: Work
    count: int


class Scheduler:
    """Questions first, but no kind of work is starved.

    A prefill comes before the next token of the answers that run, because its client has no word yet. A kind of work
    that waited so many turns is promoted: decoding after `decode_every`, the next step of frames after `encode_every`,
    what is left of a step after `step_every`, background work after `background_every`. max_tokens: of one batch; work
    that has more by itself runs alone.
    """

    def __init__(
        self,
        *,
        max_tokens: int,
        decode_every: int = 1,
        step_every: int = 1,
        encode_every: int = 2,
        background_every: int = 16,
    ) -> None:
        self._max_tokens = max_tokens
        self._max_wait = {
            Work.PREFILL: 1,
            Work.DECODE: decode_every,
            Work.COMPACT: step_every,
            Work.APPEND: step_every,
            Work.ENCODE: encode_every,
            Work.BACKGROUND: background_every,
        }
        self._waited = dict.fromkeys(Work, 0)

    def next_turn(self, waiting: Mapping[Work, Sequence[int]], quick_tokens: int | None = None) -> Turn | None:
        """What to do next of what waits, None if nothing does.

        waiting: for each kind of work the tokens of each piece, in the order in which they are due; empty where none
        waits. quick_tokens: of frames that take no longer than a question may wait for the end of a batch, if that is
        known. A batch of frames has as many at most, or a quarter of those that wait: larger batches take less time in
        all, which matters where frames pile up.
        """
        kinds = [work for work in Work if waiting.get(work)]
        if not kinds:
            return None
        overdue = [work for work in kinds if self._waited[work] >= self._max_wait[work]]
        # Of several overdue kinds the rarest comes first: the others become overdue again soon.
        chosen = overdue[-1] if overdue else kinds[0]
        for work in Work:
            self._waited[work] = self._waited[work] + 1 if work in kinds and work is not chosen else 0
        pieces = waiting[chosen]
        limit = self._max_tokens
        if chosen is Work.ENCODE and quick_tokens is not None:
            limit = min(limit, max(quick_tokens, sum(pieces) // _BACKLOG_PARTS))
        return Turn(chosen, _count(pieces, limit))


def _count(tokens: Sequence[int], limit: int) -> int:
    """How many of the first pieces fit one batch together."""
    return max(1, sum(total <= limit for total in accumulate(tokens)))
