"""Whether a worker hangs or only waits for a core. Plain rules without a clock or a process."""

from __future__ import annotations

from dataclasses import dataclass

PING_EVERY_S = 0.25
QUICK_HANG_S = 1.0
RUNNING_SHARE = 1 / 3  # of the time that a process had, as processor time: an answer takes a thousandth of it


@dataclass(frozen=True, slots=True)
class Activity:
    """What the kernel says of a process: the processor time of all of its threads, and whether one of them wants more.

    A thread wants more that is ready to run or waits for a disk; one that sleeps or was stopped does not.
    """

    cpu_s: float
    wants_cpu: bool


class Liveness:
    """One worker's answers to pings. A worker hangs that does not answer for `hang_s`, whatever it does.

    One that says nothing at all hangs after QUICK_HANG_S if it had a core meanwhile (an endless loop) or wants none
    (it was stopped, or its threads wait for each other). One that waits for a core on a busy machine has more time.
    """

    def __init__(self, hang_s: float) -> None:
        self._hang_s = hang_s
        self._asked_s: float | None = None  # when the ping was sent that has no answer
        self._next_ping_s = 0.0
        self._silent: tuple[float, Activity] | None = None  # since when, and what it did then

    def heard(self, *, has_answered: bool) -> None:
        """The worker has said something, or answered the ping."""
        self._silent = None
        if has_answered:
            self._asked_s = None

    def needs_ping(self, now_s: float) -> bool:
        """Whether a ping is due; counts it as sent if so."""
        if self._asked_s is not None or now_s < self._next_ping_s:
            return False
        self._asked_s, self._next_ping_s = now_s, now_s + PING_EVERY_S
        return True

    def late_s(self, now_s: float) -> float:
        """For how long a ping has had no answer; 0 while it need not have one."""
        waited_s = 0.0 if self._asked_s is None else now_s - self._asked_s
        return waited_s if waited_s >= PING_EVERY_S / 2 else 0.0

    def is_hung(self, now_s: float, activity: Activity) -> bool:
        """Judges a late worker by what it does now and did at the first such call since it was heard.

        What it said before must have been read between the two: this process may have been slow, too.
        """
        if self._silent is None:
            self._silent = now_s, activity
            return False
        since_s, before = self._silent
        silent_s, ran_s = now_s - since_s, activity.cpu_s - before.cpu_s
        is_stuck = ran_s >= RUNNING_SHARE * silent_s or not activity.wants_cpu
        return self.late_s(now_s) >= self._hang_s or (silent_s >= QUICK_HANG_S and is_stuck)
