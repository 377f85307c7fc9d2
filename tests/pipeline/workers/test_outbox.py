"""A worker keeps a bounded number of clips, whatever its shard takes."""

from __future__ import annotations

import numpy as np

from pipeline.sources.clip_queue import DROPPED
from pipeline.sources.clips import Clip
from pipeline.workers.outbox import WINDOW, Outbox

PICTURE = np.zeros((1, 1, 3), np.uint8)


def clip(time_s: float) -> Clip:
    return Clip("lobby", PICTURE[None], (time_s,), (PICTURE,), time_s)


class Sent:
    """What left an outbox, and what it lost."""

    def __init__(self) -> None:
        self.clips: list[Clip] = []
        self.lost = 0
        self.can_wait: bool | None = None
        self.outbox = Outbox(self._send, self._count)

    def _send(self, clip: Clip, can_wait: bool) -> None:
        self.clips.append(clip)
        self.can_wait = can_wait

    def _count(self, frames: int) -> None:
        self.lost += frames


def test_beyond_the_window_the_newest_clip_waits_and_says_what_was_lost() -> None:
    sent = Sent()
    for number in range(WINDOW + 3):
        sent.outbox.put(clip(number))
    assert [clip.times_s[0] for clip in sent.clips] == list(range(WINDOW))
    assert sent.lost == 2

    sent.outbox.taken()

    assert sent.clips[-1].times_s == (WINDOW + 2,)
    assert sent.clips[-1].lost_before == (DROPPED,)
    assert sent.can_wait is False


def test_a_source_that_can_wait_loses_nothing() -> None:
    sent = Sent()
    for number in range(WINDOW):
        assert sent.outbox.wait_for_space("lobby", 0)
        sent.outbox.put(clip(number))

    assert not sent.outbox.wait_for_space("lobby", 0)
    sent.outbox.taken()
    assert sent.outbox.wait_for_space("lobby", 0)
    assert sent.lost == 0
    assert sent.can_wait is True
