"""R28: what a caller says in headers that are ours, Envoy's or a proxy's moves nothing and reaches nobody.

Not who calls, not what it costs, not whether it may, not how often or how long it is tried; the provider gets the same
request to the byte, but for the id that each call has.
"""

import pytest

from road.test_envoy_hygiene import FORGED as ONES_OF_THE_ROAD
from withstanding.ground import CHAT, HOPS, MESSAGE, MESSAGES, VERSION, Answer, Ground, request
from withstanding.recording_provider import Received

RICH = "spiffe://cluster.local/ns/team-a/sa/caller/agent/caller"
GATEWAY = "spiffe://cluster.local/ns/tollway-system/sa/tollway-gateway"
FORGED = {
    **ONES_OF_THE_ROAD,
    "x-envoy-auth-failure-mode-allowed": "true",
    "x-envoy-decorator-operation": "forged",
    "x-envoy-expected-rq-timeout-ms": "1",
    "x-envoy-external-address": "127.0.0.1",
    "x-envoy-force-trace": "true",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-ip-tags": "trusted",
    "x-envoy-is-timeout-retry": "true",
    "x-envoy-original-dst-host": "127.0.0.1:1",
    "x-envoy-original-method": "GET",
    "x-envoy-peer-metadata": "forged",
    "x-envoy-upstream-alt-stat-name": "forged",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-forwarded-client-cert": f"By={GATEWAY};Hash=00;URI={RICH}",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-host": "api.evil.example",
    "x-forwarded-port": "1",
    "x-forwarded-prefix": "/anthropic",
    "x-forwarded-proto": "https",
    "forwarded": "for=127.0.0.1;host=api.evil.example;proto=https",
    "x-original-url": MESSAGES,
    "x-rewrite-url": MESSAGES,
    "x-tollway-agent": "team-a/caller",
    "x-tollway-answered": "true",
    "x-tollway-call": "forged",
    "x-tollway-cost": "0",
    "x-tollway-edits": "[]",
    "x-tollway-family": "Anthropic",
    "x-tollway-identity": RICH,
    "x-tollway-model": "gpt-4o-mini",
    "x-tollway-provider": "anthropic",
    "x-tollway-quota": "none",
    "x-client-cert": "forged",
    "x-spiffe-id": RICH,
    "l5d-client-id": RICH,
    "ssl-client-verify": "SUCCESS",
    "authorization": "Bearer sk-of-my-own",
    "x-api-key": "sk-of-my-own",
    "openai-organization": "org-another",
    "openai-project": "proj-another",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
LINES = [f"{name}: {value}" for name, value in FORGED.items()]
IN_CAPITALS = [line.title() if line.startswith("x-") else line.upper() for line in LINES]
SPELLINGS = {"as usual": LINES, "with capitals": IN_CAPITALS, "twice": [*LINES, *(x for x in LINES if x[0] == "x")]}


def without_its_id(received: Received) -> tuple[bytes, bytes]:
    return received.head.replace(received.call.encode(), b"ID"), received.body


def told(ground: Ground, answer: Answer) -> dict[str, object]:
    """What the books say of a call, but for its id and its moment."""
    call = ground.ended(answer.call)
    return {name: value for name, value in call.items() if name not in {"id", "at"}}


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("lines", SPELLINGS.values(), ids=SPELLINGS)
def test_R28_forged_headers_change_neither_the_call_nor_its_books(ground: Ground, hop: str, lines: list[str]) -> None:
    if lines is SPELLINGS["twice"]:
        lines = [line for line in lines if not line.startswith("x-api-key")]  # two keys are refused as such
    with ground.one_call() as honest:
        plain = ground.send(hop, request())
    with ground.one_call() as received:
        forged = ground.send(hop, request(CHAT, *lines))
    assert (forged.status, forged.body) == (plain.status, plain.body)
    assert forged.headers.keys() == plain.headers.keys()
    assert without_its_id(received[0]) == without_its_id(honest[0])
    assert told(ground, forged) == told(ground, plain)
    assert told(ground, forged)["agent"] == RICH


@pytest.mark.parametrize("hop", HOPS)
def test_R28_the_other_provider_gets_none_of_them_either(ground: Ground, hop: str) -> None:
    with ground.one_call() as honest:
        plain = ground.send(hop, request(MESSAGES, VERSION, body=MESSAGE))
    with ground.one_call() as received:
        forged = ground.send(hop, request(MESSAGES, VERSION, *LINES, body=MESSAGE))
    assert without_its_id(received[0]) == without_its_id(honest[0])
    assert told(ground, forged) == told(ground, plain)


@pytest.mark.parametrize("hop", HOPS)
def test_R28_who_may_not_call_may_not_with_them(ground: Ground, hop: str) -> None:
    """The agent has no money; it says that it is another, that it was allowed, and that it costs nothing."""
    with ground.unmoved():
        plain = ground.send(hop, request(), "team-a/poor")
        forged = ground.send(hop, request(CHAT, *LINES), "team-a/poor")
    assert (plain.status, plain.reason) == (429, "quota.cost.spent")
    assert (forged.status, forged.reason) == (plain.status, plain.reason)
    assert forged.is_shaped()
    assert told(ground, forged) == told(ground, plain)


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("line", ["x-request-id: mine", "X-Request-ID: mine", "x-request-id: a\r\nx-request-id: b"])
def test_R28_the_id_of_a_call_is_never_the_callers(ground: Ground, hop: str, line: str) -> None:
    ids = []
    for _ in range(2):
        with ground.one_call() as received:
            answer = ground.send(hop, request(CHAT, line))
        assert received[0].all("x-request-id") == [answer.call]
        ids.append(answer.call)
    assert len({*ids, "mine", "a", "b", "a,b"}) == 6


FROM_INSIDE = "x-forwarded-for: 10.1.2.3"
"""An Envoy that believes this takes its own headers from such a caller."""
RETRIES = (
    FROM_INSIDE,
    "x-envoy-retry-on: 5xx,gateway-error,reset,retriable-4xx,retriable-status-codes",
    "x-envoy-retriable-status-codes: 500,503",
    "x-envoy-retry-grpc-on: internal",
    "x-envoy-max-retries: 5",
)
HURRIES = (
    FROM_INSIDE,
    "x-envoy-upstream-rq-timeout-ms: 1",
    "x-envoy-upstream-rq-per-try-timeout-ms: 1",
    "x-envoy-expected-rq-timeout-ms: 1",
    "x-envoy-upstream-stream-duration-ms: 1",
    "grpc-timeout: 1m",
)


@pytest.mark.parametrize("hop", HOPS)
def test_R28_a_call_that_failed_is_not_repeated_because_its_caller_says_so(ground: Ground, hop: str) -> None:
    with ground.one_call() as received, ground.answering(status=500):
        assert ground.send(hop, request(CHAT, *RETRIES)).status == 500
    assert len(received) == 1


@pytest.mark.parametrize("hop", HOPS)
def test_R28_a_caller_sets_no_time_out_of_envoys(ground: Ground, hop: str) -> None:
    with ground.one_call(), ground.answering(after_s=0.3):
        assert ground.send(hop, request(CHAT, *HURRIES)).status == 200


@pytest.mark.parametrize("hop", HOPS)
def test_R28_no_header_opens_the_gateway_while_nobody_decides(ground: Ground, hop: str) -> None:
    with ground.unmoved():
        with ground.paused(ground.data_plane):
            answer = ground.send(hop, request(CHAT, *LINES))
        assert (answer.status, answer.reason) == (503, "tollway.unavailable")
        assert answer.is_shaped()
    ground.wait_until_it_serves()


def test_R28_what_a_provider_says_in_our_name_is_not_passed_on(ground: Ground) -> None:
    lines = {
        "x-tollway-call": "forged",
        "x-tollway-reason": "forged",
        "x-envoy-overloaded": "true",
        "x-request-id": "p",
    }
    with ground.one_call(), ground.answering(headers=lines):
        answer = ground.send("sidecar", request())
    assert answer.status == 200
    assert "forged" not in answer.headers.values()
    assert answer.headers["x-tollway-call"] == answer.call != "p"
    assert "x-envoy-overloaded" not in answer.headers
    assert "x-tollway-reason" not in answer.headers


def test_R28_the_books_are_in_order_after_all_of_it(ground: Ground) -> None:
    ground.counters()
    assert ground.in_order()
