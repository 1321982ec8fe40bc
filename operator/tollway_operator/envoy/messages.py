"""From typed messages to the bytes that Envoy reads: proto3 JSON, always in the same order."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeAlias

import betterproto2
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.service.discovery import v3 as discovery
from envoy_data_plane.google.protobuf import Any as PackedAny
from envoy_data_plane.google.protobuf import Struct

JSON: TypeAlias = "str | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"

DATA_LINK = "..data"
"""The symbolic link inside a watched directory that is swapped to change all of its files at once."""


def packed(message: betterproto2.Message) -> PackedAny:
    return PackedAny.pack(message)


def extension(name: str, message: betterproto2.Message) -> core.TypedExtensionConfig:
    return core.TypedExtensionConfig(name=name, typed_config=packed(message))


def http_filter(name: str, message: betterproto2.Message) -> hcm.HttpFilter:
    return hcm.HttpFilter(name=name, typed_config=packed(message))


def struct(value: Mapping[str, JSON]) -> Struct:
    made: Struct = Struct.from_dict(dict(value))
    return made


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def file_of(directory: str, name: str) -> str:
    """The path of a file in a watched directory: through the link, so that it changes with all others."""
    return f"{directory}/{DATA_LINK}/{name}"


def watched(directory: str) -> core.WatchedDirectory:
    return core.WatchedDirectory(path=directory)


def file_source(directory: str, name: str) -> core.ConfigSource:
    """A file as the source of configuration, read again when the directory's `..data` link is replaced."""
    return core.ConfigSource(
        path_config_source=core.PathConfigSource(path=file_of(directory, name), watched_directory=watched(directory)),
        resource_api_version=core.ApiVersion.V3,
    )


def render(message: betterproto2.Message) -> bytes:
    return (json.dumps(message.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def render_resources(resources: Sequence[betterproto2.Message]) -> bytes:
    """A file of resources. Its version is a digest of them: Envoy's administration page tells which one it runs."""
    response = discovery.DiscoveryResponse(resources=[packed(resource) for resource in resources])
    response.version_info = hashlib.sha256(render(response)).hexdigest()[:16]
    return render(response)
