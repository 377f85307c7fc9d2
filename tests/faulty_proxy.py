"""A TCP proxy in front of a store, with the faults of real networks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_READ_NBYTES = 1 << 16


@dataclass(slots=True)
class Fault:
    """What the proxy does to the server's answers; may be changed at any time. The default does nothing.

    delay_s: before each piece. is_half_open: no answer arrives. cut_after: bytes of the next answer that arrive before
    the connection is cut. bytes_per_s: the rate of the answers. is_refused: connections are closed at once.
    loses_answer_to: the server receives the first request with these bytes, and its answer is lost with the connection.
    """

    delay_s: float = 0.0
    is_half_open: bool = False
    cut_after: int | None = None
    bytes_per_s: float | None = None
    is_refused: bool = False
    loses_answer_to: bytes | None = None


class FaultyProxy:
    """Forwards connections to a server on this machine, with a fault."""

    def __init__(self, server_port: int) -> None:
        self.fault = Fault()
        self.connections = 0
        self._server_port = server_port
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FaultyProxy]:
        """Accepts connections during the block."""
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        # Only `open` cancels this task, at its end; asyncio would report that as an error.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if not self.fault.is_refused:
                await self._connect(reader, writer)
        writer.transport.abort()
        self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        is_cut = asyncio.Event()
        requests = asyncio.create_task(self._forward_requests(reader, server_writer, is_cut))
        try:
            await self._forward_answers(server_reader, writer, is_cut)
        finally:
            requests.cancel()
            server_writer.transport.abort()

    async def _forward_requests(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, is_cut: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await client.read(_READ_NBYTES):
                if self.fault.loses_answer_to is not None and self.fault.loses_answer_to in data:
                    self.fault.loses_answer_to = None
                    is_cut.set()
                server.write(data)
                await server.drain()

    async def _forward_answers(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, is_cut: asyncio.Event
    ) -> None:
        while data := await server.read(_READ_NBYTES):
            fault = self.fault
            if is_cut.is_set():
                return
            if fault.is_half_open:
                await asyncio.Event().wait()
            if fault.cut_after is not None:
                client.write(data[: fault.cut_after])
                await client.drain()
                return
            await asyncio.sleep(fault.delay_s + (len(data) / fault.bytes_per_s if fault.bytes_per_s else 0.0))
            client.write(data)
            await client.drain()
