"""What the gateway does to requests as a pod without our sidecar can send them."""

from collections.abc import Iterator

import pytest

from road.envoy_road import Road, running_road

BODY = b'{"model":"gpt-5-mini"}'


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    with running_road() as road:
        yield road


def request(
    path: str = "/openai/v1/chat/completions", *extra: str, method: str = "POST", host: str = "gateway"
) -> bytes:
    headers = [f"host: {host}", "content-type: application/json", f"content-length: {len(BODY)}", *extra]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "", ""]).encode("latin-1") + BODY


AMBIGUOUS = {
    "an empty segment": request("/openai//v1/chat/completions"),
    "an empty first segment": request("//openai/v1/chat/completions"),
    "an escaped slash": request("/openai/v1%2Fchat/completions"),
    "an escaped backslash": request("/openai/v1%5cchat/completions"),
    "a backslash": request("/openai/v1\\chat/completions"),
    "a segment up": request("/openai/v1/../../second/v1/chat/completions"),
    "an escaped segment up": request("/openai/%2e%2e/second/v1/chat/completions"),
    "a segment of one dot": request("/openai/./v1/chat/completions"),
    "a path parameter": request("/openai/v1/chat/completions;x=1"),
    "an escaped letter": request("/openai/v1/ch%61t/completions"),
    "an escaped zero": request("/openai/v1/chat/completions%00"),
    "a slash at the end": request("/openai/v1/chat/completions/"),
    "bytes over 127": request("/openai/v1/ch\xe4t/completions"),
    "a fragment": request("/openai/v1/chat/completions#x"),
    "two hosts": request("/openai/v1/chat/completions", "host: another"),
    "two authorizations": request("/openai/v1/chat/completions", "authorization: Bearer a", "authorization: Bearer b"),
    "two content types": request("/openai/v1/chat/completions", "content-type: text/plain"),
    "two content lengths": request("/openai/v1/chat/completions", "content-length: 1"),
    "a length and chunks": request("/openai/v1/chat/completions", "transfer-encoding: chunked"),
    "an underscore": request("/openai/v1/chat/completions", "x_tollway_call: 1"),
    "an absolute address": request("https://api.openai.com/openai/v1/chat/completions"),
    "an upgrade": request("/openai/v1/chat/completions", "connection: upgrade", "upgrade: websocket"),
    "a tunnel": request("api.openai.com:443", method="CONNECT"),
    "an unknown method": request(method="FETCH"),
    "a header without a name": request("/openai/v1/chat/completions", ": x"),
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_request_reaches_neither_the_decision_nor_the_provider(road: Road, sent: bytes) -> None:
    before = len(road.check.asked), len(road.upstream.received)
    answer = road.raw(sent)
    assert answer.status in {400, 404}
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}  # type: ignore[call-overload]
    assert answer.headers["x-tollway-reason"] in {"request.malformed", "provider.unknown"}
    assert (len(road.check.asked), len(road.upstream.received)) == before


FORGED = {
    "x-tollway-family": "Anthropic",
    "X-Tollway-Call": "forged",
    "x-envoy-internal": "true",
    "x-envoy-original-path": "/admin",
    "x-envoy-auth-failure-mode-allowed": "true",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-retry-on": "5xx",
    "x-envoy-max-retries": "9",
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/a/sa/b/agent/c",
    "x-forwarded-host": "203.0.113.9",
    "forwarded": "for=203.0.113.9",
    "via": "forged",
    "x-real-ip": "203.0.113.9",
    "x-request-id": "forged",
}


def test_headers_that_only_we_set_are_dropped_before_anything_reads_them(road: Road) -> None:
    answer = road.raw(request("/openai/v1/chat/completions", *(f"{name}: {value}" for name, value in FORGED.items())))
    assert answer.status == 200
    seen = road.check.headers()
    assert all(value not in seen.get(name.lower(), []) for name, value in FORGED.items())
    told = {value for _, value in road.upstream.received[-1].headers}
    assert not told & set(FORGED.values())
    assert road.line(answer.call)["provider"] == "openai"


def test_the_id_of_a_call_is_ours_and_everybody_is_told_the_same(road: Road) -> None:
    first, second = (road.raw(request("/openai/v1/chat/completions", "x-request-id: mine")) for _ in range(2))
    assert len({first.call, second.call, "mine"}) == 3
    assert road.check.headers()["x-request-id"] == [second.call]
    assert road.upstream.received[-1].all("x-request-id") == [second.call]


PLAIN = ["/openai/v1/models/gpt-5%3Alatest", "/openai/v1/a.b~c/d@e:f", "/openai/v1/x?api-version=1;2&x=//..%2F"]


@pytest.mark.parametrize("path", PLAIN)
def test_a_plain_path_arrives_as_it_was_sent(road: Road, path: str) -> None:
    assert road.raw(request(path)).status == 200
    assert road.check.asked[-1].attributes.request.http.path == path
    assert road.upstream.received[-1].path == path.removeprefix("/openai")


def test_the_host_a_client_names_never_chooses_where_a_call_goes(road: Road) -> None:
    assert road.raw(request(host="evil.example")).status == 200
    assert road.upstream.received[-1].all("host") == [f"localhost:{road.upstream.port}"]


def test_http_1_0_is_refused(road: Road) -> None:
    answer = road.raw(request().replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    assert answer.status == 426
