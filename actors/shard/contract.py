"""What crosses the boundary of a shard's process, as JSON: routers and shards of two versions understand each other.

A call holds its arguments by name; a reply holds a value, an event of an answer, or an error. A reader passes over
fields and events that it does not know; a field that the writer did not know has its default. What must not be passed
over, such as another default or a new value of an enumeration, needs a new CONTRACT_VERSION.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, get_type_hints

import pydantic

from actors.config.schema import ShardSettings
from actors.errors import ServiceError
from actors.shard.interface import OPERATIONS, Shard
from cache_store.errors import StoreError
from pipeline.answers import AnswerEvent, Done, Evidence, QuestionError, Started, Token
from pipeline.cameras import CameraError, SourceReason

CONTRACT_VERSION = 1

_ERROR_ROOTS = (ServiceError, StoreError, CameraError, QuestionError)
_CONFIG = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


class _Message(pydantic.BaseModel):
    model_config = _CONFIG


class _Error(_Message):
    """types: its class and those above it, the nearest first; none for an error that nobody foresaw."""

    types: tuple[str, ...]
    message: str
    details: dict[str, str] = {}


class _Event(_Message):
    """One of these."""

    started: Started | None = None
    token: Token | None = None
    evidence: Evidence | None = None
    done: Done | None = None
    error: _Error | None = None


class _Settings(_Message):
    settings: ShardSettings


def encode_settings(settings: ShardSettings) -> str:
    """What a shard's process is started with, without what is at its default, as in a call."""
    return _Settings(settings=settings).model_dump_json(exclude_defaults=True)


def decode_settings(text: str) -> ShardSettings:
    """Raises ValueError for a key that this version does not know, and for a value out of its range."""
    return _Settings.model_validate_json(text).settings


def encode_call(operation: str, *args: object, **kwargs: object) -> str:
    """The call of an operation of Shard.

    What is at its default is left out: a version refuses keys of a camera that it does not know, so the version before
    can watch every camera that uses none of the newer ones.
    """
    arguments = inspect.signature(getattr(Shard, operation)).bind(None, *args, **kwargs).arguments
    del arguments["self"]
    call, kind = _call_types(operation)
    return call(contract=CONTRACT_VERSION, arguments=kind(**arguments)).model_dump_json(exclude_defaults=True)


def decode_call(operation: str, text: str) -> dict[str, Any]:
    """The arguments of a call by name. Raises ValueError, and what an invalid camera raises."""
    # A caller must reach the operations of the interface, and no other attribute.
    if operation not in OPERATIONS:
        raise ValueError(f"operation {operation!r}: a shard has only {', '.join(sorted(OPERATIONS))}")
    call, _ = _call_types(operation)
    message: Any = call.model_validate_json(text)
    if message.contract != CONTRACT_VERSION:
        raise ValueError(f"a call of contract {message.contract} (this shard speaks {CONTRACT_VERSION})")
    return {name: getattr(message.arguments, name) for name in message.arguments.model_fields_set}


def encode_result(operation: str, value: object) -> str:
    """The reply of an operation that succeeded."""
    return _reply_type(operation)(value=value).model_dump_json()


def encode_event(event: AnswerEvent) -> str:
    """An event of an answer."""
    return _Event.model_validate({type(event).__name__.lower(): event}).model_dump_json(exclude_unset=True)


def encode_error(error: Exception) -> str:
    """The reply of an operation, and the end of an answer, that failed."""
    types = tuple(kind.__name__ for kind in type(error).__mro__ if issubclass(kind, _ERROR_ROOTS))
    message = str(error) if is_foreseen(error) else f"{type(error).__name__}: {error}"
    details = {name: value for name, value in vars(error).items() if isinstance(value, str)}
    return _Event(error=_Error(types=types, message=message, details=details)).model_dump_json(exclude_unset=True)


def decode_result(operation: str, text: str) -> Any:
    """The value of a reply. Raises the error in it, and ValueError for a reply that cannot be read."""
    reply: Any = _reply_type(operation).model_validate_json(text)
    if reply.error is not None:
        raise _decoded(reply.error)
    return reply.value


def decode_event(text: str) -> AnswerEvent | None:
    """An event of an answer, None for one that this version does not know. Raises as `decode_result` does."""
    event = _Event.model_validate_json(text)
    if event.error is not None:
        raise _decoded(event.error)
    return event.started or event.token or event.evidence or event.done


def is_foreseen(error: Exception) -> bool:
    """Whether the caller gets an error of this class."""
    return isinstance(error, _ERROR_ROOTS)


def _decoded(error: _Error) -> Exception:
    """The error of the nearest class that this version knows; RuntimeError for one that nobody foresaw."""
    classes = _error_types()
    kind = next((classes[name] for name in error.types if name in classes), None)
    if kind is None:
        return RuntimeError(f"a shard failed: {error.message}")
    decoded = kind(error.message)
    for name, value in error.details.items():
        if hasattr(decoded, name):
            present = getattr(decoded, name)
            setattr(decoded, name, _reason(value) if isinstance(present, SourceReason) else value)
    return decoded


def _reason(value: str) -> SourceReason:
    return SourceReason(value) if value in set(SourceReason) else SourceReason.UNKNOWN


@cache
def _call_types(operation: str) -> tuple[type[pydantic.BaseModel], type[pydantic.BaseModel]]:
    """The model of a call, and that of its arguments."""
    function = getattr(Shard, operation)
    types = get_type_hints(function)
    fields: dict[str, Any] = {
        name: (types[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }
    arguments = pydantic.create_model("Arguments", __base__=_Message, **fields)
    return pydantic.create_model("Call", __base__=_Message, contract=(int, ...), arguments=(arguments, ...)), arguments


@cache
def _reply_type(operation: str) -> type[pydantic.BaseModel]:
    result: Any = get_type_hints(getattr(Shard, operation))["return"]
    return pydantic.create_model("Reply", __base__=_Message, value=(result | None, None), error=(_Error | None, None))


@cache
def _error_types() -> dict[str, type[Exception]]:
    found: dict[str, type[Exception]] = {}
    pending: list[type[Exception]] = list(_ERROR_ROOTS)
    while pending:
        kind = pending.pop()
        found[kind.__name__] = kind
        pending += kind.__subclasses__()
    return found
