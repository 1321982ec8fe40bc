"""One HTTP exchange with a loopback port of a pod: through the API server's port-forward, as WebSocket.

Frames of `v4.channel.k8s.io` begin with a byte that names a channel: 0 has the port's data, 1 says in words why there
is none. The first frame of each repeats the port. Source: kubelet, `portforward/websocket.go`.

The library's own forwarding keeps neither the status of a refusal nor its reason, and takes a thread for each.
"""

import asyncio
import http.client
import io
import re
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from tollway_cli.cluster.connection import Way
from tollway_cli.views.instance import Answer
from tollway_operator.cluster.errors import Unavailable
from tollway_operator.cluster.kinds import POD

PROTOCOL: Final = "v4.channel.k8s.io"
_DATA: Final = 0
_CHUNK: Final = 64 << 10
_END_OF_HEADER: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"^content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


class NotForwarded(Unavailable):
    """The pod was reached and its port was not, or it fell silent; the message is the node's."""


@dataclass(frozen=True, slots=True)
class Question:
    method: str
    target: str
    body: bytes | None = field(default=None, repr=False)

    def encoded(self) -> bytes:
        body = self.body or b""
        kind = "Content-Type: application/json\r\n" if body else ""
        head = f"{self.method} {self.target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body


async def ask(way: Way, namespace: str, pod: str, port: int, question: Question, seconds: float) -> Answer:
    """Raises `Refused` where forwarding is not allowed, `NotForwarded`, and `Unavailable`."""
    path = f"{POD.path(namespace, pod, 'portforward')}?ports={port}"
    try:
        async with asyncio.timeout(seconds), way.socket(path, PROTOCOL) as socket:
            return parsed(await _exchange(socket, question.encoded()))
    except TimeoutError as error:
        raise NotForwarded(f"pod {pod} did not answer within {seconds:.0f} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise NotForwarded(f"the connection to pod {pod} was lost: {str(error) or type(error).__name__}") from error


async def _exchange(socket: aiohttp.ClientWebSocketResponse, request: bytes) -> bytes:
    for start in range(0, len(request), _CHUNK):
        await socket.send_bytes(bytes((_DATA,)) + request[start : start + _CHUNK])
    received = Received()
    async for frame in socket:
        if frame.type is aiohttp.WSMsgType.BINARY and received.take(frame.data):
            break
    return received.whole()


class Received:
    """The frames so far."""

    def __init__(self) -> None:
        self._opened: set[int] = set()
        self._data = bytearray()
        self._complaint = b""
        self._needed: int | None = None
        """Bytes of a whole answer, once its header is there."""

    def take(self, frame: bytes) -> bool:
        """Whether that was the last one that matters: the pod may keep its connection open for longer."""
        if not frame:
            return False
        channel, content = frame[0], frame[1:]
        if channel not in self._opened:
            self._opened.add(channel)
            return False
        if channel != _DATA:
            self._complaint += content
            return True
        self._data += content
        return self._is_whole()

    def whole(self) -> bytes:
        """The answer. Raises `NotForwarded` for none, or for a part of one."""
        if self._complaint:
            raise NotForwarded(self._complaint.decode("utf-8", "replace").strip())
        if not self._data or (self._needed is not None and len(self._data) < self._needed):
            raise NotForwarded("the connection to the pod ended before its answer did")
        return bytes(self._data)

    def _is_whole(self) -> bool:
        if self._needed is None and (end := self._data.find(_END_OF_HEADER)) >= 0:
            length = _LENGTH.search(self._data, 0, end + 2)
            # Without a length it ends with the connection.
            self._needed = end + len(_END_OF_HEADER) + int(length[1]) if length else None
        return self._needed is not None and len(self._data) >= self._needed


class _Spoken:
    """What `http.client` reads an answer from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)


def parsed(content: bytes) -> Answer:
    """An HTTP answer. Raises `NotForwarded` for what is none."""
    response = http.client.HTTPResponse(_Spoken(content))  # type: ignore[arg-type]
    try:
        response.begin()
        return Answer(response.status, response.reason, response.read())
    except http.client.HTTPException as error:
        raise NotForwarded(f"the pod's answer is no HTTP: {str(error) or type(error).__name__}") from error
