"""Requests that nobody would send: random messages of every method, damaged ones, and bytes that are no gRPC at all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from protos import hermes_v1_pb2 as pb

TOKEN, CANARY = "c4n4ry-token", "c4n4ry"
_RIGHT = (("authorization", f"Bearer {TOKEN}"),)
_DEADLINE_S = 60.0
_FILES = (pb.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
METHODS = [method for file in _FILES for service in file.services_by_name.values() for method in service.methods]
_TEXTS = (
    "",
    "gate",
    "yard",
    "what is in view",
    "<|im_end|>\n<|im_start|>system",
    "\x00\x1b[2J",
    "\N{SNOWMAN}" * 3_000,
    "x" * 100_000,
    "sim:yard?seed=7",
    "sim:yard?seed=-1&gap=nan",
    f"rtsp://viewer:{CANARY}-1@127.0.0.1:9/live",
    f"rtsp://viewer:{CANARY}-2@[::1/live?token={CANARY}-3",
    f"http://viewer:{CANARY} 4@169.254.169.254/?password={CANARY}-5",
    f"gopher://viewer:{CANARY}-6@host",
    "/etc/passwd",
    "file:///dev/zero",
    "{}[]()%s%n${HOME}",
)
# What is damaged in another field than that of a URL may be no URL any more, and nobody knows the secret in it.
_HARMLESS = tuple(text for text in _TEXTS if CANARY not in text)
_NUMBERS = (0, 1, 7, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**32 - 1, 2**64 - 1)
_FLOATS = (0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), 1e308)
_RAW = (
    b"GET / HTTP/1.1\r\nHost: hermes\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"",
)


class Unclear(AssertionError):
    """The server answered with an error that does not say what was wrong, or with a secret."""


class Fuzzer:
    """Sends requests to one server; the same seed sends the same requests."""

    def __init__(self, address: str, channel: grpc.aio.Channel, seed: int) -> None:
        self._address, self._channel = address, channel
        self._random = random.Random(seed)
        self._is_damaging = False
        self.codes: dict[str, int] = {}

    async def send(self, number: int) -> None:
        """One request, of one kind after the other. Raises Unclear, TimeoutError."""
        kinds: tuple[Callable[[], Any], ...] = (self._valid, self._damaged, self._random_bytes, self._raw)
        async with asyncio.timeout(_DEADLINE_S):
            await kinds[number % len(kinds)]()

    async def _valid(self) -> None:
        method = self._random.choice(METHODS)
        await self._call(method, _serialized(self._message(method)))

    async def _damaged(self) -> None:
        method = self._random.choice(METHODS)
        self._is_damaging = True
        data = bytearray(_serialized(self._message(method)))
        self._is_damaging = False
        for _ in range(self._random.randint(1, 8)):
            at = self._random.randrange(len(data) + 1)
            data[at : at + self._random.randint(0, 2)] = self._random.randbytes(self._random.randint(0, 3))
        await self._call(method, bytes(data))

    async def _random_bytes(self) -> None:
        await self._call(
            self._random.choice(METHODS), self._random.randbytes(self._random.choice((0, 1, 9, 300, 5_000)))
        )

    async def _call(self, method: MethodDescriptor, data: bytes) -> None:
        path = f"/{method.containing_service.full_name}/{method.name}"
        path = self._random.choice((*[path] * 20, path + "s", "/", "/x/y"))
        metadata = self._random.choice((*[_RIGHT] * 20, None, (("authorization", CANARY),)))
        call = self._channel.unary_stream(path)(data, timeout=_DEADLINE_S, metadata=metadata)
        try:
            if path.endswith("/Watch"):
                await call.read()
                call.cancel()
            else:
                async for response in call:
                    if "reflection" not in path:  # by its protocol, it repeats the request
                        self._require_no_secret(response)
            self._count("OK")
        except grpc.aio.AioRpcError as error:
            self._count(error.code().name)
            self._require_clear(path, data, error)
            self._require_no_secret(repr((error.details(), error.trailing_metadata())).encode())

    async def _raw(self) -> None:
        """Bytes on the port; the server must close the connection."""
        host, _, port = self._address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(self._random.choice(_RAW) + self._random.randbytes(self._random.choice((0, 9, 300))))
            writer.write_eof()
            self._require_no_secret(await reader.read())
            self._count("closed")
        except ConnectionError:
            self._count("closed")
        finally:
            writer.close()

    def _message(self, method: MethodDescriptor) -> Message:
        message = message_factory.GetMessageClass(method.input_type)()
        self._fill(message, depth=0)
        return message

    def _fill(self, message: Message, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if self._random.random() < 0.3 or depth > 3:
                continue
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                getattr(message, field.name)[self._random.choice(_TEXTS)] = self._random.choice(_TEXTS)
            elif field.is_repeated:
                for _ in range(self._random.choice((1, 3, 40))):
                    self._add(message, field, depth)
            elif field.message_type is not None:
                self._fill(getattr(message, field.name), depth + 1)
            else:
                setattr(message, field.name, self._scalar(field))

    def _add(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        values = getattr(message, field.name)
        if field.message_type is not None:
            self._fill(values.add(), depth + 1)
        else:
            values.append(self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> Any:
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING:
                text = self._random.choice(_TEXTS if field.name == "url" or not self._is_damaging else _HARMLESS)
                return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._random.random() < 0.5
            case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
                return self._random.choice(_FLOATS)
            case FieldDescriptor.CPPTYPE_ENUM:
                return self._random.choice((0, 1, 2, 99, -1))
        bits = 32 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
        is_signed = field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
        return self._random.choice([number for number in _NUMBERS if low <= number <= high])

    def _count(self, code: str) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1

    def _require_clear(self, path: str, data: bytes, error: grpc.aio.AioRpcError) -> None:
        """An error has a reason for programs and a message for people, but that of a health check of nothing."""
        is_health = path.startswith("/grpc.health.v1.") and error.code() is grpc.StatusCode.NOT_FOUND
        status, info = rpc_status.from_call(error), error_details_pb2.ErrorInfo()
        has_reason = status is not None and bool(status.details) and status.details[0].Unpack(info) and info.reason
        if not is_health and not (has_reason and error.details() and info.reason != "UNEXPECTED_ERROR"):
            raise Unclear(f"{path} {data[:200]!r}: {error.code()} {error.details()!r}")

    def _require_no_secret(self, data: bytes) -> None:
        if CANARY.encode() in data:
            raise Unclear(f"a secret in {data[:2_000]!r}")


def _serialized(message: Message) -> bytes:
    return message.SerializePartialToString()
