"""The context of a call that notes how the call ends: gRPC tells nobody but the client."""

from __future__ import annotations

from typing import Any, cast

import grpc.aio
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from actors.metrics.call_metrics import CallOutcome

Context = grpc.aio.ServicerContext[Any, Any]


class _ObservedContext:
    """Everything of the context; `outcome` gets code and reason when the call is ended with a status."""

    def __init__(self, context: Context, outcome: CallOutcome) -> None:
        self._context = context
        self._outcome = outcome

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def abort_with_status(self, status: grpc.Status) -> None:
        """See grpc.aio.ServicerContext."""
        self._outcome.code = status.code.name
        self._outcome.reason = _reason(status)
        await self._context.abort_with_status(status)


def observed(context: Context, outcome: CallOutcome) -> Context:
    """The same context for the one that serves the call."""
    return cast(Context, _ObservedContext(context, outcome))


def _reason(status: grpc.Status) -> str:
    """The reason in the status that make_status has put together."""
    for _, value in status.trailing_metadata or ():
        info = error_details_pb2.ErrorInfo()
        if any(detail.Unpack(info) for detail in status_pb2.Status.FromString(value).details):
            return str(info.reason)
    return ""
