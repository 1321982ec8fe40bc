"""A provider that writes down, byte for byte, what reached it, and answers at once.

It reads HTTP by itself, and strictly: a library would hide what an attacker could have slipped through.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from ending.acting_provider import Bill

PROMPT: Final = 10
ANSWER: Final = 2
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True)
class Received:
    """One request: its head as it came, and the body without its framing."""

    head: bytes
    body: bytes

    @property
    def request_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def call(self) -> str:
        return self.all("x-request-id")[0]

    @property
    def json(self) -> dict[str, Any]:
        """The body as a reader sees it that takes no key twice."""
        found = json.loads(self.body, object_pairs_hook=_each_once)
        assert isinstance(found, dict)
        return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs), pairs
    return dict(pairs)


@dataclass(frozen=True)
class Manner:
    """How a provider answers: with `status`, after some seconds, with headers of its own."""

    status: int = 200
    after_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, document: Mapping[str, Any]) -> bytes:
        error = {"error": {"message": "no", "type": "server_error"}}
        body = json.dumps(document if self.status == 200 else error).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} Whatever", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + body


class RecordingProvider:
    """Serves OpenAI's and Anthropic's API on loopback. `manner`: how it answers."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.bills: list[Bill] = []
        self.manner = Manner()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._open.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), connection:
            stream = connection.makefile("rb")
            while True:
                request = Received(_until(stream, _END), b"")
                connection.sendall(self._answer(Received(request.head, _body(stream, request))))
        self._open.discard(connection)

    def _answer(self, request: Received) -> bytes:
        manner = self.manner
        self.received.append(request)
        if manner.status == 200:
            self.bills.append(Bill(request.call, "", PROMPT, ANSWER))
        time.sleep(manner.after_s)
        return manner.answer(_message() if "/messages" in request.request_line else _completion())


def _until(stream: Any, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        line = stream.readline()
        if not line:
            raise EOFError
        read += line
    return read


def _body(stream: Any, request: Received) -> bytes:
    if request.all("transfer-encoding") == ["chunked"]:
        return _chunks(stream)
    (length,) = request.all("content-length") or ["0"]
    return _exactly(stream, int(length))


def _chunks(stream: Any) -> bytes:
    read = b""
    while size := int(_until(stream, b"\r\n"), 16):
        read += _exactly(stream, size)
        assert _until(stream, b"\r\n") == b"\r\n"
    _until(stream, b"\r\n")
    return read


def _exactly(stream: Any, size: int) -> bytes:
    read = stream.read(size)
    if len(read) < size:
        raise EOFError
    return bytes(read)


def _completion() -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": PROMPT, "completion_tokens": ANSWER, "total_tokens": PROMPT + ANSWER}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": usage}


def _message() -> dict[str, Any]:
    usage = {"input_tokens": PROMPT, "output_tokens": ANSWER, "service_tier": "standard"}
    content = [{"type": "text", "text": "hi"}]
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": content, "usage": usage}
