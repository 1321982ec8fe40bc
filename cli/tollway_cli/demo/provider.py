"""A model provider for demonstrations and tests: real wire formats, no model behind them, and a log of what it served.

As OpenAI it answers `POST /v1/chat/completions` and `/v1/responses` as JSON or as a stream, `/v1/embeddings` as JSON;
as Anthropic `/v1/messages` as JSON or as a stream, `/v1/messages/count_tokens` as JSON. `GET /demo/log` shows what was
served, as the provider's own bill to compare a ledger with.
"""

import asyncio
import hashlib
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from tollway_cli.demo.chat_wire import CHAT_COMPLETIONS
from tollway_cli.demo.embedding_wire import EMBEDDINGS
from tollway_cli.demo.generation import Usage
from tollway_cli.demo.manners import Manners
from tollway_cli.demo.message_wire import COUNT_TOKENS, MESSAGES
from tollway_cli.demo.request import ApiError
from tollway_cli.demo.response_wire import RESPONSES
from tollway_cli.demo.settings import Behaviour, ProviderSettings
from tollway_cli.demo.wire import Answer, Api, Asked, Circumstances, Event

__all__ = ["CALL_LOG", "Behaviour", "ProviderSettings", "Served", "make_app"]


@dataclass(frozen=True, slots=True)
class Served:
    """One answered call: what it is billed, and what of it really left.

    `usage` is what is billed: of an aborted stream what was generated until then. `sent_tokens` are visible tokens that
    were written. `key` is the key the caller came with.
    """

    id: str
    request_id: str
    model: str
    stream: bool
    usage: Usage
    sent_tokens: int
    completed: bool
    key: str = field(repr=False)

    def row(self) -> dict[str, object]:
        """For the log over HTTP, without the key itself."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "key"}
        return {**fields, "key_sha256": hashlib.sha256(self.key.encode()).hexdigest()}


CALL_LOG: Final = web.AppKey("call_log", deque[Served])
"""The log of an app from `make_app`, oldest first: `app[CALL_LOG]`."""


def make_app(settings: ProviderSettings) -> web.Application:
    provider = _Provider(settings)
    app = web.Application(client_max_size=settings.largest_body, middlewares=[_errors_as_json])
    app[CALL_LOG] = provider.log
    app.router.add_post("/v1/chat/completions", provider.serving(CHAT_COMPLETIONS))
    app.router.add_post("/v1/responses", provider.serving(RESPONSES))
    app.router.add_post("/v1/embeddings", provider.serving(EMBEDDINGS))
    app.router.add_post("/v1/messages", provider.serving(MESSAGES))
    app.router.add_post("/v1/messages/count_tokens", provider.serving(COUNT_TOKENS))
    app.router.add_get("/demo/log", provider.show_log)
    return app


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
R = TypeVar("R", bound=Asked)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        shaped = ApiError(error.status, f"Invalid URL ({request.method} {request.path})")
        return _json(shaped.body(), error.status)


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call that is being answered."""

    request_id: str
    key: str
    asked: Asked
    behaviour: Behaviour
    answer: Answer
    headers: dict[str, str]

    def served(self, *, sent_tokens: int, completed: bool) -> Served:
        return Served(
            id=self.answer.id,
            request_id=self.request_id,
            model=self.asked.model,
            stream=self.asked.stream,
            usage=self.answer.usage if completed or not self.asked.stream else self._until(sent_tokens),
            sent_tokens=sent_tokens,
            completed=completed,
            key=self.key,
        )

    def _until(self, sent_tokens: int) -> Usage:
        usage = self.answer.usage
        return replace(usage, completion_tokens=usage.reasoning_tokens + sent_tokens)


class _Provider:
    def __init__(self, settings: ProviderSettings) -> None:
        self.log: deque[Served] = deque(maxlen=settings.log_length)
        self._settings = settings
        self._numbers = itertools.count(1)

    def serving(self, api: Api[R]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                key = api.manners.admit(request.headers, self._settings.key)
                return await self._answer(request, self._call(api, key, await request.read()))
            except ApiError as error:
                return self._refused(api.manners, error)
            except web.HTTPRequestEntityTooLarge:
                return self._refused(api.manners, ApiError(413, "The request body is too large."))

        return handle

    def _refused(self, manners: Manners, error: ApiError) -> web.Response:
        request_id = _request_id(next(self._numbers))
        return _json(manners.error(error, request_id), error.status, {manners.id_header: request_id})

    async def _answer(self, request: web.Request, call: _Call) -> web.StreamResponse:
        await asyncio.sleep(call.behaviour.latency_ms / 1000)
        if call.behaviour.status != 200:
            raise ApiError(call.behaviour.status, "The server had an error while processing your request.")
        return await self._stream(request, call) if call.asked.stream else self._whole(request, call)

    async def show_log(self, request: web.Request) -> web.Response:
        del request
        return _json(msgspec.json.encode([served.row() for served in self.log]))

    def _call(self, api: Api[R], key: str, body: bytes) -> _Call:
        asked = api.read(body)
        behaviour = self._settings.behaviour_of(asked.model)
        if behaviour is None:
            name = asked.model[:100]
            raise ApiError(
                404, f"The model `{name}` does not exist or you do not have access to it.", "model_not_found"
            )
        number = next(self._numbers)
        return _Call(
            request_id=_request_id(number),
            key=key,
            asked=asked,
            behaviour=behaviour,
            answer=api.answer(asked, Circumstances(number, self._settings.created, len(body), behaviour)),
            headers=api.manners.headers(_request_id(number)),
        )

    def _whole(self, request: web.Request, call: _Call) -> web.Response:
        usage = call.answer.usage
        visible = usage.completion_tokens - usage.reasoning_tokens
        completed = not _is_gone(request)
        self.log.append(call.served(sent_tokens=visible if completed else 0, completed=completed))
        return _json(call.answer.document(), headers=call.headers)

    async def _stream(self, request: web.Request, call: _Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8", **call.headers})
        progress = _Progress()
        try:
            await response.prepare(request)
            await _send(response, call, progress)
        except ConnectionResetError:
            pass  # the caller is gone, which is what the log will say
        finally:
            self.log.append(call.served(sent_tokens=progress.tokens, completed=progress.completed))
        if not progress.completed and request.transport is not None:
            request.transport.abort()
        return response


@dataclass(slots=True)
class _Progress:
    tokens: int = 0
    completed: bool = False


async def _send(response: web.StreamResponse, call: _Call, progress: _Progress) -> None:
    """Write the stream, or as much of it as the call's behaviour has before it hangs up."""
    async for event in _paced(call.answer.events(call.behaviour.chunk_tokens), call.behaviour):
        await response.write(event.data)
        progress.tokens += event.tokens
    if call.behaviour.hang_up_after is None:
        await response.write(call.answer.ending)
        progress.completed = True


async def _paced(chunks: Iterable[Event], behaviour: Behaviour) -> AsyncIterator[Event]:
    for number, event in enumerate(itertools.islice(chunks, behaviour.hang_up_after)):
        if number and behaviour.chunk_delay_ms:
            await asyncio.sleep(behaviour.chunk_delay_ms / 1000)
        yield event


def _request_id(number: int) -> str:
    return f"req_demo{number:08}"


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
