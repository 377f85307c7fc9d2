"""Why a call failed: the server's own error, or that no server answered.

ClientError             with the server's reason, or UNREACHABLE, NO_ANSWER_IN_TIME
├── InvalidCredentials  the client's own TLS files, its token or its address cannot be used
├── InvalidText         a text of the call cannot be sent: it has no UTF-8
└── InvalidNumber       a number of the call cannot be sent: it is too large, or negative
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from console.client.proxies import host_of, proxy_of

_MISTAKES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


@dataclass(eq=False)
class ClientError(Exception):
    """A call that the server refused or that did not reach it. `reason` is for programs, e.g. UNKNOWN_CAMERA."""

    message: str
    reason: str
    code: grpc.StatusCode
    metadata: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    @property
    def is_mistake(self) -> bool:
        """Whether the caller must change the call before it can succeed."""
        return self.code in _MISTAKES


class InvalidCredentials(ClientError):
    """The TLS files, the token or the address of a client cannot be used; the message names which."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "INVALID_CREDENTIALS", grpc.StatusCode.INVALID_ARGUMENT)


class InvalidText(ClientError):
    """A text of a call that no message can carry: half of a surrogate pair, or bytes that were not UTF-8."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r}: not UTF-8 text", "INVALID_TEXT", grpc.StatusCode.INVALID_ARGUMENT)


class InvalidNumber(ClientError):
    """A number of a call that its field cannot hold."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "INVALID_NUMBER", grpc.StatusCode.INVALID_ARGUMENT)


def error_of(call: Any, address: str, *, uses_tls: bool) -> ClientError:
    """The error of a call that failed at this address."""
    status = rpc_status.from_call(call)
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return ClientError(call.details(), info.reason, call.code(), dict(info.metadata))
    if call.code() is grpc.StatusCode.UNAVAILABLE:
        text = _unreachable(call.details(), address, uses_tls=uses_tls)
        if proxy := proxy_of(address):
            text += f"; the environment sends it through a proxy, {proxy}: no_proxy={host_of(address)} would not"
        return ClientError(text, "UNREACHABLE", call.code())
    if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ClientError(f"hermes at {address}: no answer in time", "NO_ANSWER_IN_TIME", call.code())
    if call.code() is grpc.StatusCode.CANCELLED:  # by the server: this client's own calls end without an error
        message = f"hermes at {address} ended the call, as a server does that stops; try again once it is up"
        return ClientError(message, "CANCELLED", call.code())
    return ClientError(f"hermes at {address}: {call.details()}", call.code().name, call.code())


def _unreachable(details: str, address: str, *, uses_tls: bool) -> str:
    host = host_of(address)
    if "lookup" in details:  # both resolvers of gRPC say so
        return f"no hermes answers at {address}: host {host!r} has no address; --address is HOST:PORT"
    if "Hostname Verification" in details:
        return (
            f"the server at {address} has a certificate that does not name {host!r}: use a name that it names, or "
            f"make one that does (hermes certs --host {host})"
        )
    if uses_tls:
        return (
            f"no hermes answers at {address} over TLS: {details}; for a server with an authority of its own "
            "give its certificate (--ca), for one that wants a client's certificate --cert and --key, for one "
            "without TLS --insecure"
        )
    return (
        f"no hermes answers at {address}; start one with: hermes demo, or hermes serve --config FILE; if it "
        "has TLS, give its authority (--ca)"
    )
