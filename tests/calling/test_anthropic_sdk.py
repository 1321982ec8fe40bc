"""The official Anthropic SDK, unmodified, behind its sidecar: two real Envoys, real certificates, a real ledger."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import pytest

from installations import KEY, DemoProvider, Installation, agent, budget, provider, quota, running, secret
from tollway.pricing.data import default_book
from tollway.pricing.usage import Usage
from tollway_cli.demo.generation import Usage as Billed
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings, Served

MODEL, THINKER, BREAKS = "claude-sonnet-5", "claude-opus-5-5", "claude-haiku-5-5"
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
LONG = "What every agent is told before it begins. " * 40
CACHING: dict[str, Any] = {
    "system": [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": LONG[:800], "cache_control": {"type": "ephemeral"}}]}
    ],
}

DOCUMENTS = [
    secret(),
    provider("anthropic", type="Anthropic", models=[{"name": "claude-*"}]),
    agent("caller"),
    agent("poor"),
    quota("plenty", budget("5.00"), only="caller"),
    quota("little", budget("0.00"), only="poor"),
]
SETTINGS = ProviderSettings(
    key=KEY,
    behaviour=Behaviour(output_tokens=20, cached_tokens=100),
    models={
        THINKER: Behaviour(output_tokens=20, reasoning_tokens=300),
        BREAKS: Behaviour(output_tokens=20, cached_tokens=100, hang_up_after=8),
    },
)


@dataclass(frozen=True)
class Place:
    installation: Installation
    provider: DemoProvider

    def options(self, name: str = "team-a/caller") -> dict[str, Any]:
        return {"base_url": self.installation.base_url(name, "anthropic"), "api_key": "placeholder"}

    def client(self, name: str = "team-a/caller") -> anthropic.Anthropic:
        return anthropic.Anthropic(**self.options(name))

    def served(self) -> list[Served]:
        return list(self.provider.app[CALL_LOG])

    def settled(self, call: str) -> dict[str, Any]:
        """The ledger's line of a call that has ended."""
        calls = self.installation.settled_calls(1)
        return next(each for each in calls if each["id"] == call)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with running(DOCUMENTS, settings=SETTINGS) as (installation, served):
        yield Place(installation, served)


def asking(**request: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 400, "messages": HELLO, **request}


def cost(model: str, billed: Billed, tier: str = "standard") -> int:
    """What the price book says of the provider's own bill, in nano-USD."""
    priced = default_book().find("Anthropic", model)
    assert priced is not None
    written = billed.written_5m_tokens + billed.written_1h_tokens
    usage = Usage(
        input=billed.prompt_tokens - billed.cached_tokens - written,
        cache_read=billed.cached_tokens,
        cache_write_5m=billed.written_5m_tokens,
        cache_write_1h=billed.written_1h_tokens,
        output=billed.completion_tokens,
        tier=tier,
    )
    return priced.row.cost(usage)


def assert_settled_as_billed(place: Place, call: str, tier: str = "standard") -> Billed:
    """As the provider's bill for the last call says, to the nano-USD."""
    line, served = place.settled(call), place.served()[-1]
    assert line["source"] == "provider"
    assert line["input_tokens"] == served.usage.prompt_tokens
    assert line["output_tokens"] == served.usage.completion_tokens
    assert line["cost"] == cost(served.model, served.usage, tier)
    return served.usage


def test_a_plain_call_settles_exactly_with_cache_writes_and_reads(place: Place) -> None:
    with place.client() as client:
        raw = client.messages.with_raw_response.create(**asking(**CACHING))
    answer = raw.parse()
    assert answer.usage.cache_read_input_tokens == 100
    assert answer.usage.cache_creation.ephemeral_5m_input_tokens > 100
    assert answer.usage.cache_creation.ephemeral_1h_input_tokens > 200
    billed = assert_settled_as_billed(place, raw.headers["x-tollway-call"])
    assert (billed.cached_tokens, billed.completion_tokens) == (100, 20)
    assert min(billed.written_5m_tokens, billed.written_1h_tokens) > 100


def test_a_stream_settles_exactly_with_cache_writes_and_reads(place: Place) -> None:
    with place.client() as client:
        stream = client.messages.create(**asking(**CACHING, stream=True))
        events = list(stream)
    assert [events[0].type, events[-1].type] == ["message_start", "message_stop"]
    assert sum(event.type == "content_block_delta" for event in events) == 20
    billed = assert_settled_as_billed(place, stream.response.headers["x-tollway-call"])
    assert events[-2].usage.output_tokens == billed.completion_tokens == 20
    assert min(billed.written_5m_tokens, billed.written_1h_tokens) > 100


