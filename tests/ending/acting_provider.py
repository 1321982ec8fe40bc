"""A provider that ends its answers in every way there is, as the prompt asks, and keeps a bill of what it generated.

A prompt is the name of an act and a number. A bill grows while tokens are generated, whether anybody listens or not.
"""

import asyncio
import gzip
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from aiohttp import ClientConnectionError, web

PROMPT: Final = 10
"""Tokens of any prompt."""
ANSWER: Final = 20
"""Tokens of an answer that ends by itself."""
CAP: Final = 60
"""Tokens that a call asks for at most; an act that is slow generates up to it."""
PAUSE_S: Final = 0.02
LARGEST_BODY: Final = 64 << 20


@dataclass(slots=True)
class Bill:
    """`call` is the gateway's id of the call."""

    call: str
    prompt: str
    input: int = PROMPT
    output: int = 0
    padding: int = 0
    """Bytes beside the tokens, as far as the connection took them."""


class Acting:
    """One answer that is being given."""

    def __init__(self, request: web.Request, bill: Bill, wire: "Wire", cue: asyncio.Event) -> None:
        self.request = request
        self.bill = bill
        self.wire = wire
        self.cue = cue

    def whole(self, output: int = ANSWER, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
        self.bill.output = output
        body = self.wire.document(output)
        return web.Response(body=body, status=status, content_type="application/json", headers=headers)

    def error(self, status: int) -> web.Response:
        self.bill.input = 0
        return web.json_response({"error": {"message": "no", "type": "server_error"}}, status=status)

    async def until_nobody_listens(self) -> None:
        while (transport := self.request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_S)

    def break_off(self) -> web.Response:
        """Reset the connection."""
        transport = self.request.transport
        if transport is not None:
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        return web.Response()

    async def stream(self, tokens: int, pause: float = 0.0, *, counting: bool = False) -> web.StreamResponse:
        """Send `tokens` tokens, or less if the test says so. What was begun is generated, listened to or not."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        try:
            await response.prepare(self.request)
            await response.write(self.wire.beginning())
            for _ in range(tokens):
                if self.cue.is_set():
                    break
                self.bill.output += 1
                await asyncio.sleep(pause)
                await response.write(self.wire.token(self.bill.output if counting else None))
        except ConnectionResetError:
            # By the time it notices it has generated more.
            self.bill.output = min(CAP, self.bill.output + 5)
            raise
        return response

    async def end(self, response: web.StreamResponse, *, usage: bool = True) -> web.StreamResponse:
        await response.write(self.wire.ending(self.bill.output, usage=usage))
        await response.write_eof()
        return response


class Wire:
    """The bytes of one API."""

    def document(self, output: int) -> bytes:
        raise NotImplementedError

    def beginning(self) -> bytes:
        raise NotImplementedError

    def token(self, counted: int | None) -> bytes:
        raise NotImplementedError

    def ending(self, output: int, *, usage: bool) -> bytes:
        raise NotImplementedError


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


class ChatWire(Wire):
    def _usage(self, output: int) -> dict[str, int]:
        return {"prompt_tokens": PROMPT, "completion_tokens": output, "total_tokens": PROMPT + output}

    def document(self, output: int) -> bytes:
        message = {"role": "assistant", "content": " ".join(["word"] * output)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        fields = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini"}
        return json.dumps({**fields, "choices": [choice], "usage": self._usage(output)}).encode()

    def beginning(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def token(self, counted: int | None) -> bytes:
        return self._chunk({"content": " word"}, None if counted is None else self._usage(counted))

    def ending(self, output: int, *, usage: bool) -> bytes:
        last = self._chunk({}, finish="stop")
        counted = _event({"id": "chatcmpl-1", "choices": [], "usage": self._usage(output)}) if usage else b""
        return last + counted + b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, str], usage: dict[str, int] | None = None, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}
        return _event({**chunk, "created": 1, "model": "gpt-4o-mini", **({"usage": usage} if usage else {})})


class MessagesWire(Wire):
    """Most of the prompt is read from the cache."""

    _BEGUN: Final = {"input_tokens": 2, "cache_read_input_tokens": PROMPT - 2, "service_tier": "standard"}

    def document(self, output: int) -> bytes:
        return json.dumps(
            {**self._message(), "stop_reason": "end_turn", "usage": {**self._BEGUN, "output_tokens": output}}
        ).encode()

    def beginning(self) -> bytes:
        usage = {**self._BEGUN, "output_tokens": 1}
        return self._named({"type": "message_start", "message": {**self._message(), "usage": usage}})

    def token(self, counted: int | None) -> bytes:
        del counted
        delta = {"type": "text_delta", "text": " word"}
        return self._named({"type": "content_block_delta", "index": 0, "delta": delta})

    def ending(self, output: int, *, usage: bool) -> bytes:
        if not usage:
            return self._named({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output}}
        return self._named(delta) + self._named({"type": "message_stop"})

    def _message(self) -> dict[str, Any]:
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": []}

    def _named(self, event: dict[str, Any]) -> bytes:
        return b"event: " + event["type"].encode() + b"\n" + _event(event)


Act = Callable[[Acting], Awaitable[web.StreamResponse]]


async def _json(acting: Acting) -> web.StreamResponse:
    return acting.whole()


async def _json_slowly(acting: Acting) -> web.StreamResponse:
    """Generates all of it, listened to or not."""
    acting.bill.output = CAP
    await asyncio.sleep(1.5)
    return acting.whole(CAP)


async def _long_json(acting: Acting) -> web.StreamResponse:
    """More bytes than all buffers on the way hold."""
    response = acting.whole()
    response.body = bytes(response.body).rstrip(b"}") + b', "padding": "' + b"x" * 3_000_000 + b'"}}'  # type: ignore[arg-type]
    return response


async def _json_without_usage(acting: Acting) -> web.StreamResponse:
    acting.bill.output = ANSWER
    return web.json_response({"choices": [{"message": {"content": "word " * ANSWER}}]})


async def _short_json_without_usage(acting: Acting) -> web.StreamResponse:
    acting.bill.output = 1
    return web.json_response({"choices": []})


async def _json_compressed(acting: Acting) -> web.StreamResponse:
    acting.bill.output = CAP
    body = gzip.compress(acting.wire.document(CAP))
    return web.Response(body=body, content_type="application/json", headers={"content-encoding": "gzip"})


async def _json_cut(acting: Acting) -> web.StreamResponse:
    acting.bill.output = ANSWER
    document = acting.wire.document(ANSWER)
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(document))})
    await response.prepare(acting.request)
    await response.write(document[: len(document) // 2])
    await asyncio.sleep(PAUSE_S)
    return acting.break_off()


async def _stream(acting: Acting) -> web.StreamResponse:
    return await acting.end(await acting.stream(ANSWER))


async def _json_held(acting: Acting) -> web.StreamResponse:
    """Waits for the test."""
    acting.bill.output = ANSWER
    await acting.cue.wait()
    return acting.whole()


async def _stream_held(acting: Acting) -> web.StreamResponse:
    response = await acting.stream(ANSWER)
    await acting.cue.wait()
    return await acting.end(response)


async def _stream_slowly(acting: Acting) -> web.StreamResponse:
    return await acting.end(await acting.stream(CAP, PAUSE_S))


async def _stream_for_long(acting: Acting) -> web.StreamResponse:
    return await acting.end(await acting.stream(CAP, 0.1))


async def _stream_counting(acting: Acting) -> web.StreamResponse:
    return await acting.end(await acting.stream(CAP, PAUSE_S, counting=True))


async def _stream_counting_for_long(acting: Acting) -> web.StreamResponse:
    return await acting.end(await acting.stream(CAP, 0.1, counting=True))


async def _stream_without_usage(acting: Acting) -> web.StreamResponse:
    return await acting.end(await acting.stream(ANSWER), usage=False)


async def _stream_reset(acting: Acting) -> web.StreamResponse:
    await acting.stream(5, PAUSE_S)
    return acting.break_off()


async def _stream_closed(acting: Acting) -> web.StreamResponse:
    await acting.stream(5, PAUSE_S)
    if acting.request.transport is not None:
        acting.request.transport.close()
    return web.Response()


async def _stream_stalls(acting: Acting) -> web.StreamResponse:
    """Generates on, but sends nothing of it."""
    response = await acting.stream(5, PAUSE_S)
    acting.bill.output = CAP
    await acting.until_nobody_listens()
    return response


async def _stream_lingers(acting: Acting) -> web.StreamResponse:
    """All is said, but the stream is not ended: the caller leaves first."""
    response = await acting.stream(ANSWER)
    await response.write(acting.wire.ending(ANSWER, usage=True))
    await acting.until_nobody_listens()
    return response


async def _stream_flood(acting: Acting) -> web.StreamResponse:
    """More bytes than all buffers on the way hold, for each token some."""
    response = await acting.stream(0)
    comment = b": " + b"x" * (256 << 10) + b"\n\n"
    for _ in range(CAP):
        acting.bill.output += 1
        await response.write(acting.wire.token(None) + comment)
        acting.bill.padding += len(comment)
    return await acting.end(response)


async def _silence(acting: Acting) -> web.StreamResponse:
    acting.bill.output = CAP
    await acting.until_nobody_listens()
    return acting.whole(CAP)


async def _reset(acting: Acting) -> web.StreamResponse:
    acting.bill.output = CAP
    return acting.break_off()


def _status(status: int) -> Act:
    async def act(acting: Acting) -> web.StreamResponse:
        return acting.error(status)

    return act


async def _gave_up_waiting(acting: Acting) -> web.StreamResponse:
    """What stands in front of the model has waited long enough; the model generates on."""
    response = acting.error(504)
    acting.bill.input, acting.bill.output = PROMPT, CAP
    return response


async def _failed_with_usage(acting: Acting) -> web.StreamResponse:
    return acting.whole(7, status=500)


ACTS: Final[Mapping[str, Act]] = {
    "json": _json,
    "json slowly": _json_slowly,
    "long json": _long_json,
    "json without usage": _json_without_usage,
    "short json without usage": _short_json_without_usage,
    "json compressed": _json_compressed,
    "json cut": _json_cut,
    "stream": _stream,
    "json held": _json_held,
    "stream held": _stream_held,
    "stream slowly": _stream_slowly,
    "stream for long": _stream_for_long,
    "stream counting": _stream_counting,
    "stream counting for long": _stream_counting_for_long,
    "stream without usage": _stream_without_usage,
    "stream reset": _stream_reset,
    "stream closed": _stream_closed,
    "stream stalls": _stream_stalls,
    "stream lingers": _stream_lingers,
    "stream flood": _stream_flood,
    "silence": _silence,
    "reset": _reset,
    "429": _status(429),
    "500": _status(500),
    "503": _status(503),
    "gave up waiting": _gave_up_waiting,
    "failed with usage": _failed_with_usage,
}


class ActingProvider:
    """Serves on loopback, in a thread of its own."""

    def __init__(self) -> None:
        self.bills: list[Bill] = []
        self._cue = asyncio.Event()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.1)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def go_on(self) -> None:
        """End all answers that are held."""

        def give_cue() -> None:
            self._cue.set()
            self._cue = asyncio.Event()

        self._loop.call_soon_threadsafe(give_cue)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_post("/v1/chat/completions", self._serve(ChatWire()))
        app.router.add_post("/v1/messages", self._serve(MessagesWire()))
        return app

    def _serve(self, wire: Wire) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            prompt = (await request.json())["messages"][0]["content"]
            bill = Bill(request.headers["x-request-id"], prompt)
            self.bills.append(bill)
            try:
                return await ACTS[prompt.partition(" #")[0]](Acting(request, bill, wire, self._cue))
            except (ConnectionError, ClientConnectionError):
                return web.Response()  # to nobody

        return serve

    async def _start(self) -> None:
        await self._runner.setup()
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        await web.SockSite(self._runner, listening).start()
