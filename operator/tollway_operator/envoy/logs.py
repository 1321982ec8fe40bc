"""What Envoy tells of every call when it ends, in a file that extauthz follows: nothing is lost while nobody reads it.

It carries no prompt, no answer and no credential: headers are named one by one, and the provider's key is put in where
no log looks.
"""

from envoy_data_plane.envoy.config.accesslog import v3 as accesslog
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.access_loggers.file import v3 as file_log
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm

from tollway_operator.envoy.messages import packed, seconds, struct
from tollway_operator.envoy.vocabulary import (
    EXT_AUTHZ,
    PROVIDER_REQUEST_ID,
    ROUTE_METADATA,
    USAGE_METADATA,
)

FILE_FORMAT = {
    "id": "%REQ(x-request-id)%",
    "call": f"%DYNAMIC_METADATA({EXT_AUTHZ}:call)%",
    "provider": f"%DYNAMIC_METADATA({ROUTE_METADATA}:provider)%",
    "usage": f"%DYNAMIC_METADATA({USAGE_METADATA})%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_bytes_sent": "%UPSTREAM_WIRE_BYTES_SENT%",
    "upstream_bytes_received": "%UPSTREAM_WIRE_BYTES_RECEIVED%",
    "upstream_ms": "%RESPONSE_DURATION%",
    "upstream_id": f"%RESP({PROVIDER_REQUEST_ID})%",
    "request_bytes": "%BYTES_RECEIVED%",
    "response_bytes": "%BYTES_SENT%",
    "start": "%START_TIME(%s%3f)%",
    "duration": "%DURATION%",
    "type": "%ACCESS_LOG_TYPE%",
    "tls_group": "%DOWNSTREAM_TLS_GROUP%",
    "content_type": "%RESP(content-type)%",
    # An answer that is compressed all the same holds more than its bytes.
    "content_encoding": "%RESP(content-encoding)%",
}
"""A line of the file. Values keep their JSON types; what there is none of is null. Times in ms."""


def access_log(path: str) -> accesslog.AccessLog:
    line = core.SubstitutionFormatString(json_format=struct(FILE_FORMAT))
    return accesslog.AccessLog(
        name="envoy.access_loggers.file", typed_config=packed(file_log.FileAccessLog(path=path, log_format=line))
    )


def while_open(still_open_ms: int) -> hcm.HttpConnectionManagerHcmAccessLogOptions:
    """A call that runs on says so: its hold is renewed by that."""
    return hcm.HttpConnectionManagerHcmAccessLogOptions(access_log_flush_interval=seconds(still_open_ms / 1000))
