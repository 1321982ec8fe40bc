"""The demo provider speaks OpenAI's format: the official SDK, used directly against it, finds what it expects."""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings, Served, make_app

KEY = "sk-demo"
MODEL = "gpt-5-mini"
HI: Any = [{"role": "user", "content": "Tell me about bridges."}]


class Provider:
    def __init__(self, port: int, log: deque[Served]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    def options(self, key: str = KEY) -> dict[str, Any]:
        return {"base_url": f"{self.url}/v1", "api_key": key, "max_retries": 0}

    async def ask(self, key: str = KEY, **request: Any) -> ChatCompletion:
        async with openai.AsyncOpenAI(**self.options(key)) as client:
            return await client.chat.completions.create(**{"model": MODEL, "messages": HI, **request})

    async def stream(self, **request: Any) -> list[ChatCompletionChunk]:
        async with openai.AsyncOpenAI(**self.options()) as client:
            stream = await client.chat.completions.create(**{"model": MODEL, "messages": HI, "stream": True, **request})
            return [chunk async for chunk in stream]

    async def post(self, body: bytes) -> tuple[int, dict[str, Any]]:
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/v1/chat/completions", data=body, headers=headers) as answer,
        ):
            return answer.status, (await answer.json())["error"]


@asynccontextmanager
async def running(behaviour: Behaviour | None = None, **settings: Any) -> AsyncIterator[Provider]:
    app = make_app(ProviderSettings(key=KEY, behaviour=behaviour or Behaviour(), **settings))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Provider(runner.addresses[0][1], app[CALL_LOG])
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a log has no event to wait for
            await asyncio.sleep(0.01)


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def finish_of(chunks: list[ChatCompletionChunk], index: int = 0) -> list[str]:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return [choice.finish_reason for choice in choices if choice.finish_reason]


async def test_the_synchronous_sdk_gets_an_answer_and_a_stream() -> None:
    def ask(options: dict[str, Any]) -> tuple[ChatCompletion, list[ChatCompletionChunk]]:
        with openai.OpenAI(**options) as client:
            whole = client.chat.completions.create(model=MODEL, messages=HI)
            with client.chat.completions.create(model=MODEL, messages=HI, stream=True) as stream:
                return whole, list(stream)

    async with running() as provider:
        whole, chunks = await asyncio.to_thread(ask, provider.options())
    assert whole.choices[0].message.content
    assert text_of(chunks) == whole.choices[0].message.content


async def test_the_asynchronous_sdk_gets_an_answer_with_usage() -> None:
    async with running(Behaviour(output_tokens=20, reasoning_tokens=30, cached_tokens=5)) as provider:
        answer = await provider.ask()
    usage = answer.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (50, 30)
    assert usage.prompt_tokens_details.cached_tokens == 5
    assert usage.total_tokens == usage.prompt_tokens + 50
    assert answer.choices[0].finish_reason == "stop"
    assert len((answer.choices[0].message.content or "").split()) == 20
    assert answer._request_id is not None


async def test_the_same_request_gets_the_same_text_and_another_one_another() -> None:
    async with running() as provider:
        first, again = await provider.ask(), await provider.ask()
        other = await provider.ask(messages=[{"role": "user", "content": "And gates?"}])
    assert first.choices[0].message.content == again.choices[0].message.content
    assert first.choices[0].message.content != other.choices[0].message.content
    assert len({first.id, again.id, other.id}) == 3


@pytest.mark.parametrize("cap", ["max_completion_tokens", "max_tokens"])
@pytest.mark.parametrize(("limit", "visible", "reasoning", "finish"), [
    (50, 20, 30, "stop"), (49, 19, 30, "length"), (30, 0, 30, "length"), (10, 0, 10, "length"),
])  # fmt: skip
async def test_a_cap_ends_the_answer_and_reasoning_counts_toward_it(
    cap: str, limit: int, visible: int, reasoning: int, finish: str
) -> None:
    async with running(Behaviour(output_tokens=20, reasoning_tokens=30)) as provider:
        answer = await provider.ask(**{cap: limit})
        chunks = await provider.stream(**{cap: limit})
        served = [call.usage for call in provider.log]
    assert len((answer.choices[0].message.content or "").split()) == visible
    assert answer.choices[0].finish_reason == finish
    assert (text_of(chunks), finish_of(chunks)) == (answer.choices[0].message.content, [finish])
    assert {(usage.completion_tokens, usage.reasoning_tokens) for usage in served} == {(visible + reasoning, reasoning)}


async def test_several_answers_are_each_capped_and_all_billed() -> None:
    async with running(Behaviour(output_tokens=20)) as provider:
        answer = await provider.ask(n=3, max_tokens=7)
        chunks = await provider.stream(n=3, max_tokens=7)
    texts = [choice.message.content for choice in answer.choices]
    assert len(set(texts)) == 3
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 21
    assert [text_of(chunks, index) for index in range(3)] == texts
    assert [finish_of(chunks, index) for index in range(3)] == [["length"]] * 3


async def test_a_stream_begins_with_the_role_and_tells_no_usage_unasked() -> None:
    async with running() as provider:
        chunks = await provider.stream()
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices for chunk in chunks)
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)


