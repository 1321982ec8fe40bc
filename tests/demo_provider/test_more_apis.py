"""The demo provider's responses and embeddings, as the official SDK finds them when it is used directly against it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from aiohttp import web

from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings, Served, make_app

KEY = "sk-demo"
MODEL = "gpt-5-mini"
ASKED = "Tell me about bridges."


class Place:
    def __init__(self, client: openai.AsyncOpenAI, app: web.Application) -> None:
        self.client = client
        self.app = app

    def served(self) -> list[Served]:
        return list(self.app[CALL_LOG])

    async def ask(self, **request: Any) -> Any:
        return await self.client.responses.create(**{"model": MODEL, "input": ASKED, **request})

    async def stream(self, **request: Any) -> list[Any]:
        return [event async for event in await self.ask(stream=True, **request)]


@asynccontextmanager
async def running(behaviour: Behaviour | None = None) -> AsyncIterator[Place]:
    app = make_app(ProviderSettings(key=KEY, behaviour=behaviour or Behaviour()))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
            yield Place(client, app)
    finally:
        await runner.cleanup()


async def test_a_response_has_its_text_and_what_it_consumed() -> None:
    async with running(Behaviour(output_tokens=20, reasoning_tokens=30, cached_tokens=5)) as place:
        answer = await place.ask(instructions="Be brief.", metadata={"a": "b"}, store=False)
        (served,) = place.served()
    assert len(answer.output_text.split()) == 20
    assert (answer.status, answer.store, answer.metadata) == ("completed", False, {"a": "b"})
    assert (answer.usage.output_tokens, answer.usage.output_tokens_details.reasoning_tokens) == (50, 30)
    assert answer.usage.input_tokens_details.cached_tokens == 5
    assert answer.usage.total_tokens == answer.usage.input_tokens + 50
    assert (served.id, served.usage.completion_tokens) == (answer.id, 50)


async def test_the_events_of_a_stream_come_in_openais_order_and_are_numbered() -> None:
    async with running(Behaviour(output_tokens=4, chunk_tokens=2)) as place:
        events = await place.stream()
        whole = await place.ask()
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[-1].response.output_text == whole.output_text
    assert events[-1].response.usage == whole.usage
    assert events[0].response.usage is None


async def test_the_sdks_own_helper_puts_a_stream_together() -> None:
    async with running() as place, place.client.responses.stream(model=MODEL, input=ASKED) as stream:
        final = await stream.get_final_response()
    assert len(final.output_text.split()) == 64


@pytest.mark.parametrize(("cap", "visible"), [(49, 19), (30, 0), (16, 0)])
async def test_a_cap_makes_a_response_incomplete(cap: int, visible: int) -> None:
    async with running(Behaviour(output_tokens=20, reasoning_tokens=30)) as place:
        answer = await place.ask(max_output_tokens=cap)
        events = await place.stream(max_output_tokens=cap)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens == cap
    assert len(answer.output_text.split()) == visible
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.usage == answer.usage


async def test_what_was_answered_can_be_sent_back() -> None:
    async with running(Behaviour(reasoning_tokens=3)) as place:
        first = await place.ask()
        items = [{"role": "user", "content": ASKED}, *(item.model_dump() for item in first.output)]
        second = await place.ask(input=[*items, {"role": "user", "content": "And gates?"}])
    assert second.usage.input_tokens > first.usage.input_tokens


@pytest.mark.parametrize(
    ("request_fields", "param"),
    [
        ({"max_output_tokens": 15}, "max_output_tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"input": []}, "input"),
    ],
    ids=str,
)
async def test_an_invalid_response_request_is_refused(request_fields: dict[str, Any], param: str) -> None:
    async with running() as place:
        with pytest.raises(openai.BadRequestError) as refused:
            await place.ask(**request_fields)
    assert refused.value.param == param


async def test_a_stored_response_is_not_found() -> None:
    async with running() as place:
        with pytest.raises(openai.NotFoundError):
            await place.ask(previous_response_id="resp_1")


async def test_a_stream_that_breaks_off_bills_what_it_sent() -> None:
    async with running(Behaviour(hang_up_after=6)) as place:
        with pytest.raises(openai.APIConnectionError):
            await place.stream()
        async with asyncio.timeout(5):
            while not place.served():  # noqa: ASYNC110 - a log has no event to wait for
                await asyncio.sleep(0.01)
        (served,) = place.served()
    assert (served.completed, served.usage.completion_tokens) == (False, 2)


async def test_texts_are_embedded_alike_however_the_vector_is_written() -> None:
    async with running() as place:
        create = place.client.embeddings.create
        decoded = await create(model="text-embedding-3-small", input=["a bridge", "a gate"])
        plain = await create(model="text-embedding-3-small", input="a bridge", encoding_format="float", dimensions=256)
    assert [one.index for one in decoded.data] == [0, 1]
    assert decoded.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert decoded.data[0].embedding != decoded.data[1].embedding
    assert sum(number**2 for number in plain.data[0].embedding) == pytest.approx(1)
    assert (decoded.usage.prompt_tokens, plain.usage.total_tokens) == (4, 2)


async def test_tokens_are_billed_as_they_are_counted() -> None:
    async with running() as place:
        create = place.client.embeddings.create
        one = await create(model="text-embedding-3-small", input=[1, 2, 3], dimensions=2)
        two = await create(model="text-embedding-3-small", input=[[1, 2, 3], [4]], dimensions=2)
        billed = [served.usage.prompt_tokens for served in place.served()]
    assert (len(one.data), len(two.data), billed) == (1, 2, [3, 4])
    assert one.data[0].embedding == two.data[0].embedding


@pytest.mark.parametrize("wrong", [[], "", ["a", ""], [[1], "a"], [1, "a"], {"a": 1}], ids=str)
async def test_an_input_that_is_no_text_is_not_embedded(wrong: Any) -> None:
    async with running() as place:
        with pytest.raises(openai.BadRequestError) as refused:
            await place.client.embeddings.create(model="text-embedding-3-small", input=wrong)
    assert refused.value.param == "input"
