"""An event loop whose clock jumps to the next timer: hours pass in milliseconds, always in the same order.

Only for code that waits for nothing but timers and other tasks: a socket or a thread that answers later is not waited
for. `asyncio.to_thread` calls its function at once.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

_MAX_STEPS_AT_ONCE = 100_000  # of the loop in which no time passes


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Never blocks: the time that a real loop would sleep is added to the clock instead."""

    now_s = 1_000.0
    steps = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        self.steps += 1
        assert self.steps < _MAX_STEPS_AT_ONCE, "endless loop: tasks go on and on while no time passes"
        if not ready:
            assert timeout is not None, "deadlock: no timer is pending and every task waits"
            self.now_s += max(0.0, timeout)
            self.steps = 0 if timeout > 0 else self.steps
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()`, every sleep and every timeout are virtual."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Calls the function at once: no virtual time passes in it."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits the future gets it
            future.set_exception(error)
        return future


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """For the conftest of a folder: its tests run in virtual time, except those that are marked `real_time`."""
    is_real = item.get_closest_marker("real_time") is not None
    return {"real": asyncio.SelectorEventLoop} if is_real else {"virtual": VirtualLoop}


def run(work: Coroutine[Any, Any, None], loop_factory: Callable[[], VirtualLoop] = VirtualLoop) -> None:
    """Like asyncio.run, in virtual time."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(work)


def now_s() -> float:
    """The clock of the running loop."""
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> float:
    """Waits until the condition is true. -> how long that took, in virtual seconds. Raises TimeoutError."""
    began_s = now_s()
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the condition has no event, and polling costs no real time
            await asyncio.sleep(0.02)
    return now_s() - began_s
