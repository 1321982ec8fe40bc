"""A model provider for demonstrations and tests: OpenAI's wire format, no model behind it, and a log of what it served.

`POST /v1/chat/completions` answers as JSON or as a stream; `GET /demo/log` shows what was served, as the provider's own
bill to compare a ledger with. It sends the headers about the shared key that a gateway must not pass on.
"""

import asyncio
import hashlib
import hmac
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
from aiohttp import web

from tollway_cli.demo.chat_wire import DONE, Envelope, Event, document, events
from tollway_cli.demo.generation import Completion, Usage, complete
from tollway_cli.demo.request import ApiError, ChatRequest, read_chat_request
from tollway_cli.demo.settings import Behaviour, ProviderSettings

__all__ = ["CALL_LOG", "Behaviour", "ProviderSettings", "Served", "make_app"]

_SHARED_KEY_HEADERS: Final = {
    "openai-organization": "demo-organization",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "6ms",
}


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
    app.router.add_post("/v1/chat/completions", provider.chat_completions)
    app.router.add_get("/demo/log", provider.show_log)
    return app


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return _json(error.body(), error.status)
    except web.HTTPRequestEntityTooLarge:
        return _json(ApiError(413, "The request body is too large.").body(), 413)
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
    chat: ChatRequest
    behaviour: Behaviour
    completion: Completion
    envelope: Envelope

    @property
    def headers(self) -> dict[str, str]:
        return {"x-request-id": self.request_id, **_SHARED_KEY_HEADERS}

    def served(self, *, sent_tokens: int, completed: bool) -> Served:
        return Served(
            id=self.envelope.completion_id,
            request_id=self.request_id,
            model=self.chat.model,
            stream=self.chat.stream,
            usage=self.completion.usage if completed or not self.chat.stream else self._until(sent_tokens),
            sent_tokens=sent_tokens,
            completed=completed,
            key=self.key,
        )

    def _until(self, sent_tokens: int) -> Usage:
        usage = self.completion.usage
        return replace(usage, completion_tokens=usage.reasoning_tokens + sent_tokens)


class _Provider:
    def __init__(self, settings: ProviderSettings) -> None:
        self.log: deque[Served] = deque(maxlen=settings.log_length)
        self._settings = settings
        self._numbers = itertools.count(1)

    async def chat_completions(self, request: web.Request) -> web.StreamResponse:
        key = self._key(request)
        body = await request.read()
        call = self._call(key, body)
        await asyncio.sleep(call.behaviour.latency_ms / 1000)
        if call.behaviour.status != 200:
            raise ApiError(call.behaviour.status, "The server had an error while processing your request.")
        return await self._stream(request, call) if call.chat.stream else self._whole(request, call)

    async def show_log(self, request: web.Request) -> web.Response:
        del request
        return _json(msgspec.json.encode([served.row() for served in self.log]))

    def _key(self, request: web.Request) -> str:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        expected = self._settings.key
        if expected is not None and not (
            scheme.lower() == "bearer" and hmac.compare_digest(key.encode(), expected.encode())
        ):
            raise ApiError(401, "Incorrect API key provided.", "invalid_api_key")
        return key

    def _call(self, key: str, body: bytes) -> _Call:
        chat = read_chat_request(body)
        behaviour = self._settings.behaviour_of(chat.model)
        if behaviour is None:
            name = chat.model[:100]
            raise ApiError(
                404, f"The model `{name}` does not exist or you do not have access to it.", "model_not_found"
            )
        number = next(self._numbers)
        return _Call(
            request_id=f"req_demo{number:08}",
            key=key,
            chat=chat,
            behaviour=behaviour,
            completion=complete(chat, len(body), behaviour),
            envelope=Envelope(f"chatcmpl-demo{number:08}", chat.model, self._settings.created, chat.tier),
        )

    def _whole(self, request: web.Request, call: _Call) -> web.Response:
        usage = call.completion.usage
        visible = usage.completion_tokens - usage.reasoning_tokens
        completed = not _is_gone(request)
        self.log.append(call.served(sent_tokens=visible if completed else 0, completed=completed))
        return _json(document(call.envelope, call.completion), headers=call.headers)

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
    chunks = events(call.envelope, call.completion, call.behaviour.chunk_tokens, include_usage=call.chat.include_usage)
    async for event in _paced(chunks, call.behaviour):
        await response.write(event.data)
        progress.tokens += event.tokens
    if call.behaviour.hang_up_after is None:
        await response.write(DONE)
        progress.completed = True


async def _paced(chunks: Iterable[Event], behaviour: Behaviour) -> AsyncIterator[Event]:
    for number, event in enumerate(itertools.islice(chunks, behaviour.hang_up_after)):
        if number and behaviour.chunk_delay_ms:
            await asyncio.sleep(behaviour.chunk_delay_ms / 1000)
        yield event


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