def test_the_streaming_helper_gathers_the_message(place: Place) -> None:
    with place.client() as client, client.messages.stream(**asking(model=THINKER)) as stream:
        message = stream.get_final_message()
        call = stream.response.headers["x-tollway-call"]
    assert len(message.content[0].text.split()) == 20
    assert message.usage.output_tokens_details.thinking_tokens == 300
    assert assert_settled_as_billed(place, call).completion_tokens == 320


async def test_the_async_client_works_plain_and_streaming(place: Place) -> None:
    async with anthropic.AsyncAnthropic(**place.options()) as client:
        answer = await client.messages.create(**asking())
        events = [event async for event in await client.messages.create(**asking(stream=True))]
        async with client.messages.stream(**asking()) as stream:
            message = await stream.get_final_message()
            call = stream.response.headers["x-tollway-call"]
    said = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert said == message.content[0].text == answer.content[0].text
    assert_settled_as_billed(place, call)


def test_fast_answers_settle_at_their_own_prices(place: Place) -> None:
    with place.client() as client:
        raw = client.messages.with_raw_response.create(**asking(model=THINKER, speed="fast"))
    assert raw.parse().usage.speed == "fast"
    billed = assert_settled_as_billed(place, raw.headers["x-tollway-call"], "fast")
    assert cost(THINKER, billed, "fast") > cost(THINKER, billed)


def test_the_account_decides_no_tier_that_nobody_asked_for(place: Place) -> None:
    with place.client() as client:
        assert client.messages.create(**asking()).usage.service_tier == "standard"
        assert client.messages.create(**asking(service_tier="auto")).usage.service_tier == "priority"


def test_a_stream_that_breaks_off_is_charged_its_input_as_told_and_its_output_at_the_ceiling(place: Place) -> None:
    with place.client() as client, client.messages.create(**asking(model=BREAKS, stream=True)) as stream:
        assert next(stream).type == "message_start"
        line, served = place.settled(stream.response.headers["x-tollway-call"]), place.served()[-1]
    assert line["source"] == "bounded"
    assert (line["input_tokens"], line["output_tokens"]) == (served.usage.prompt_tokens, 400)
    assert cost(BREAKS, served.usage) < line["cost"]


def test_the_providers_key_is_put_in_and_the_callers_own_never_travels(place: Place) -> None:
    with place.client() as client:
        client.messages.create(**asking())
    assert place.served()[-1].key == KEY


def test_features_that_nobody_judged_do_not_reach_the_provider_and_the_caller_is_told(place: Place) -> None:
    with place.client() as client:
        raw = client.messages.with_raw_response.create(
            **asking(), extra_headers={"anthropic-beta": "effort-2025-11-24, no-such-feature"}
        )
        only = client.messages.with_raw_response.create(**asking(), extra_headers={"anthropic-beta": "no-such-feature"})
        none = client.messages.with_raw_response.create(**asking())
    assert raw.headers["x-tollway-removed"] == "anthropic-beta: no-such-feature"
    assert only.headers["x-tollway-removed"] == "anthropic-beta: no-such-feature"
    assert "x-tollway-removed" not in none.headers


def test_the_beta_side_of_the_sdk_works(place: Place) -> None:
    with place.client() as client:
        answer = client.beta.messages.create(**asking(betas=["interleaved-thinking-2025-05-14"]))
    assert answer.usage.output_tokens == 20


@pytest.mark.parametrize("name", ["caller", "poor"])
def test_counting_tokens_is_free_even_for_those_who_have_nothing(place: Place, name: str) -> None:
    with place.client(f"team-a/{name}") as client:
        raw = client.messages.with_raw_response.count_tokens(model=MODEL, messages=HELLO, system=LONG)
    assert raw.parse().input_tokens > 300
    line = place.settled(raw.headers["x-tollway-call"])
    assert (line["operation"], line["source"]) == ("messages.count_tokens", "provider")
    assert (line["input_tokens"], line["output_tokens"], line["cost"]) == (0, 0, 0)


PROGRAM = """
import asyncio, anthropic
ask = {"model": "claude-sonnet-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Say hello."}]}
plain = anthropic.Anthropic().messages.create(**ask).content[0].text

async def stream():
    async with anthropic.AsyncAnthropic().messages.stream(**ask) as stream:
        return await stream.get_final_text()

assert plain and plain == asyncio.run(stream())
"""


