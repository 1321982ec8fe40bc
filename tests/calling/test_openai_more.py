"""Responses, embeddings and compatible servers: the official OpenAI SDK, unmodified, on the real road."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from installations import KEY, DemoProvider, Installation, agent, budget, provider, quota, running, secret
from tollway.pricing.data import default_book
from tollway.pricing.usage import Usage
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings, Served

MODEL = "gpt-5-mini"
EMBEDDING = "text-embedding-3-small"
LLAMA = "in-house-llama"
E5 = "in-house-e5"
BEHAVIOUR = Behaviour(output_tokens=20, reasoning_tokens=30, cached_tokens=5)

DOCUMENTS = [
    secret(),
    provider(models=[{"name": "gpt-*"}, {"name": "text-embedding-*"}]),
    provider(
        "local",
        type="OpenAICompatible",
        models=[{"name": LLAMA, "maxOutputTokens": 500}, {"name": E5}],
        prices=[{"model": LLAMA, "input": "0.10", "output": "0.40"}, {"model": E5, "input": "0.02", "output": "0"}],
    ),
    agent("caller"),
    agent("poor"),
    agent("counted"),
    agent("tight"),
    quota("plenty", budget("5.00"), only="caller"),
    quota("nothing", budget("0.00"), only="poor"),
    quota(
        "everything",
        budget("5.00"),
        {"name": "in", "inputTokens": 100_000, "window": "Lifetime"},
        {"name": "out", "outputTokens": 100_000, "window": "Day"},
        {"name": "all", "tokens": 200_000, "window": "1h"},
        only="counted",
    ),
    quota("little", {"name": "out", "outputTokens": 400, "window": "Lifetime"}, only="tight"),
]


@dataclass(frozen=True)
class Place:
    installation: Installation
    provider: DemoProvider

    def options(self, name: str = "caller", provider: str = "openai") -> dict[str, Any]:
        return {"base_url": self.installation.base_url(f"team-a/{name}", provider), "api_key": "placeholder"}

    def client(self, name: str = "caller", provider: str = "openai") -> openai.OpenAI:
        return openai.OpenAI(**self.options(name, provider))

    def served(self) -> list[Served]:
        return list(self.provider.app[CALL_LOG])

    def settled(self, *ids: str) -> list[dict[str, Any]]:
        """These calls, once all of them have ended."""
        found = {call["id"]: call for call in self.installation.settled_calls(len(self.served()))}
        return [found[call] for call in ids]

    def counters(self, quota: str) -> dict[str, dict[str, Any]]:
        counters = json.loads(self.installation.tollway("limits", "-o", "json"))["counters"]
        return {each["limit"]: each for each in counters if each["quota"] == quota}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    settings = ProviderSettings(key=KEY, behaviour=BEHAVIOUR, models={LLAMA: BEHAVIOUR, E5: BEHAVIOUR})
    with running(DOCUMENTS, settings=settings) as (installation, served):
        yield Place(installation, served)


def cost(model: str, usage: Usage) -> int:
    priced = default_book().find("OpenAI", model)
    assert priced is not None
    return priced.row.cost(usage)


def cost_of_response(usage: Any) -> int:
    cached = usage.input_tokens_details.cached_tokens
    return cost(MODEL, Usage(input=usage.input_tokens - cached, cache_read=cached, output=usage.output_tokens))


def call_id(raw: Any) -> str:
    return raw.headers["x-tollway-call"]


ASKED: dict[str, Any] = {"model": MODEL, "input": "Say hello.", "instructions": "Be brief."}


async def test_responses_are_settled_exactly_plain_and_streaming_sync_and_async(place: Place) -> None:
    seen: list[tuple[str, Any]] = []
    with place.client() as client:
        raw = client.responses.with_raw_response.create(**ASKED, max_output_tokens=200)
        plain = raw.parse()
        seen.append((call_id(raw), plain))
        raw = client.responses.with_raw_response.create(**ASKED, stream=True)
        seen.append((call_id(raw), list(raw.parse())[-1].response))
    async with openai.AsyncOpenAI(**place.options()) as client:
        raw = await client.responses.with_raw_response.create(**ASKED)
        seen.append((call_id(raw), raw.parse()))
        raw = await client.responses.with_raw_response.create(**ASKED, stream=True)
        events = [event async for event in raw.parse()]
        seen.append((call_id(raw), events[-1].response))
    assert events[0].type == "response.created"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == plain.output_text
    for call, (_, response) in zip(place.settled(*(call for call, _ in seen)), seen, strict=True):
        assert (call["source"], call["operation"], response.usage.output_tokens) == ("provider", "responses", 50)
        assert call["input_tokens"] == response.usage.input_tokens
        assert call["output_tokens"] == response.usage.output_tokens
        assert call["cost"] == cost_of_response(response.usage)


def test_what_is_forwarded_is_stored_nowhere_and_billed_by_the_standard_tier(place: Place) -> None:
    with place.client() as client:
        response = client.responses.create(**ASKED, store=True, metadata={"task": "7"})
    assert (response.store, response.service_tier, response.metadata) == (False, "default", {"task": "7"})


def test_a_response_is_capped_to_its_share_of_what_is_left(place: Place) -> None:
    with place.client("tight") as client:
        response = client.responses.create(**ASKED, max_output_tokens=4000)
    assert response.max_output_tokens == 100
    assert place.counters("little")["out"]["amount"] == 400


def test_an_agents_loop_sends_back_what_it_received(place: Place) -> None:
    with place.client() as client:
        first = client.responses.create(**ASKED)
        items = [{"role": "user", "content": "Say hello."}, *(item.model_dump(by_alias=True) for item in first.output)]
        second = client.responses.create(model=MODEL, input=[*items, {"role": "user", "content": "Again."}])
    assert [item.type for item in first.output] == ["reasoning", "message"]
    assert second.output_text


async def test_embeddings_are_settled_exactly_sync_and_async(place: Place) -> None:
    with place.client() as client:
        raw = client.embeddings.with_raw_response.create(model=EMBEDDING, input=["a bridge", "a gate"])
        texts = (call_id(raw), raw.parse())
    async with openai.AsyncOpenAI(**place.options()) as client:
        raw = await client.embeddings.with_raw_response.create(model=EMBEDDING, input=[[1, 2, 3], [4]], dimensions=8)
        tokens = (call_id(raw), raw.parse())
    assert [len(texts[1].data), len(tokens[1].data[0].embedding)] == [2, 8]
    for call, (_, answer) in zip(place.settled(texts[0], tokens[0]), (texts, tokens), strict=True):
        assert (call["source"], call["operation"]) == ("provider", "embeddings")
        assert (call["input_tokens"], call["output_tokens"]) == (answer.usage.prompt_tokens, 0)
        assert call["cost"] == cost(EMBEDDING, Usage(input=answer.usage.prompt_tokens))


def test_all_units_count_a_call_exactly(place: Place) -> None:
    with place.client("counted") as client:
        ids, spent = [], [0, 0, 0]
        for streams in (False, True):
            raw = client.responses.with_raw_response.create(**ASKED, stream=streams)
            response = list(raw.parse())[-1].response if streams else raw.parse()
            usage = response.usage
            spent = [spent[0] + usage.input_tokens, spent[1] + usage.output_tokens, spent[2] + cost_of_response(usage)]
            ids.append(call_id(raw))
        embedded = client.embeddings.with_raw_response.create(model=EMBEDDING, input="a bridge")
        tokens = embedded.parse().usage.prompt_tokens
    place.settled(*ids, call_id(embedded))
    counters = place.counters("everything")
    assert {name: counter["used"] for name, counter in counters.items()} == {
        "in": spent[0] + tokens,
        "out": spent[1],
        "all": spent[0] + tokens + spent[1],
        "budget": spent[2] + cost(EMBEDDING, Usage(input=tokens)),
    }
    assert {counter["held"] for counter in counters.values()} == {0}


def test_a_compatible_server_is_billed_at_the_prices_of_its_resource(place: Place) -> None:
    with place.client(provider="local") as client:
        messages: Any = [{"role": "user", "content": "Say hello."}]
        chat = client.chat.completions.with_raw_response.create(model=LLAMA, messages=messages, extra_body={"top_k": 9})
        response = client.responses.with_raw_response.create(model=LLAMA, input="Say hello.")
        embedded = client.embeddings.with_raw_response.create(
            model=E5, input="a bridge", extra_body={"input_type": "query"}
        )
        said = [(chat.parse().usage.prompt_tokens, 50), (response.parse().usage.input_tokens, 50)]
        vectors = embedded.parse().usage.prompt_tokens
    calls = place.settled(call_id(chat), call_id(response), call_id(embedded))
    assert {call["source"] for call in calls} == {"provider"}
    assert [(call["input_tokens"], call["output_tokens"]) for call in calls] == [*said, (vectors, 0)]
    assert [call["cost"] for call in calls] == [*(100 * tokens + 400 * 50 for tokens, _ in said), 20 * vectors]
    assert response.parse().max_output_tokens == 500


CALLS: dict[str, Callable[[openai.OpenAI], Any]] = {
    "response": lambda client: client.responses.create(**ASKED),
    "streamed response": lambda client: client.responses.create(**ASKED, stream=True),
    "embedding": lambda client: client.embeddings.create(model=EMBEDDING, input="a bridge"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_spent_budget_is_insufficient_quota_for_every_operation(
    place: Place, call: Callable[[openai.OpenAI], Any]
) -> None:
    before = len(place.served())
    with place.client("poor") as client, pytest.raises(openai.RateLimitError) as caught:
        call(client)
    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.headers["x-tollway-reason"] == "quota.cost.spent"
    assert len(place.served()) == before


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a stored response": ({"previous_response_id": "resp_1"}, "request.stateful"),
    "a background run": ({"background": True}, "request.stateful"),
    "a search by the provider": ({"tools": [{"type": "web_search"}]}, "request.unbounded"),
}


@pytest.mark.parametrize(("changed", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_response_that_may_not_be_asked_for_is_refused_in_openais_words(
    place: Place, changed: dict[str, Any], reason: str
) -> None:
    before = len(place.served())
    with place.client() as client, pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{**ASKED, **changed})
    assert caught.value.response.headers["x-tollway-reason"] == reason
    assert len(place.served()) == before


def test_the_ledger_adds_up_to_what_the_provider_served(place: Place) -> None:
    calls = [call for call in place.installation.settled_calls(len(place.served())) if call["outcome"] == "settled"]
    billed = [served.usage for served in place.served()]
    assert sum(call["input_tokens"] for call in calls) == sum(usage.prompt_tokens for usage in billed)
    assert sum(call["output_tokens"] for call in calls) == sum(usage.completion_tokens for usage in billed)
    assert json.loads(place.installation.tollway("ledger", "verify", "-o", "json"))["ok"]
