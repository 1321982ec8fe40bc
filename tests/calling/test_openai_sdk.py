"""The official OpenAI SDK, unmodified, behind its sidecar: two real Envoys, real certificates, a real ledger."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from installations import KEY, DemoProvider, Installation, agent, budget, provider, quota, running, secret
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings, Served

HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
MODEL = "gpt-4o-mini"

DOCUMENTS = [
    secret(),
    provider(models=[{"name": "gpt-*"}]),
    provider("closed", namespaces={"matchLabels": {"kubernetes.io/metadata.name": "team-z"}}),
    agent("caller"),
    agent("poor"),
    agent("broke"),
    agent("uncovered", "team-b"),
    quota("plenty", budget("5.00"), only="caller"),
    quota("little", budget("0.00"), only="poor"),
    quota("spent", budget("0.0005"), only="broke"),
]


@dataclass(frozen=True)
class Place:
    installation: Installation
    provider: DemoProvider

    def client(self, name: str = "team-a/caller", provider: str = "openai", **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.installation.base_url(name, provider), api_key="placeholder", **options)

    def served(self) -> list[Served]:
        return list(self.provider.app[CALL_LOG])

    def refusals(self, name: str) -> list[dict[str, Any]]:
        return [
            call
            for call in self.installation.calls()
            if call["agent"].endswith(f"/agent/{name}") and call["outcome"] == "refused"
        ]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    settings = ProviderSettings(key=KEY, behaviour=Behaviour(output_tokens=20))
    with running(DOCUMENTS, settings=settings) as (installation, served):
        yield Place(installation, served)


def ask(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(model=options.pop("model", MODEL), messages=HELLO, **options)


def test_a_plain_call_is_answered_and_settled_with_the_providers_numbers(place: Place) -> None:
    with place.client() as client:
        answer = ask(client, max_completion_tokens=50)
    assert answer.usage.completion_tokens == 20
    billed = place.served()[-1]
    (settled,) = [
        call
        for call in place.installation.settled_calls(len(place.served()))
        if call["output_tokens"] == billed.usage.completion_tokens and call["source"] == "provider"
    ][-1:]
    assert settled["input_tokens"] == answer.usage.prompt_tokens


def test_the_providers_key_is_put_in_and_the_callers_own_never_travels(place: Place) -> None:
    with place.client() as client:
        ask(client)
    assert place.served()[-1].key == KEY


def test_a_stream_arrives_chunk_by_chunk_without_the_usage_nobody_asked_for(place: Place) -> None:
    with place.client() as client:
        chunks = list(ask(client, stream=True))
    assert all(chunk.usage is None for chunk in chunks)
    assert all(chunk.choices for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(chunks) > 20


def test_a_stream_shows_usage_to_the_caller_who_asked(place: Place) -> None:
    with place.client() as client:
        chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 20


async def test_the_async_client_works_plain_and_streaming(place: Place) -> None:
    base_url = place.installation.base_url("team-a/caller")
    async with openai.AsyncOpenAI(base_url=base_url, api_key="placeholder") as client:
        answer = await client.chat.completions.create(model=MODEL, messages=HELLO)
        assert answer.choices[0].message.content
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        text = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(text) == answer.choices[0].message.content


PROGRAM = """
import asyncio, openai
ask = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
plain = openai.OpenAI().chat.completions.create(**ask).choices[0].message.content

