"""The gRPC status of each error of this system: one row per error class, with a google.rpc.Status around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from actors.errors import (
    CameraRecovering,
    ClientTooSlow,
    InvalidRequest,
    InvalidShard,
    OwnershipUnproven,
    ScalingConflict,
    ServerStarting,
    ServiceError,
    ShardUnavailable,
    TooManyCalls,
    UnknownMethod,
)
from cache_store.errors import OwnedByAnother, StoreError, StoreUnavailable, StoreUnfit
from pipeline.answers import (
    AnswerFailed,
    InvalidQuestion,
    NoFrames,
    NoFramesYet,
    Overloaded,
    QuestionError,
    QuestionExpired,
    UnknownCamera,
)
from pipeline.cameras import (
    CameraChanged,
    CameraError,
    CameraExists,
    CameraFailed,
    DeviceFull,
    InvalidCamera,
    InvalidMask,
    SourceChanged,
    SourceError,
    SourceInvalid,
    SourceUnreachable,
    TooManyCameras,
    TooManyTests,
)
from pipeline.network.redaction import REDACTOR

DOMAIN = "hermes"
_RETRY_AFTER_S = 1
# A status travels in the trailers, percent-encoded and once more inside its details, and trailers hold 8 KiB in all.
_MAX_MESSAGE_NBYTES = 1_024

Code = grpc.StatusCode

# The first row that matches decides, so subclasses stand before their base classes.
ROWS: tuple[tuple[type[Exception], grpc.StatusCode, str], ...] = (
    (UnknownCamera, Code.NOT_FOUND, "UNKNOWN_CAMERA"),
    (InvalidQuestion, Code.INVALID_ARGUMENT, "INVALID_QUESTION"),
    (Overloaded, Code.RESOURCE_EXHAUSTED, "TOO_MANY_QUESTIONS"),
    (AnswerFailed, Code.ABORTED, "ANSWER_FAILED"),
    (QuestionExpired, Code.DEADLINE_EXCEEDED, "QUESTION_EXPIRED"),
    (NoFramesYet, Code.UNAVAILABLE, "NO_FRAMES_YET"),
    (NoFrames, Code.FAILED_PRECONDITION, "NO_FRAMES"),
    (QuestionError, Code.INTERNAL, "QUESTION_FAILED"),
    (InvalidMask, Code.INVALID_ARGUMENT, "INVALID_MASK"),
    (InvalidCamera, Code.INVALID_ARGUMENT, "INVALID_CAMERA"),
    (CameraExists, Code.ALREADY_EXISTS, "CAMERA_EXISTS"),
    (DeviceFull, Code.RESOURCE_EXHAUSTED, "DEVICE_FULL"),
    (TooManyCameras, Code.RESOURCE_EXHAUSTED, "TOO_MANY_CAMERAS"),
    (TooManyTests, Code.RESOURCE_EXHAUSTED, "TOO_MANY_TESTS"),
    (SourceUnreachable, Code.UNAVAILABLE, "SOURCE_UNREACHABLE"),
    (SourceInvalid, Code.FAILED_PRECONDITION, "SOURCE_INVALID"),
    (CameraFailed, Code.INTERNAL, "CAMERA_FAILED"),
    (CameraChanged, Code.ABORTED, "CAMERA_CHANGED"),
    (SourceChanged, Code.FAILED_PRECONDITION, "SOURCE_CHANGED"),
    (CameraError, Code.INTERNAL, "CAMERA_ERROR"),
    (StoreUnavailable, Code.UNAVAILABLE, "STORE_UNAVAILABLE"),
    (StoreUnfit, Code.FAILED_PRECONDITION, "STORE_UNFIT"),
    (OwnedByAnother, Code.UNAVAILABLE, "CAMERA_OWNED_ELSEWHERE"),
    (StoreError, Code.INTERNAL, "STORE_FAILED"),
    (CameraRecovering, Code.UNAVAILABLE, "CAMERA_RECOVERING"),
    (InvalidShard, Code.FAILED_PRECONDITION, "INVALID_SHARD"),
    (ScalingConflict, Code.ABORTED, "SCALING_CONFLICT"),
    (InvalidRequest, Code.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (OwnershipUnproven, Code.UNAVAILABLE, "OWNERSHIP_UNPROVEN"),
    (ServerStarting, Code.UNAVAILABLE, "SERVER_STARTING"),
    (ShardUnavailable, Code.UNAVAILABLE, "SHARD_UNAVAILABLE"),
    (ClientTooSlow, Code.DEADLINE_EXCEEDED, "CLIENT_TOO_SLOW"),
    (TooManyCalls, Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"),
    (UnknownMethod, Code.UNIMPLEMENTED, "UNKNOWN_METHOD"),
    (ServiceError, Code.INTERNAL, "SERVICE_FAILED"),
)
ERRORS = tuple(kind for kind, _, _ in ROWS)
# Of calls that the guard ends before an error of this system, or because of one that nobody foresaw.
UNAUTHENTICATED, UNEXPECTED = "UNAUTHENTICATED", "UNEXPECTED_ERROR"
REASONS = (*(reason for _, _, reason in ROWS), UNAUTHENTICATED, UNEXPECTED)
_RETRYABLE = (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED)


def status_of(error: Exception, **metadata: str) -> status_pb2.Status:
    """The status of one error, with ErrorInfo and, if a retry helps, RetryInfo."""
    code, reason = next((code, reason) for kind, code, reason in ROWS if isinstance(error, kind))
    if isinstance(error, SourceError):
        metadata["source_reason"] = error.reason.name
    return make_status(code, reason, str(error), **metadata)


def make_status(code: grpc.StatusCode, reason: str, message: str, **metadata: str) -> status_pb2.Status:
    """A google.rpc.Status with a reason for programs and a message for people, secrets removed, at most 1 KiB long."""
    redacted = {key: REDACTOR.redact(value) for key, value in metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=redacted)
    details = [_packed(info)]
    if code in _RETRYABLE:
        delay = duration_pb2.Duration(seconds=_RETRY_AFTER_S)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=code.value[0], message=shortened(REDACTOR.redact(message)), details=details)


@asynccontextmanager
async def translated_errors(context: grpc.aio.ServicerContext[Any, Any], **metadata: str) -> AsyncIterator[None]:
    """Ends the call with the status of an error of this system that leaves the block.

    metadata: of that status; stands in the log lines of the call too.
    """
    structlog.contextvars.bind_contextvars(**metadata)  # a call has a context of its own, which ends with it
    try:
        yield
    except ERRORS as error:
        await context.abort_with_status(rpc_status.to_status(status_of(error, **metadata)))


def shortened(message: str) -> str:
    """The message, cut at 1 KiB: a limit that trailers hold, and enough for people."""
    data = message.encode(errors="replace")
    if len(data) <= _MAX_MESSAGE_NBYTES:
        return message
    return data[:_MAX_MESSAGE_NBYTES].decode(errors="ignore") + "…"


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
