"""The demo provider speaks Anthropic's format: the official SDK, used directly against it, finds what it expects."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anthropic
import pytest
from aiohttp import web
from anthropic.types import Message, RawMessageStreamEvent

from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings, Served, make_app

KEY = "sk-demo"
MODEL = "claude-sonnet-5"
HI: Any = [{"role": "user", "content": "Tell me about bridges."}]
LONG = "A text that is the same in every call. " * 20


class Provider:
    def __init__(self, port: int, log: deque[Served]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    def client(self, key: str = KEY) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=self.url, api_key=key, max_retries=0)

    async def ask(self, key: str = KEY, **request: Any) -> Message:
        async with self.client(key) as client:
            return await client.messages.create(**{"model": MODEL, "max_tokens": 1000, "messages": HI, **request})

    async def events(self, **request: Any) -> list[RawMessageStreamEvent]:
        async with self.client() as client:
            asked = {"model": MODEL, "max_tokens": 1000, "messages": HI, "stream": True, **request}
            return [event async for event in await client.messages.create(**asked)]


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


async def test_an_answer_has_text_and_usage() -> None:
    async with running(Behaviour(output_tokens=20, reasoning_tokens=30, cached_tokens=5)) as provider:
        answer = await provider.ask()
        served = provider.log[0].usage
    assert len(answer.content[0].text.split()) == 20
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens == 50
    assert answer.usage.output_tokens_details.thinking_tokens == 30
    assert answer.usage.cache_read_input_tokens == served.cached_tokens == 5
    assert answer.usage.input_tokens == served.prompt_tokens - 5


async def test_a_stream_has_the_events_of_the_real_one_and_says_the_same_as_a_whole_answer() -> None:
    async with running(Behaviour(output_tokens=6, chunk_tokens=2)) as provider:
        whole = await provider.ask()
        events = await provider.events()
        async with (
            provider.client() as client,
            client.messages.stream(model=MODEL, max_tokens=1000, messages=HI) as stream,
        ):
            streamed = await stream.get_final_message()
    assert [event.type for event in events] == [
        "message_start", "content_block_start", *["content_block_delta"] * 3, "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    assert streamed.content[0].text == whole.content[0].text
    assert streamed.usage.model_dump() == whole.usage.model_dump()


async def test_a_stream_tells_the_input_at_its_start_and_the_output_at_its_end() -> None:
    async with running(Behaviour(output_tokens=6)) as provider:
        events = await provider.events()
    start, delta = events[0].message.usage, events[-2].usage
    assert (start.input_tokens, start.output_tokens) == (delta.input_tokens, 1)
    assert delta.output_tokens == 6


async def test_a_stream_pings_as_bytes() -> None:
    async with running() as provider, aiohttp.ClientSession() as session:
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        body = {"model": MODEL, "max_tokens": 10, "messages": HI, "stream": True}
        async with session.post(f"{provider.url}/v1/messages", json=body, headers=headers) as answer:
            text = await answer.text()
    assert 'event: ping\ndata: {"type":"ping"}\n\n' in text
    assert text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


@pytest.mark.parametrize(("limit", "visible", "thought", "why"), [
    (50, 20, 30, "end_turn"), (49, 19, 30, "max_tokens"), (10, 0, 10, "max_tokens"), (0, 0, 0, "max_tokens"),
])  # fmt: skip
async def test_a_cap_ends_the_answer_and_thinking_counts_toward_it(
    limit: int, visible: int, thought: int, why: str
) -> None:
    async with running(Behaviour(output_tokens=20, reasoning_tokens=30)) as provider:
        answer = await provider.ask(max_tokens=limit)
        events = await provider.events(max_tokens=limit)
    assert sum(len(block.text.split()) for block in answer.content) == visible
    assert (answer.stop_reason, events[-2].delta.stop_reason) == (why, why)
    assert (answer.usage.output_tokens, events[-2].usage.output_tokens) == (visible + thought, visible + thought)


async def test_what_is_marked_is_written_to_the_cache_for_as_long_as_it_says() -> None:
    hour, minutes = {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}
    system = [{"type": "text", "text": LONG, "cache_control": hour}]
    messages = [{"role": "user", "content": [{"type": "text", "text": LONG[:400], "cache_control": minutes}]}]
    async with running(Behaviour(cached_tokens=20)) as provider:
        usage = (await provider.ask(system=system, messages=messages)).usage
        (served,) = provider.log
    assert usage.cache_creation.ephemeral_1h_input_tokens == served.usage.written_1h_tokens > 190
    assert usage.cache_creation.ephemeral_5m_input_tokens == served.usage.written_5m_tokens > 95
    parts = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    assert parts == served.usage.prompt_tokens


async def test_counting_is_free_and_tells_what_a_message_would() -> None:
    async with running() as provider:
        async with provider.client() as client:
            counted = await client.messages.count_tokens(model=MODEL, messages=HI)
        answer = await provider.ask()
        assert counted.input_tokens == answer.usage.input_tokens
        assert provider.log[0].usage.prompt_tokens == 0


async def test_a_wrong_key_is_refused() -> None:
    async with running() as provider:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            await provider.ask(key="tollway-holds-the-key")
        assert refused.value.type == "authentication_error"
        assert refused.value.request_id is not None
        assert not provider.log


async def test_an_unknown_model_is_not_found() -> None:
    async with running() as provider:
        with pytest.raises(anthropic.NotFoundError) as refused:
            await provider.ask(model="gemini")
    assert refused.value.type == "not_found_error"


@pytest.mark.parametrize(
    "request_fields",
    [
        {"max_tokens": -1},
        {"messages": []},
        {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"extra_headers": {"anthropic-version": "2023-01-01"}},
    ],
    ids=str,
)
async def test_an_invalid_request_is_refused(request_fields: dict[str, Any]) -> None:
    async with running() as provider:
        with pytest.raises(anthropic.BadRequestError) as refused:
            await provider.ask(**request_fields)
    assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (529, anthropic.OverloadedError, "overloaded_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
    ],
)
async def test_a_model_can_be_made_to_fail(status: int, error: type[anthropic.APIStatusError], kind: str) -> None:
    async with running(Behaviour(status=status)) as provider:
        with pytest.raises(error) as refused:
            await provider.ask()
    assert refused.value.type == kind


async def test_a_larger_body_than_allowed_is_refused_in_anthropics_shape() -> None:
    async with running(largest_body=10_000) as provider:
        with pytest.raises(anthropic.APIStatusError) as refused:
            await provider.ask(system="a" * 20_000)
    assert refused.value.status_code == 413
    assert json.loads(refused.value.response.text)["error"]["type"] == "request_too_large"


async def test_a_stream_can_be_made_to_break_off() -> None:
    async with running(Behaviour(hang_up_after=6)) as provider:
        with pytest.raises(Exception, match="peer closed connection"):
            await provider.events()
        async with asyncio.timeout(5):
            while not provider.log:  # noqa: ASYNC110 - a log has no event to wait for
                await asyncio.sleep(0.01)
        served = provider.log[0]
    assert (served.completed, served.sent_tokens, served.usage.completion_tokens) == (False, 3, 3)


async def test_answers_carry_the_headers_about_the_shared_key() -> None:
    async with running() as provider, provider.client() as client:
        raw = await client.messages.with_raw_response.create(model=MODEL, max_tokens=9, messages=HI)
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "9999"
    assert raw.headers["request-id"].startswith("req_")
