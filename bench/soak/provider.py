"""The accounting provider (`python -m bench.soak.provider PORT BILL`): it answers chat completions, and its bill has a
line for each call with what it generated, whether anybody listened or not: call id, input and output tokens.

Most answers are whole and come after some milliseconds. Streams come chunk by chunk. One call of a hundred ends with
the provider's own error, one stream of fifty breaks off. What is generated never exceeds the cap of the request.
"""

import asyncio
import contextlib
import random
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.soak.wire import BREAKS_OFF, CHUNK_TOKENS, OWN_ERROR, PROMPT_TOKENS, answer, chunk, ending, framed

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CALL: Final = re.compile(rb"\r\nx-request-id: *([^\r]+)", re.IGNORECASE)
_CAP: Final = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)')
_STREAMS: Final = re.compile(rb'"stream": ?true')
_HEAD_END: Final = b"\r\n\r\n"
_JSON: Final = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LATENCY_S: Final = (0.002, 0.03)
_CHUNK_EVERY_S: Final = 0.01
_ANSWER_TOKENS: Final = (20, 120)
_OWN_ERRORS: Final = 0.01
_BREAKS: Final = 0.02
_UNNOTICED: Final = 5
"""Tokens that are generated until it notices that nobody listens."""
_FLUSH_S: Final = 0.5


class Answering(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self, bill: Callable[[bytes, int, int], None], dice: random.Random) -> None:
        self._bill = bill
        self._dice = dice
        self._loop = asyncio.get_running_loop()
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(_HEAD_END)
        length = _LENGTH.search(head) if found else None
        if length is None or len(body) < int(length[1]):
            return
        self._got = b""
        call = _CALL.search(head)
        cap = _CAP.search(body)
        wanted = self._dice.randint(*_ANSWER_TOKENS)
        self._asked(call[1] if call else b"-", min(wanted, int(cap[1])) if cap else wanted, body)

    def _asked(self, call: bytes, output: int, body: bytes) -> None:
        if self._dice.random() < _OWN_ERRORS:
            self._whole(b"500 Internal Server Error", OWN_ERROR)
        elif _STREAMS.search(body):
            self._begin_stream(call, output, b"include_usage" in body)
        else:
            self._bill(call, PROMPT_TOKENS, output)
            self._loop.call_later(self._dice.uniform(*_LATENCY_S), self._whole, b"200 OK", answer(output))

    def _whole(self, status: bytes, content: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(_JSON % (status, len(content)) + content)

    def _begin_stream(self, call: bytes, output: int, usage: bool) -> None:
        breaks = self._dice.random() < _BREAKS
        self._transport.write(_STREAM + (framed(BREAKS_OFF) if breaks else b""))
        self._stream(call, 0, output // 2 if breaks else output, output, ending(output, usage=usage))

    def _stream(self, call: bytes, sent: int, until: int, output: int, end: bytes) -> None:
        if self._transport.is_closing():
            self._bill(call, PROMPT_TOKENS, min(output, sent + _UNNOTICED))
        elif sent < until:
            self._transport.write(framed(chunk(min(CHUNK_TOKENS, until - sent))))
            sent = min(sent + CHUNK_TOKENS, until)
            self._loop.call_later(_CHUNK_EVERY_S, self._stream, call, sent, until, output, end)
        elif until < output:
            self._bill(call, PROMPT_TOKENS, until)
            self._transport.abort()
        else:
            self._bill(call, PROMPT_TOKENS, output)
            self._transport.write(framed(end) + b"0\r\n\r\n")


async def _serve(port: int, path: Path) -> None:
    loop, dice, stop = asyncio.get_running_loop(), random.Random(1), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with path.open("ab") as file:

        def bill(call: bytes, input_tokens: int, output_tokens: int) -> None:
            file.write(b"%b %d %d\n" % (call, input_tokens, output_tokens))

        server = await loop.create_server(lambda: Answering(bill, dice), "127.0.0.1", port, backlog=1024)
        while not stop.is_set():
            file.flush()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _FLUSH_S)
        server.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
