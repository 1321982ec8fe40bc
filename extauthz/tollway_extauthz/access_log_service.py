"""Envoy's access-log service: the fast way by which the end of a call is learned.

It may lose entries without anyone seeing it; the access-log file (`access_log_file`) is the truth.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import grpc
from google.protobuf.struct_pb2 import Struct

from tollway.ledger.port import LedgerUnavailable
from tollway.settling.call_end import CallEnd
from tollway_extauthz.metrics import Metrics
from tollway_extauthz.wire.envoy_subset_pb2 import AccessLogs, AccessLogsResponse, HTTPEntry

_log = logging.getLogger(__name__)
SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
AUTHZ: Final = "envoy.filters.http.ext_authz"
USAGE: Final = "tollway.usage"
_PERIODIC: Final = 5  # envoy.data.accesslog.v3.AccessLogType.DownstreamPeriodic


class AccessLogService:
    def __init__(self, take: Callable[[CallEnd], None], metrics: Metrics) -> None:
        self._take = take
        self._metrics = metrics

    def handler(self) -> "grpc.GenericRpcHandler[AccessLogs, AccessLogsResponse]":
        stream = grpc.stream_unary_rpc_method_handler(
            self._stream,
            request_deserializer=AccessLogs.FromString,
            response_serializer=AccessLogsResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": stream})

    async def _stream(self, messages: AsyncIterator[AccessLogs], _: object) -> AccessLogsResponse:
        async for message in messages:
            self._metrics.log_entries("service", len(message.http_logs.log_entry))
            for entry in message.http_logs.log_entry:
                self._take_one(entry)
        return AccessLogsResponse()

    def _take_one(self, entry: HTTPEntry) -> None:
        try:
            self._take(call_end(entry))
        except LedgerUnavailable:
            # The other entries of the message must not be lost with it.
            _log.exception("the end of a call could not be settled; the access-log file tells it again")


def call_end(entry: HTTPEntry) -> CallEnd:
    """The entry in the core's words."""
    common = entry.common_properties
    return CallEnd(
        call_id=entry.request.request_id,
        status=entry.response.response_code.value,
        whole=entry.response.response_code_details == "via_upstream",
        reached_provider=common.upstream_wire_bytes_sent > 0,
        usage=_scalars(common.metadata.filter_metadata[USAGE]) if USAGE in common.metadata.filter_metadata else {},
        received=common.upstream_wire_bytes_received,
        compressed=entry.response.response_headers.get("content-encoding", "identity") != "identity",
        final=common.access_log_type != _PERIODIC,
    )


def _scalars(fields: Struct) -> Mapping[str, int | str]:
    """Strings and whole numbers; Envoy's numbers are doubles, so anything past 2^53 is not one that it was given."""
    found: dict[str, int | str] = {}
    for key, value in fields.fields.items():
        if value.WhichOneof("kind") == "string_value":
            found[key] = value.string_value
        elif value.WhichOneof("kind") == "number_value" and value.number_value.is_integer():
            found[key] = int(value.number_value)
    return found
