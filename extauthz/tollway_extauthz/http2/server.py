"""gRPC methods on a Unix socket, on an asyncio loop.

Everything happens in the loop's thread. Answers are written when `flush` is called, so that all answers that are ready
together leave in one write, and the peer wakes up once for them.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

from tollway_extauthz.http2.connection import BrokenConnection, Connection, Event, Left, Message

_log = logging.getLogger(__name__)
_INVALID_ARGUMENT: Final = 3
_UNIMPLEMENTED: Final = 12


class Call:
    """One call of a method, to be answered once, at any time later."""

    __slots__ = ("_stream", "_wire")

    def __init__(self, wire: "_Wire", stream: int) -> None:
        self._wire = wire
        self._stream = stream

    @property
    def is_wanted(self) -> bool:
        """Whether the caller still waits for the answer."""
        return self._wire.is_open and self._wire.connection.is_wanted(self._stream)

    def answer(self, message: bytes) -> None:
        """Have `message` sent with the next `flush`. Nobody may be there to take it any more: that is no error."""
        self._wire.connection.answer(self._stream, message)
        self._wire.is_dirty()


Method = Callable[[Call, bytes | bytearray], None]
"""One message, one answer: it has to see to it that the call is answered."""


class GrpcServer:
    """`methods`: by path, "/package.Service/Method". `when_read` is called behind all calls that came in one read."""

    def __init__(self, methods: Mapping[str, Method], when_read: Callable[[], None] = lambda: None) -> None:
        self._methods = methods
        self.when_read = when_read
        self._wires: set[_Wire] = set()
        self._dirty: set[_Wire] = set()
        self._server: asyncio.Server | None = None

    async def start(self, path: str) -> None:
        """Listen on the Unix socket, which only the owner of this process may use. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Wire(self), path, start_serving=False)
        Path(path).chmod(0o600)
        await self._server.start_serving()

    def flush(self) -> None:
        """Send everything that was answered."""
        for wire in self._dirty:
            wire.send()
        self._dirty.clear()

    def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()

    def close(self) -> None:
        """End all connections."""
        self.stop_listening()
        self.flush()
        for wire in tuple(self._wires):
            wire.close()

    def opened(self, wire: "_Wire") -> None:
        self._wires.add(wire)

    def closed(self, wire: "_Wire") -> None:
        self._wires.discard(wire)
        self._dirty.discard(wire)

    def dirty(self, wire: "_Wire") -> None:
        self._dirty.add(wire)

    def told(self, wire: "_Wire", event: Event) -> None:
        if isinstance(event, Left):
            return
        method = self._methods.get(event.path)
        if isinstance(event, Message):
            if method is not None:
                method(Call(wire, event.stream), event.body)
        elif method is None:
            wire.connection.fail(event.stream, _UNIMPLEMENTED, "there is no such method")
        elif event.is_silent:
            wire.connection.fail(event.stream, _INVALID_ARGUMENT, "the call came without a message")


class _Wire(asyncio.BufferedProtocol):
    """One connection on the loop."""

    def __init__(self, server: GrpcServer) -> None:
        self.connection = Connection()
        self._server = server
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # what a stream socket has, whatever its class
        self._server.opened(self)
        self.send()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._server.closed(self)

    def get_buffer(self, _: int) -> memoryview:
        return self.connection.room

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for event in self.connection.received(nbytes):
                self._server.told(self, event)
        except BrokenConnection as broken:
            _log.warning("a connection broke the protocol and is closed: %s", broken)
            self.close()
            return
        self._server.when_read()
        self.send()

    def pause_writing(self) -> None:
        # Who does not read what we say is not listened to, either.
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def is_dirty(self) -> None:
        self._server.dirty(self)

    def send(self) -> None:
        if self._transport is not None and (output := self.connection.take_output()):
            self._transport.write(output)

    def close(self) -> None:
        self.send()
        if self._transport is not None:
            self._transport.close()
