"""A provider that tells canaries in everything it says, and ends its answers as the prompt asks."""

import contextlib
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Self

from leaking.canaries import CANARIES

SAYS = {"x-told": CANARIES["a header of the answer"], "set-cookie": CANARIES["a header of the answer"]}
PROVIDERS_ERROR = "a provider's error"
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}


class TellingProvider:
    """`heard` is everything that came: heads and bodies."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _handler(provider: "TellingProvider") -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                provider.heard.append(str(self.headers).encode() + body)
                act = json.loads(body)["messages"][-1]["content"].partition(" ")[0]
                # Some callers leave before all is told.
                with contextlib.suppress(OSError):
                    _ACTS[act](self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _answer(handler: BaseHTTPRequestHandler, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    _head(handler, status, {"content-type": "application/json", "content-length": str(len(body))})
    handler.wfile.write(body)


def _head(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in {**SAYS, **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()


def _whole(handler: BaseHTTPRequestHandler) -> None:
    message = {"role": "assistant", "content": CANARIES["an answer"]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    _answer(handler, 200, {"id": "chatcmpl-1", "model": "gpt-4o-mini", "choices": [choice], "usage": USAGE})


def _error(status: int) -> Any:
    def act(handler: BaseHTTPRequestHandler) -> None:
        told = f"You said: {CANARIES['a prompt']}; {CANARIES[PROVIDERS_ERROR]}"
        _answer(handler, status, {"error": {"message": told, "type": told, "param": told, "code": told}})

    return act


def _stream(handler: BaseHTTPRequestHandler) -> None:
    _begin(handler)
    _event(handler, {"id": "c", "choices": [], "usage": USAGE})
    _chunk(handler, b"data: [DONE]\n\n")
    _chunk(handler, b"")


def _begin(handler: BaseHTTPRequestHandler) -> None:
    _head(handler, 200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    for _ in range(3):
        delta = {"content": CANARIES["an answer in a stream"]}
        _event(handler, {"id": "c", "choices": [{"index": 0, "delta": delta}], "usage": None})


def _event(handler: BaseHTTPRequestHandler, value: Any) -> None:
    _chunk(handler, b"data: " + json.dumps(value).encode() + b"\n\n")


def _chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
    handler.wfile.flush()


def _cut(handler: BaseHTTPRequestHandler) -> None:
    """Reset the connection in the middle of a stream."""
    _begin(handler)
    handler.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def _nonsense(handler: BaseHTTPRequestHandler) -> None:
    """No HTTP."""
    handler.wfile.write(CANARIES["an answer"].encode() + b"\r\n\r\n")
    handler.close_connection = True


def _linger(handler: BaseHTTPRequestHandler) -> None:
    """A stream that goes on until nobody listens."""
    handler.close_connection = True
    _begin(handler)
    while True:
        _event(handler, {"choices": [{"delta": {"content": CANARIES["an answer in a stream"]}}]})


_ACTS = {
    "whole": _whole,
    "stream": _stream,
    "linger": _linger,
    "cut": _cut,
    "nonsense": _nonsense,
    "400": _error(400),
    "429": _error(429),
    "500": _error(500),
}