async def stream():
    chunks = await openai.AsyncOpenAI().chat.completions.create(**ask, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

assert plain and plain == asyncio.run(stream())
print(plain)
"""


def test_a_program_that_knows_nothing_of_tollway_works_under_tollway_run(place: Place) -> None:
    before = len(place.served())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
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


def test_a_spent_budget_is_insufficient_quota_after_one_attempt(place: Place) -> None:
    with place.client("team-a/poor") as client, pytest.raises(openai.RateLimitError) as caught:
        ask(client)
    assert caught.value.code == "insufficient_quota"
    assert caught.value.response.headers["x-tollway-reason"] == "quota.cost.spent"
    assert len(place.refusals("poor")) == 1


def test_a_budget_is_spent_down_to_less_than_a_useful_call_and_never_beyond(place: Place) -> None:
    with place.client("team-a/broke") as client:
        calls = (ask(client, max_completion_tokens=400) for _ in range(200))
        with pytest.raises(openai.RateLimitError) as caught:
            list(calls)
        assert caught.value.code == "insufficient_quota"
    (counter,) = [
        each
        for each in json.loads(place.installation.tollway("limits", "-o", "json"))["counters"]
        if each["quota"] == "spent"
    ]
    assert counter["held"] == 0
    assert 0 <= counter["amount"] - counter["used"] < 100_000


REFUSED: dict[str, tuple[dict[str, Any], type[openai.APIStatusError], str]] = {
    "a forbidden model": ({"model": "claude-3-opus"}, openai.PermissionDeniedError, "model.forbidden"),
    "an unpriced model": ({"model": "gpt-of-tomorrow"}, openai.PermissionDeniedError, "model.unpriced"),
    "a stateful request": (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        openai.BadRequestError,
        "request.stateful",
    ),
    "conflicting caps": ({"max_tokens": 1, "max_completion_tokens": 2}, openai.BadRequestError, "request.conflict"),
}


@pytest.mark.parametrize(("changed", "error", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_request_that_may_not_go_is_refused_in_openais_words(
    place: Place, changed: dict[str, Any], error: type[openai.APIStatusError], reason: str
) -> None:
    before = len(place.served())
    with place.client() as client, pytest.raises(error) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **changed})
    assert caught.value.response.headers["x-tollway-reason"] == reason
    assert set(caught.value.response.json()["error"]) == {"message", "type", "param", "code"}
    assert len(place.served()) == before


def test_an_agent_that_no_quota_covers_is_refused(place: Place) -> None:
    with place.client("team-b/uncovered") as client, pytest.raises(openai.PermissionDeniedError) as caught:
        ask(client)
    assert caught.value.response.headers["x-tollway-reason"] == "quota.none"


def test_a_provider_that_is_closed_to_the_namespace_is_refused(place: Place) -> None:
    gateway_path = place.installation.base_url("team-a/caller").replace("/openai/", "/closed/")
    with (
        openai.OpenAI(base_url=gateway_path, api_key="x") as client,
        pytest.raises(openai.PermissionDeniedError) as caught,
    ):
        ask(client)
    assert caught.value.response.headers["x-tollway-reason"] == "provider.closed"


def post(url: str, body: bytes) -> tuple[int, Any, Any]:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.load(error)


def test_an_unreadable_body_is_refused_in_openais_shape(place: Place) -> None:
    url = place.installation.base_url("team-a/caller") + "/chat/completions"
    status, headers, body = post(url, b'{"model": "gpt-4o-mini", "model": "gpt-5", "messages": []}')
    assert (status, headers["x-tollway-reason"]) == (400, "request.unreadable")
    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_a_refusal_can_be_explained_from_the_journal(place: Place) -> None:
    with place.client() as client, pytest.raises(openai.PermissionDeniedError) as caught:
        ask(client, model="gpt-of-tomorrow")
    call = caught.value.response.headers["x-tollway-call"]
    explained = json.loads(place.installation.tollway("explain", call, "-o", "json"))
    assert explained["reason"] == "model.unpriced"
    assert explained["checks"][-1]["name"] == "price"


def test_the_ledger_adds_up(place: Place) -> None:
    place.installation.settled_calls(1)
    assert json.loads(place.installation.tollway("ledger", "verify", "-o", "json"))["ok"]


def test_the_providers_key_is_in_no_log_and_no_journal(place: Place) -> None:
    state = place.installation.state
    logs = [*state.rglob("*.log"), *state.glob("ledger.sqlite*"), place.installation.output]
    assert len(logs) >= 4
    for log in logs:
        assert KEY.encode() not in log.read_bytes(), log
