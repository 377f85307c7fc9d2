"""A gRPC client that learns the API by server reflection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class ReflectedClient:
    """Calls methods by name with plain dicts."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        self._pool = descriptor_pool.DescriptorPool(self._database)

    def services(self) -> list[str]:
        return sorted(self._database.get_services())

    def call(self, service: str, method: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The responses, one or many."""
        described = self._pool.FindServiceByName(service).FindMethodByName(method)
        request_class = message_factory.GetMessageClass(described.input_type)
        connect = self._channel.unary_stream if described.server_streaming else self._channel.unary_unary
        run = connect(
            f"/{service}/{method}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=message_factory.GetMessageClass(described.output_type).FromString,
        )
        responses = run(json_format.ParseDict(request, request_class()), timeout=30)
        for response in responses if described.server_streaming else [responses]:
            yield json_format.MessageToDict(response, preserving_proto_field_name=True)

    def close(self) -> None:
        self._channel.close()
