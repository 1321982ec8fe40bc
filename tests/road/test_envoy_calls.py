"""What happens to a call that the decision let through."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from road.envoy_road import CHAT, JSON, PROVIDER_KEY, Road, Script, allowed, eventually, running_road

SSE = {"content-type": "text/event-stream"}
USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 7, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
}


@pytest.fixture(scope="module")
def module_road() -> Iterator[Road]:
    with running_road() as road:
        yield road


@pytest.fixture
def road(module_road: Road) -> Road:
    module_road.check.answer = lambda _: allowed(call="a-call")
    module_road.upstream.script = Script([b"{}"])
    return module_road


def test_the_provider_gets_the_body_under_its_own_path_with_its_own_key(road: Road) -> None:
    body = b'{ "model" : "gpt-5-mini", "n": 1.0, "big": 12345678901234567890 }'
    road.call(body=body, headers=JSON | {"authorization": "Bearer placeholder", "x-api-key": "mine"})
    got = road.upstream.received[-1]
    assert (got.method, got.path, got.body) == ("POST", "/v1/chat/completions", body)
    assert got.all("authorization") == [f"Bearer {PROVIDER_KEY.decode()}"]
    assert got.all("x-api-key") == []
    assert got.all("host") == [f"localhost:{road.upstream.port}"]


def test_the_provider_learns_nothing_of_the_cluster(road: Road) -> None:
    road.call()
    names = {name.lower() for name, _ in road.upstream.received[-1].headers}
    assert not [name for name in names if name.startswith(("x-forwarded", "x-envoy", "x-tollway", "forwarded", "via"))]


def test_the_decision_gets_the_route_the_certificate_and_the_whole_body(road: Road) -> None:
    body = json.dumps({"messages": "x" * 300_000}).encode()
    road.call(body=body)
    asked = road.check.asked[-1].attributes
    assert dict(asked.context_extensions) == {"provider": "openai", "family": "OpenAI"}
    assert asked.request.http.raw_body == body
    assert asked.request.http.path == CHAT
    assert "BEGIN%20CERTIFICATE" in asked.source.certificate


def test_every_connection_of_the_road_agrees_on_a_post_quantum_key(road: Road) -> None:
    assert road.line(road.call().call)["tls_group"] == "X25519MLKEM768"


def test_edits_of_the_decision_are_byte_exact(road: Road) -> None:
    body = '{"a": "žluťoučký 🐴", "max_tokens": 4096, "n":1.0, "x": 98765432109876543210}'.encode()
    start = body.index(b"4096")
    first, last = '{"store":false,', ',"é":"ü"}'
    edits = f"0 1 {len(first)}:{first}{start} 4 1:7{len(body) - 1} 1 {len(last.encode())}:{last}"
    road.check.answer = lambda _: allowed(edits=edits)
    road.call(body=body)
    expected = b'{"store":false,' + body[1:start] + b"7" + body[start + 4 : -1] + ',"é":"ü"}'.encode()
    got = road.upstream.received[-1]
    assert got.body == expected
    assert got.all("content-length") == [str(len(expected))]


def test_a_body_of_twenty_mebibytes_is_edited_too(road: Road) -> None:
    body = b'{"max_tokens": 4096, "x": "' + random.Random(1).randbytes(10 << 20).hex().encode() + b'"}'
    road.check.answer = lambda _: allowed(edits="15 4 2:12")
    assert road.call(body=body).status == 200
    assert road.upstream.received[-1].body == body.replace(b"4096", b"12", 1)


@pytest.mark.parametrize(
    "edits",
    ["10 100 0:", "-1 1 0:", "x 1 0:", "5 1 1:a0 1 1:b", "0 1 2:a", [{"off": 0, "len": 1, "text": ""}]],
    ids=["past the end", "before the beginning", "no number", "out of order", "less text than said", "no text"],
)
def test_a_body_that_cannot_be_edited_does_not_leave(road: Road, edits: object) -> None:
    road.check.answer = lambda _: allowed(edits=edits)
    before = len(road.upstream.received)
    answer = road.call()
    assert answer.status == 503
    assert answer.headers["x-tollway-reason"] == "tollway.failed"
    assert len(road.upstream.received) == before


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_usage_is_read_from_a_json_answer(road: Road, content_type: str) -> None:
    body = json.dumps({"id": "1", "model": "gpt-5-mini-2026", "service_tier": "default", "usage": USAGE}).encode()
    road.upstream.script = Script([body[:40], body[40:]], {"content-type": content_type})
    answer = road.call()
    assert answer.body == body
    assert_usage(road, answer.call)


def assert_usage(road: Road, call: str) -> None:
    usage = road.line(call)["usage"]
    assert isinstance(usage, dict)
    assert usage["prompt_tokens"] == 19
    assert usage["completion_tokens"] == 10
    assert usage["cached_tokens"] == 7
    assert usage["reasoning_tokens"] == 3
    assert usage["response_model"] == "gpt-5-mini-2026"
    assert usage["service_tier"] == "default"


def chunk(**values: object) -> bytes:
    fields = {"id": "1", "object": "chat.completion.chunk", "model": "gpt-5-mini-2026", "service_tier": "default"}
    return b"data: " + json.dumps(fields | {"usage": None} | values, separators=(",", ":")).encode()


TEXTS = [chunk(choices=[{"index": 0, "delta": {"content": text}}]) for text in ("Hel", "lo", '"choices":[],"usage":{')]
FILTERED = chunk(choices=[], prompt_filter_results=[])
LAST = chunk(choices=[], usage=USAGE)
DONE = b"data: [DONE]"
COMMENT = b": keep-alive"


def stream(events: list[bytes], newline: bytes) -> bytes:
    return b"".join(event.replace(b"\n", newline) + newline * 2 for event in events)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_the_usage_event_is_taken_out_of_a_stream_when_asked(road: Road, newline: bytes, size: int) -> None:
    kept = [FILTERED, COMMENT, *TEXTS, DONE]
    sent = stream([*kept[:-1], LAST, DONE], newline)
    road.check.answer = lambda _: allowed(strip_usage=True)
    road.upstream.script = Script([sent[at : at + size] for at in range(0, len(sent), size)], SSE)
    answer = road.call()
    assert answer.body == stream(kept, newline)
    assert_usage(road, answer.call)


def test_a_stream_is_left_alone_when_not_asked(road: Road) -> None:
    sent = stream([*TEXTS, LAST, DONE], b"\n")
    road.upstream.script = Script([sent], SSE | {"content-type": "text/event-stream; charset=utf-8"})
    answer = road.call()
    assert answer.body == sent
    assert_usage(road, answer.call)


NESTED = b'data: {"choices":[{"x":1}],"usage":{"choices":[]}}'
QUOTED = b'data: {"text":"\\"choices\\":[],\\"usage\\":{","choices":[{}]}'
LONG = b'data: {"choices":[{"delta":"' + b"x" * 40_000 + b'"}],"usage":{}}'


@pytest.mark.parametrize(
    ("events", "size"),
    [([NESTED, QUOTED, COMMENT, DONE], 1), ([NESTED, QUOTED, DONE], 20), ([LONG, DONE, NESTED, LONG, DONE], 7_001)],
)
def test_an_event_that_is_not_exactly_the_usage_event_stays(road: Road, events: list[bytes], size: int) -> None:
    sent = stream(events, b"\n")
    road.check.answer = lambda _: allowed(strip_usage=True)
    road.upstream.script = Script([sent[at : at + size] for at in range(0, len(sent), size)], SSE)
    assert road.call().body == sent


def test_a_json_answer_is_never_taken_for_a_stream(road: Road) -> None:
    body = json.dumps({"choices": [], "usage": USAGE}).encode()
    road.check.answer = lambda _: allowed(strip_usage=True)
    road.upstream.script = Script([body])
    assert road.call().body == body


def test_the_end_of_a_cut_stream_is_not_lost(road: Road) -> None:
    sent = stream(TEXTS, b"\n") + b'data: {"choices":[{"delta"'
    road.check.answer = lambda _: allowed(strip_usage=True)
    road.upstream.script = Script([sent], SSE)
    assert road.call().body == sent


def test_a_changed_key_is_used_by_the_next_call(road: Road) -> None:
    road.call()
    road.show_providers({"openai": b"sk-another\n"})

    def used() -> bool:
        road.call()
        return road.upstream.received[-1].all("authorization") == ["Bearer sk-another"]

    eventually(used)
    road.show_providers({"openai": PROVIDER_KEY})


def test_what_a_provider_says_of_our_account_stays_with_us(road: Road) -> None:
    theirs = {"x-ratelimit-remaining-tokens": "1", "openai-organization": "us", "set-cookie": "a=b", "alt-svc": "h3"}
    theirs |= {"x-tollway-call": "forged", "x-request-id": "req_theirs", "openai-version": "1", "retry-after": "3"}
    road.upstream.script = Script([b"{}"], JSON | theirs)
    answer = road.call()
    assert not {"x-ratelimit-remaining-tokens", "openai-organization", "set-cookie", "alt-svc"} & answer.headers.keys()
    assert "x-tollway-call" not in answer.headers
    assert answer.call != "req_theirs"
    assert answer.headers["x-tollway-provider-request-id"] == "req_theirs"
    assert (answer.headers["openai-version"], answer.headers["retry-after"]) == ("1", "3")
    assert road.line(answer.call)["upstream_id"] == "req_theirs"


def test_the_log_tells_the_end_of_a_call_and_neither_prompt_nor_key(road: Road) -> None:
    road.upstream.script = Script([b'{"answer":"a secret answer"}'])
    answer = road.call(body=b'{"prompt":"a secret prompt"}')
    line = road.line(answer.call)
    assert (line["code"], line["details"]) == (200, "via_upstream")
    assert isinstance(line["upstream_bytes_sent"], int)
    assert line["upstream_bytes_sent"] > 0
    assert line["type"] == "DownstreamEnd"
    assert line["provider"] == "openai"
    assert line["call"] == "a-call"
    told = Path(road.gateway_settings.access_log).read_text()
    assert not [word for word in ("secret", "sk-") if word in told]


def test_routes_and_clusters_change_under_running_calls(road: Road) -> None:
    def changes() -> int:
        return road.gateway.counter("http.road.rds.tollway.update_success")

    before = changes()
    for turn in range(10):
        road.providers = [road.provider("openai"), *([road.provider("second")] if turn % 2 == 0 else [])]
        road.show_providers({"openai": PROVIDER_KEY, "second": b"sk-second"})
        assert [road.call().status for _ in range(10)] == [200] * 10
    eventually(lambda: changes() >= before + 9)
    assert road.gateway.counter("cluster_manager.cds.update_rejected") == 0
    assert road.gateway.counter("http.road.rds.tollway.update_rejected") == 0


def test_a_provider_that_comes_later_is_served_by_the_running_envoys(road: Road) -> None:
    assert road.call("/later/v1/chat/completions").status == 404
    road.providers = [road.provider("openai"), road.provider("later")]
    road.show_providers({"openai": PROVIDER_KEY, "later": b"sk-later"})
    eventually(lambda: road.call("/later/v1/chat/completions").status == 200)
    assert road.upstream.received[-1].all("authorization") == ["Bearer sk-later"]


def test_a_large_body_travels_on_another_connection_than_small_calls(road: Road) -> None:
    for body in (b"{}", b"x" * 200_000, b"{}", b"x" * 200_000):
        assert road.call(body=body).status == 200
    assert road.sidecar.counter("cluster.gateway.upstream_cx_active") == 2


def test_a_caller_that_leaves_in_the_middle_of_a_stream_is_told_of_in_the_log(road: Road) -> None:
    road.upstream.script = Script([stream([text], b"\n") for text in TEXTS * 20], SSE, wait=0.1)
    with road.stream() as (answer, first):
        assert first == stream(TEXTS[:1], b"\n")
    line = road.line(answer.call)
    assert (line["code"], line["flags"]) == (200, "DR")
    assert line["details"] != "via_upstream"
    assert line["provider"] == "openai"
