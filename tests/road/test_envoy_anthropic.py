"""Anthropic on the real road: its key, its headers, its usage, and failures of our own parts in its shape."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from road.envoy_road import JSON, PROVIDER_KEY, Answer, Road, Script, allowed, eventually, running_road
from tollway.pricing.usage import Usage
from tollway.providers.anthropic.family import ANTHROPIC
from tollway.resources.models import ProviderType
from tollway_extauthz.wire.envoy_subset_pb2 import CheckResponse

MESSAGES = "/anthropic/v1/messages"
LIMIT = 100_000

SSE = {"content-type": "text/event-stream; charset=utf-8"}
STARTED = {
    "input_tokens": 25,
    "cache_creation_input_tokens": 700,
    "cache_read_input_tokens": 5000,
    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 500},
    "output_tokens": 1,
    "service_tier": "standard",
    "speed": "standard",
    "inference_geo": "not_available",
}
READ = {"cache_read": 5000, "cache_write_5m": 200, "cache_write_1h": 500, "tier": "standard"}


@pytest.fixture(scope="module")
def module_road() -> Iterator[Road]:
    with running_road(max_body_bytes=LIMIT) as road:
        road.providers = [road.provider("anthropic", type=ProviderType.ANTHROPIC)]
        road.show_providers({"anthropic": PROVIDER_KEY})
        eventually(lambda: call(road).status == 200)
        yield road


@pytest.fixture
def road(module_road: Road) -> Road:
    module_road.check.answer = lambda _: allowed(call="a-call")
    module_road.upstream.script = Script([b"{}"])
    return module_road


def call(road: Road, body: bytes = b"{}", **headers: str) -> Answer:
    return road.call(MESSAGES, body, JSON | {name.replace("_", "-"): value for name, value in headers.items()})


def start(usage: Mapping[str, Any] = STARTED) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "stop_reason": None, "content": [], "usage": usage}}


def delta(stop_reason: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": None}, "usage": usage}


PING = {"type": "ping"}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
TEXT = {
    "type": "content_block_delta",
    "index": 0,
    "delta": {"type": "text_delta", "text": '"usage":{"output_tokens":9'},
}
STOP = {"type": "message_stop"}

STREAMS: dict[str, tuple[list[dict[str, Any]], Usage | None]] = {
    "one delta": ([start(), BLOCK, PING, TEXT, delta("end_turn", output_tokens=15), STOP],
                  Usage(input=25, output=15, **READ)),
    "deltas that count up": (
        [start(), TEXT, delta(None, output_tokens=7), TEXT, delta("tool_use", output_tokens=15), STOP],
        Usage(input=25, output=15, **READ)),
    "a delta that tells all again": (
        [start(), delta("end_turn", input_tokens=30, cache_read_input_tokens=6000, output_tokens=2,
                        output_tokens_details={"thinking_tokens": 1})],
        Usage(input=30, output=2, reasoning=1, **{**READ, "cache_read": 6000})),
    "a delta that says null": (
        [start(), delta("end_turn", input_tokens=None, cache_read_input_tokens=None, output_tokens=2)],
        Usage(input=25, output=2, **READ)),
    "deltas of which the last says null": (
        [start(), delta(None, input_tokens=30, output_tokens=2), delta("end_turn", input_tokens=None, output_tokens=3)],
        Usage(input=30, output=3, **READ)),
    "no delta that ends": ([start(), TEXT, delta(None, output_tokens=7)], None),
    "no delta": ([start(), BLOCK, TEXT], None),
    "an error in the middle": ([start(), TEXT, {"type": "error", "error": {"type": "overloaded_error"}}], None),
}  # fmt: skip


@pytest.mark.parametrize("size", [11, 100_000])
@pytest.mark.parametrize(("events", "usage"), STREAMS.values(), ids=STREAMS)
def test_usage_is_read_from_a_stream(road: Road, events: list[dict[str, Any]], usage: Usage | None, size: int) -> None:
    sent = b"".join(b"event: %s\ndata: %s\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in events)
    road.upstream.script = Script([sent[at : at + size] for at in range(0, len(sent), size)], SSE)
    answer = call(road)
    assert answer.body == sent
    fields = extracted(road, answer.call)
    assert ANTHROPIC.usage(fields) == usage
    so_far = ANTHROPIC.usage_so_far(fields)
    assert so_far is not None
    assert so_far.input_tokens >= 25 + 5000 + 700


def test_the_key_travels_in_anthropics_header_and_none_of_the_callers(road: Road) -> None:
    call(road, authorization="Bearer placeholder", x_api_key="mine", anthropic_version="2026-10-21")
    got = road.upstream.received[-1]
    assert got.path == "/v1/messages"
    assert got.all("x-api-key") == [PROVIDER_KEY.decode()]
    assert got.all("authorization") == []
    assert got.all("anthropic-version") == ["2026-10-21"]


def test_a_header_that_the_decision_edits_travels_once_and_as_edited(road: Road) -> None:
    def edited(_: object) -> CheckResponse:
        response = allowed(call="a-call")
        header = response.ok_response.headers.add(append_action=2).header
        header.key, header.value = "anthropic-beta", "effort-2025-11-24"
        return response

    road.check.answer = edited
    call(road, anthropic_beta="context-1m-2025-08-07,effort-2025-11-24")
    assert road.upstream.received[-1].all("anthropic-beta") == ["effort-2025-11-24"]


def assert_shaped(answer: Answer, status: int, kind: str, reason: str) -> None:
    """As Anthropic shapes an error, with our reason and the id of the call."""
    assert (answer.status, answer.headers["x-tollway-reason"]) == (status, reason)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {"type", "error", "request_id"}
    error = answer.json["error"]
    assert isinstance(error, dict)
    assert (answer.json["type"], error["type"], error.keys()) == ("error", kind, {"type", "message"})
    assert answer.json["request_id"] == answer.headers["request-id"] == answer.headers["x-tollway-call"] == answer.call


def test_without_a_decision_tollway_is_overloaded(road: Road) -> None:
    road.check.stop()
    assert_shaped(call(road), 529, "overloaded_error", "tollway.unavailable")
    road.check.start()
    eventually(lambda: call(road).status == 200)


def test_a_body_over_the_limit_is_too_large(road: Road) -> None:
    assert_shaped(call(road, b"x" * (LIMIT + 1)), 413, "request_too_large", "request.too_large")


def test_usage_is_read_from_a_json_answer(road: Road) -> None:
    usage = {**STARTED, "output_tokens": 15, "output_tokens_details": {"thinking_tokens": 4}, "speed": "fast"}
    body = json.dumps({"type": "message", "stop_reason": "end_turn", "content": [], "usage": usage}).encode()
    road.upstream.script = Script([body[:90], body[90:]])
    fields = extracted(road, call(road).call)
    assert ANTHROPIC.usage(fields) == Usage(input=25, output=15, reasoning=4, **{**READ, "tier": "fast"})


def test_a_count_of_tokens_is_known_for_one(road: Road) -> None:
    road.upstream.script = Script([b'{"input_tokens":4711}'])
    assert ANTHROPIC.usage(extracted(road, call(road).call)) == Usage()


def extracted(road: Road, call: str) -> Any:
    """As the access log tells it."""
    return road.line(call)["usage"]
