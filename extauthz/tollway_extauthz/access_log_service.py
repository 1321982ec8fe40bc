"""Envoy's access-log service: the fast way by which the end of a call is learned.

It may lose entries without anyone seeing it; the access-log file (`access_log_file`) is the truth.
"""

from collections.abc import Mapping
from typing import Final

from google.protobuf.struct_pb2 import Struct

from tollway.settling.call_end import CallEnd
from tollway_extauthz.wire.envoy_subset_pb2 import AccessLogs, HTTPEntry

METHOD: Final = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
USAGE: Final = "tollway.usage"
_PERIODIC: Final = 5  # envoy.data.accesslog.v3.AccessLogType.DownstreamPeriodic


def ends_in(message: bytes | bytearray) -> list[CallEnd]:
    """What one message of the stream tells. Raises `google.protobuf.message.DecodeError`."""
    return [call_end(entry) for entry in AccessLogs.FromString(bytes(message)).http_logs.log_entry]


def call_end(entry: HTTPEntry) -> CallEnd:
    """The entry in the core's words."""
    common, response = entry.common_properties, entry.response
    metadata = common.metadata.filter_metadata
    return CallEnd(
        call_id=entry.request.request_id,
        status=response.response_code.value,
        whole=response.response_code_details == "via_upstream",
        reached_provider=common.upstream_wire_bytes_sent > 0,
        usage=_scalars(metadata[USAGE]) if USAGE in metadata else {},
        received=common.upstream_wire_bytes_received,
        compressed=response.response_headers.get("content-encoding", "identity") != "identity",
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