async def test_a_stream_that_asks_for_usage_ends_with_it_and_has_null_elsewhere() -> None:
    async with running(Behaviour(output_tokens=9, chunk_tokens=4)) as provider:
        chunks = await provider.stream(stream_options={"include_usage": True})
        whole = await provider.ask()
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])
    assert len(chunks) == 1 + 3 + 1 + 1  # role, words, finish, usage


async def test_a_prompt_never_has_more_tokens_than_bytes() -> None:
    for content in ("", "a", "é" * 50, "a" * 10_000):
        messages = [{"role": "user", "content": content}]
        body = json.dumps({"model": MODEL, "messages": messages}, ensure_ascii=False).encode()
        async with running() as provider:
            usage = (await provider.ask(messages=messages)).usage
        assert usage is not None
        assert 0 < usage.prompt_tokens <= len(body)


async def test_models_behave_as_they_are_set_up() -> None:
    models = {"llama": Behaviour(output_tokens=3)}
    async with running(models=models) as provider:
        assert len((await provider.ask(model="llama")).choices[0].message.content.split()) == 3
        assert len((await provider.ask()).choices[0].message.content.split()) == 64


async def test_latency_and_the_pace_of_chunks_are_as_set() -> None:
    behaviour = Behaviour(latency_ms=100, chunk_delay_ms=30, output_tokens=4)
    async with running(behaviour) as provider:
        began = asyncio.get_running_loop().time()
        await provider.stream()
        assert asyncio.get_running_loop().time() - began >= 0.1 + 0.03 * 5


async def test_a_wrong_key_is_refused() -> None:
    async with running() as provider:
        with pytest.raises(openai.AuthenticationError) as refused:
            await provider.ask(key="tollway-holds-the-key")
        assert refused.value.code == "invalid_api_key"
        assert not provider.log


async def test_an_unknown_model_is_not_found() -> None:
    async with running() as provider:
        with pytest.raises(openai.NotFoundError) as refused:
            await provider.ask(model="claude")
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("request_fields", "param"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 129}, "n"),
        ({"messages": []}, "messages"),
        ({"model": ""}, "model"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
    ids=str,
)
async def test_an_invalid_request_is_refused(request_fields: dict[str, Any], param: str) -> None:
    async with running() as provider:
        with pytest.raises(openai.BadRequestError) as refused:
            await provider.ask(**request_fields)
    assert refused.value.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"\xff"}', b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused_in_openais_shape(body: bytes) -> None:
    async with running() as provider:
        status, error = await provider.post(body)
    assert status == 400
    assert error.keys() == {"message", "type", "param", "code"}


async def test_a_large_body_is_served_and_a_larger_one_refused() -> None:
    async with running(largest_body=3_000_000) as provider:
        await provider.ask(messages=[{"role": "user", "content": "a" * 2_900_000}])
        with pytest.raises(openai.APIStatusError) as refused:
            await provider.ask(messages=[{"role": "user", "content": "a" * 3_100_000}])
    assert refused.value.status_code == 413


async def test_a_model_can_be_made_to_fail() -> None:
    async with running(models={"gpt-down": Behaviour(status=503)}) as provider:
        with pytest.raises(openai.InternalServerError):
            await provider.ask(model="gpt-down")


async def test_a_stream_can_be_made_to_break_off() -> None:
    async with running(Behaviour(hang_up_after=4)) as provider:
        with pytest.raises(openai.APIConnectionError):
            await provider.stream()
        await until(lambda: bool(provider.log))
        served = provider.log[0]
    assert (served.completed, served.sent_tokens, served.usage.completion_tokens) == (False, 3, 3)


async def test_the_log_says_what_was_served_and_with_which_key() -> None:
    async with running() as provider:
        answer = await provider.ask()
        (served,) = provider.log
        async with aiohttp.ClientSession() as session, session.get(f"{provider.url}/demo/log") as page:
            (row,) = await page.json()
    assert (served.id, served.model, served.key, served.completed) == (answer.id, MODEL, KEY, True)
    assert answer.usage is not None
    assert served.usage.completion_tokens == answer.usage.completion_tokens
    assert row["usage"]["prompt_tokens"] == answer.usage.prompt_tokens
    assert row["key_sha256"] == hashlib.sha256(KEY.encode()).hexdigest()
    assert KEY not in json.dumps(row) + repr(served)


async def test_a_caller_that_leaves_is_billed_for_what_was_generated_until_then() -> None:
    behaviour = Behaviour(output_tokens=1000, reasoning_tokens=7, chunk_delay_ms=5)
    async with running(behaviour) as provider:
        async with openai.AsyncOpenAI(**provider.options()) as client:
            stream = await client.chat.completions.create(model=MODEL, messages=HI, stream=True)
            async with stream:
                for _ in range(5):
                    await anext(stream)
        await until(lambda: bool(provider.log))
        (served,) = provider.log
    assert not served.completed
    assert 4 <= served.sent_tokens < 1000
    assert served.usage.completion_tokens == 7 + served.sent_tokens


async def test_answers_carry_the_headers_about_the_shared_key() -> None:
    async with running() as provider, openai.AsyncOpenAI(**provider.options()) as client:
        raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=HI)
    assert raw.headers["x-ratelimit-remaining-requests"] == "9999"
    assert raw.headers["x-request-id"].startswith("req_")