def test_a_program_that_knows_nothing_of_tollway_works_under_tollway_run(place: Place) -> None:
    before = len(place.served())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    run = [sys.executable, "-m", "tollway_cli", "run", "--agent", "team-a/caller", "--state", place.installation.state]
    done = subprocess.run(
        [*run, "--", sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(place.served()) == before + 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_spent_budget_is_a_rate_limit_error_after_one_attempt(place: Place, stream: bool) -> None:
    before = [call["id"] for call in place.installation.calls()]
    with place.client("team-a/poor") as client, pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**asking(stream=stream))
    error, headers = caught.value, caught.value.response.headers
    assert (error.type, error.request_id) == ("rate_limit_error", headers["x-tollway-call"])
    assert (headers["x-tollway-reason"], headers["x-should-retry"]) == ("quota.cost.spent", "false")
    assert "retry-after" not in headers
    assert [call["id"] for call in place.installation.calls() if call["id"] not in before] == [error.request_id]


async def test_a_spent_budget_is_a_rate_limit_error_for_the_async_client_too(place: Place) -> None:
    before = len(place.installation.calls())
    async with anthropic.AsyncAnthropic(**place.options("team-a/poor")) as client:
        with pytest.raises(anthropic.RateLimitError):
            await client.messages.create(**asking())
        with pytest.raises(anthropic.RateLimitError):
            async with client.messages.stream(**asking()):
                pass
    assert len(place.installation.calls()) == before + 2


REFUSED: dict[str, tuple[dict[str, Any], type[anthropic.APIStatusError], str, str]] = {
    "a forbidden model": ({"model": "gpt-5"}, anthropic.PermissionDeniedError, "permission_error", "model.forbidden"),
    "an unpriced model": (
        {"model": "claude-of-tomorrow"}, anthropic.PermissionDeniedError, "permission_error", "model.unpriced"),
    "a stored container": (
        {"container": "container_1"}, anthropic.BadRequestError, "invalid_request_error", "request.stateful"),
    "a tool that the provider runs": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        anthropic.BadRequestError, "invalid_request_error", "request.unbounded"),
    "an unknown field": (
        {"extra_body": {"n": 5}}, anthropic.BadRequestError, "invalid_request_error", "request.unknown_field"),
    "another format": (
        {"extra_headers": {"anthropic-version": "2023-01-01"}},
        anthropic.BadRequestError, "invalid_request_error", "request.unreadable"),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "error", "kind", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_request_that_may_not_go_is_refused_in_anthropics_words(
    place: Place, changed: dict[str, Any], error: type[anthropic.APIStatusError], kind: str, reason: str
) -> None:
    before = len(place.served())
    with place.client() as client, pytest.raises(error) as caught:
        client.messages.create(**asking(**changed))
    assert (caught.value.type, caught.value.response.headers["x-tollway-reason"]) == (kind, reason)
    assert len(place.served()) == before


def post(url: str, body: bytes) -> tuple[int, Any, Any]:
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.load(error)


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "reason"),
    [
        ("messages", b'{"model":"a","model":"b"}', 400, "invalid_request_error", "request.unreadable"),
        ("messages/batches", b"{}", 404, "not_found_error", "operation.unknown"),
    ],
    ids=["unreadable", "an operation that nobody described"],
)
def test_what_no_sdk_would_send_is_refused_in_anthropics_shape(
    place: Place, path: str, body: bytes, status: int, kind: str, reason: str
) -> None:
    url = place.installation.base_url("team-a/caller", "anthropic")
    code, headers, said = post(f"{url}/v1/{path}", body)
    assert (code, headers["x-tollway-reason"]) == (status, reason)
    assert said["type"] == "error"
    assert said["error"]["type"] == kind
    assert said["request_id"] == headers["x-tollway-call"]


def test_a_request_that_is_not_sent_is_explained_as_its_sdk_would_send_it(place: Place) -> None:
    file = place.installation.folder / "request.json"
    file.write_text(json.dumps(asking()))
    whose = ("--agent", "team-a/caller", "--provider", "anthropic")
    explained = json.loads(place.installation.tollway("explain", "-f", str(file), *whose, "-o", "json"))
    assert (explained["outcome"], explained["facts"]) == ("granted", {"output cap": 400})


def test_the_ledger_adds_up(place: Place) -> None:
    place.installation.settled_calls(1)
    assert json.loads(place.installation.tollway("ledger", "verify", "-o", "json"))["ok"]
