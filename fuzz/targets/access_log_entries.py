"""Entries of Envoy's access-log service: whatever they say, an end that a settler can rely on."""

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from fuzz.targets.access_log_lines import check_end
from tollway_extauthz.access_log_service import USAGE, ends_in
from tollway_extauthz.wire.envoy_subset_pb2 import AccessLogs


def seeds() -> Iterator[bytes]:
    logs = AccessLogs()
    entry = logs.http_logs.log_entry.add()
    entry.request.request_id = "11111111-2222-3333-4444-555555555555"
    entry.response.response_code.value = 200
    entry.response.response_code_details = "via_upstream"
    entry.response.response_headers["content-encoding"] = "gzip"
    entry.common_properties.upstream_wire_bytes_sent = 812
    entry.common_properties.upstream_wire_bytes_received = 2**63
    usage = entry.common_properties.metadata.filter_metadata[USAGE].fields
    usage["prompt_tokens"].number_value = 12
    usage["completion_tokens"].number_value = 0.5
    usage["service_tier"].string_value = "default"
    usage["response_model"].list_value.values.add().bool_value = True
    yield logs.SerializeToString()
    usage["total_tokens"].number_value = float("nan")
    usage["cached_tokens"].number_value = float("inf")
    entry.common_properties.access_log_type = 5
    yield logs.SerializeToString()


def check(data: bytes) -> None:
    try:
        ends = ends_in(data)
    except DecodeError:
        return  # the access-log file tells it, too
    for end in ends:
        check_end(end)
