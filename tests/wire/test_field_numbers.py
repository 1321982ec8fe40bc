"""Our slim messages must be readable by Envoy: every field's number is the one of Envoy's own descriptors."""

import dataclasses
from importlib import import_module

import pytest
from google.protobuf.descriptor import Descriptor

from tollway_extauthz.wire import envoy_subset_pb2 as wire

_PACKAGE = "envoy_data_plane"
ENVOY_TYPES = {
    "CheckRequest": ("envoy.service.auth.v3", "CheckRequest"),
    "AttributeContext": ("envoy.service.auth.v3", "AttributeContext"),
    "AttributeContext.Peer": ("envoy.service.auth.v3", "AttributeContextPeer"),
    "AttributeContext.Request": ("envoy.service.auth.v3", "AttributeContextRequest"),
    "AttributeContext.HttpRequest": ("envoy.service.auth.v3", "AttributeContextHttpRequest"),
    "HeaderMap": ("envoy.config.core.v3", "HeaderMap"),
    "HeaderValue": ("envoy.config.core.v3", "HeaderValue"),
    "HeaderValueOption": ("envoy.config.core.v3", "HeaderValueOption"),
    "CheckResponse": ("envoy.service.auth.v3", "CheckResponse"),
    "HttpStatus": ("envoy.type.v3", "HttpStatus"),
    "DeniedHttpResponse": ("envoy.service.auth.v3", "DeniedHttpResponse"),
    "OkHttpResponse": ("envoy.service.auth.v3", "OkHttpResponse"),
}


def _ours(name: str) -> Descriptor:
    outer, _, inner = name.partition(".")
    descriptor = wire.DESCRIPTOR.message_types_by_name[outer]
    return descriptor.nested_types_by_name[inner] if inner else descriptor


@pytest.mark.parametrize("name", ENVOY_TYPES)
def test_every_field_has_envoys_number(name: str) -> None:
    package, theirs = ENVOY_TYPES[name]
    message = getattr(import_module(f"{_PACKAGE}.{package}"), theirs)
    numbers = {
        f.name: f.metadata["betterproto"].number for f in dataclasses.fields(message) if "betterproto" in f.metadata
    }
    assert {f.name: f.number for f in _ours(name).fields}.items() <= numbers.items()


def test_every_message_is_compared() -> None:
    ours = set(wire.DESCRIPTOR.message_types_by_name) - {"Status"}
    assert ours == {name for name in ENVOY_TYPES if "." not in name}
