"""Processes in virtual time: everything that one starts stands still while it is stopped, and ends when it is killed.

What runs in a process is told by the context of its tasks, which every task, timer and callback inherits. So the real
code runs unchanged, and stops between any two steps of its event loop, as a process stops.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from enum import Enum
from typing import Any, TypeVar

from tests.virtual_time import VirtualLoop, now_s

_EPOCH_S = 1_700_000_000.0  # of the wall clocks
_PROCESS: contextvars.ContextVar[VirtualProcess] = contextvars.ContextVar("process")

T = TypeVar("T")


class ProcessEnded(Exception):
    """The process that was called has ended."""


class Pause(Enum):
    """What stands still: the process alone, as after SIGSTOP, or more, with clocks."""

    PROCESS = "process"
    SUSPENDED = "suspended machine"  # the monotonic clock stands still
    VIRTUAL_MACHINE = "paused virtual machine"  # the boot clock too


class VirtualProcess:
    """A process with clocks of its own. `machine`: processes of one machine can see that another one has died."""

    def __init__(self, name: str, machine: int = 0, clock_rate: float = 1.0) -> None:
        self.name = name
        self.machine = machine
        self.is_dead = False
        self.is_stopped = False
        self.wall_step_s = 0.0
        self._clock_rate = clock_rate
        self._pause, self._stopped_since_s = Pause.PROCESS, 0.0
        self._monotonic_lost_s = 0.0
        self._boot_lost_s = 0.0
        self._waiting: list[_Step] = []
        self._calls: dict[asyncio.Future[Any], None] = {}
        self._context = contextvars.Context()
        self._context.run(_PROCESS.set, self)

    @staticmethod
    def current() -> VirtualProcess | None:
        """The process that the running code is in."""
        return _PROCESS.get(None)

    def wall_s(self) -> float:
        """Unix time, as this process's machine has it."""
        return _EPOCH_S + now_s() + self.wall_step_s

    def monotonic_s(self) -> float:
        """The clock that stands still while the machine does."""
        return now_s() * self._clock_rate - self._monotonic_lost_s

    def boot_s(self) -> float:
        """The clock that goes on while the machine is suspended, though not while a hypervisor pauses it."""
        return now_s() * self._clock_rate - self._boot_lost_s

    def enter(self, work: Callable[[], T]) -> T:
        """Calls a function in this process."""
        return self._context.run(work)

    @staticmethod
    def start_outside(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Starts a task in no process: what the world does, not one of its processes."""
        return asyncio.get_running_loop().create_task(work, context=contextvars.Context())

    @staticmethod
    def outside(work: Callable[[], T]) -> T:
        """Calls a function in no process."""
        return contextvars.Context().run(work)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Starts a task in this process."""
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs in this process and waits for the result in the caller's. Raises ProcessEnded.

        Work goes on when the caller is cancelled, as a request that was sent does.
        """
        return await self._reply(self.start(work))

    async def stream(self, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Iterates in this process and yields in the caller's. Raises ProcessEnded."""
        queue: asyncio.Queue[T] = asyncio.Queue()

        async def pump() -> None:
            async with aclosing(items):
                async for item in items:
                    queue.put_nowait(item)

        inside = self.start(pump())
        reply = asyncio.create_task(self._reply(inside))
        getting: asyncio.Task[T] | None = None
        try:
            while not (reply.done() and queue.empty()):
                getting = getting or asyncio.create_task(queue.get())
                await asyncio.wait((getting, reply), return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    item, getting = getting.result(), None
                    yield item
            reply.result()
        finally:
            for task in (inside, reply, getting):
                if task is not None:
                    task.cancel()

    async def _reply(self, task: asyncio.Task[T]) -> T:
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls[reply] = None
        if self.is_dead:
            reply.set_exception(ProcessEnded(self.name))

        def deliver(task: asyncio.Task[T]) -> None:
            error = ProcessEnded(self.name) if task.cancelled() else task.exception()
            if reply.done():
                return
            if error is not None:
                reply.set_exception(error)
            else:
                reply.set_result(task.result())

        task.add_done_callback(deliver)
        try:
            return await reply
        finally:
            self._calls.pop(reply, None)

    def stop(self, pause: Pause = Pause.PROCESS) -> None:
        """Stands still from now on."""
        self.is_stopped, self._pause, self._stopped_since_s = True, pause, now_s()

    def resume(self) -> None:
        """Goes on where it was; what came meanwhile comes now."""
        if not self.is_stopped:
            return
        lost_s = (now_s() - self._stopped_since_s) * self._clock_rate
        self._monotonic_lost_s += 0.0 if self._pause is Pause.PROCESS else lost_s
        self._boot_lost_s += lost_s if self._pause is Pause.VIRTUAL_MACHINE else 0.0
        self.is_stopped = False
        self._run_waiting()

    def kill(self) -> None:
        """Ends at once, as by SIGKILL."""
        self.is_dead = True
        for reply in self._calls:
            if not reply.done():
                reply.set_exception(ProcessEnded(self.name))

    def bury(self) -> None:
        """Lets the tasks of a dead process run once more, so that they can be cancelled at the end of a test."""
        self.is_dead = self.is_stopped = False
        self._run_waiting()

    def take(self, step: _Step) -> bool:
        """Whether the process runs this step now. -> False if it keeps the step until it goes on."""
        if self.is_dead or self.is_stopped:
            self._waiting.append(step)
            return False
        return True

    def _run_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        waiting, self._waiting = self._waiting, []
        for step in waiting:
            loop.call_soon(step, context=step.context)


class _Step:
    """One callback of a process's event loop."""

    __slots__ = ("_args", "_callback", "_process", "context", "handle")

    def __init__(
        self, process: VirtualProcess, callback: Callable[..., object], args: Any, context: contextvars.Context
    ) -> None:
        self._process, self._callback, self._args, self.context = process, callback, args, context
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        is_cancelled = self.handle is not None and self.handle.cancelled()
        if not is_cancelled and self._process.take(self):
            self._callback(*self._args)


class ProcessLoop(VirtualLoop):
    """An event loop that all virtual processes share."""

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self._planned(super().call_soon, callback, args, context)

    # There is one thread.
    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        def plan(step: Callable[..., object], *args: Any, context: contextvars.Context) -> asyncio.TimerHandle:
            return super(ProcessLoop, self).call_at(when, step, *args, context=context)

        return self._planned(plan, callback, args, context)

    def _planned(
        self,
        plan: Callable[..., Any],
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> Any:
        context = contextvars.copy_context() if context is None else context
        process = context.get(_PROCESS)
        if process is None or isinstance(callback, _Step):
            return plan(callback, *args, context=context)
        step = _Step(process, callback, args, context)
        step.handle = plan(step, context=context)
        return step.handle
