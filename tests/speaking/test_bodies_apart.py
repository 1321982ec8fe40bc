"""A large question is taken apart into the same that protobuf's own reader reads; what is unusual is left to it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway_extauthz.body_reader import BIG
from tollway_extauthz.questions import asked_in
from tollway_extauthz.wire.body_apart import body_apart
from tollway_extauthz.wire.envoy_subset_pb2 import CheckRequest

BODIES = st.binary(max_size=400).map(lambda some: some * 700)
NAMES = st.text(st.characters(codec="utf-8"), max_size=300)


def _asked(body: bytes, certificate: str = "proof", path: str = "/openai/v1/chat/completions") -> CheckRequest:
    asked = CheckRequest()
    asked.attributes.source.certificate = certificate
    asked.attributes.context_extensions["provider"] = "openai"
    http = asked.attributes.request.http
    http.method, http.path, http.raw_body = "POST", path, body
    http.header_map.headers.add(key="x-request-id", raw_value=b"a-call")
    return asked


@settings(deadline=None, max_examples=50)
@given(body=BODIES, certificate=NAMES, path=NAMES)
def test_the_body_and_the_rest_are_those_of_the_message(body: bytes, certificate: str, path: str) -> None:
    whole = _asked(body, certificate, path)
    attributes, read = asked_in(bytearray(whole.SerializeToString()))
    assert bytes(read) == body
    for each in (attributes, whole.attributes):
        each.request.http.raw_body = b""
    assert attributes == whole.attributes


def test_a_large_body_stays_in_the_memory_where_it_was_received() -> None:
    message = bytearray(_asked(b"x" * BIG).SerializeToString())
    _, body = asked_in(message)
    assert body is message


@pytest.mark.parametrize(
    "more",
    [b"\x0a\x00", b"\x0a\x06\x22\x04\x12\x02\x62\x00", b"\x0a\x7f", b"\x0b", b"\x0a" + b"\xff" * 11, b"\x08"],
    ids=["two attributes", "two bodies", "cut", "a group", "an endless number", "no number"],
)
def test_an_unusual_message_is_left_as_it_is(more: bytes) -> None:
    message = bytearray(_asked(b"x" * BIG).SerializeToString() + more)
    before = bytes(message)
    assert body_apart(message) is None
    assert message == before


@given(st.binary(max_size=200))
def test_whatever_comes_does_no_harm(message: bytes) -> None:
    body_apart(bytearray(message))
