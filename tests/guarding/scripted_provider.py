"""A provider that answers with whatever bytes a test wants, and keeps its connections open as providers do."""

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO, Self

OPENING = b"HTTP/1.1 200 OK\r\n"


def answer(body: bytes, content_type: str = "application/json", *headers: str) -> bytes:
    """A whole answer, well framed."""
    lines = [f"content-type: {content_type}", f"content-length: {len(body)}", *headers, "", ""]
    return OPENING + "\r\n".join(lines).encode() + body


def usage(**said: Any) -> bytes:
    """A chat completion that says this of its usage; values are JSON."""
    members = ",".join(f'"{name}":{value}' for name, value in said.items())
    return b'{"id":"x","model":"gpt-4o-mini","choices":[],"usage":{' + members.encode() + b"}}"


class ScriptedProvider:
    """`acts` are answers by the prompt that asks for them."""

    def __init__(self, acts: Mapping[str, bytes]) -> None:
        self._acts = acts
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ending = threading.Event()
        self.served: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ending.is_set():
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while body := _read_request(stream):
                prompt = json.loads(body)["messages"][0]["content"]
                self.served.append(prompt)
                connection.sendall(self._acts[prompt])


def _read_request(stream: BinaryIO) -> bytes:
    length = 0
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return stream.read(length)
