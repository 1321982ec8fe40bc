"""One connection of a gRPC server: bytes in, messages out (RFC 9113 and gRPC's "HTTP/2 transport"). No I/O, no clock.

Two things differ from a server for anybody. What is read is read into one buffer, and a message leaves it by one copy.
And how much of large messages is in memory is bounded by HTTP/2's own means: a stream may send `STREAM_WINDOW` unasked;
what needs more is let in one after the other, the next when the last is answered.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from tollway_extauthz.http2 import frames
from tollway_extauthz.http2.frames import ErrorCode
from tollway_extauthz.http2.headers import LARGEST_BLOCK, HeaderReader, UnreadableHeaders
from tollway_extauthz.http2.outbox import Outbox

STREAM_WINDOW: Final = 1 << 20
"""Bytes that any stream may send before it is let send more."""
LARGEST_MESSAGE: Final = 40 << 20
MOST_STREAMS: Final = 4096
_CONNECTION_WINDOW: Final = 64 << 20
_LARGEST_FRAME: Final = 1 << 16
_READ_AT_ONCE: Final = 1 << 18
_PREFIX: Final = 5  # of a gRPC message: whether it is compressed, and its length
_RESOURCE_EXHAUSTED: Final = 8
_UNIMPLEMENTED: Final = 12

_OPENING: Final = frames.settings(
    {
        frames.HEADER_TABLE_SIZE: 0,
        frames.MAX_CONCURRENT_STREAMS: MOST_STREAMS,
        frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        frames.MAX_FRAME_SIZE: _LARGEST_FRAME,
        frames.MAX_HEADER_LIST_SIZE: LARGEST_BLOCK,
    }
) + frames.window_update(0, _CONNECTION_WINDOW - frames.DEFAULT_WINDOW)


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message of the call on `stream`, of the method at `path`. One of several frames is where they were put
    together."""

    stream: int
    path: str
    body: bytes | bytearray


@dataclass(frozen=True, slots=True)
class SaidAll:
    """The client will say nothing more on `stream`. `is_silent`: it never said a whole message."""

    stream: int
    path: str
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """The client does not want the answer on `stream` any more."""

    stream: int
    path: str


Event = Message | SaidAll | Left


class BrokenConnection(Exception):  # noqa: N818 - named for what happened
    """The peer does not keep to the protocol. What is to be sent still says so; then the connection must be closed."""

    def __init__(self, code: ErrorCode, what: str) -> None:
        super().__init__(what)
        self.code = code


@dataclass(slots=True)
class _Stream:
    path: str
    send_room: int
    receive_room: int = STREAM_WINDOW
    partial: bytearray | None = None
    """What came of a message that is not whole yet, its prefix included."""
    is_silent: bool = True
    said_all: bool = False


class Connection:
    """Read into its `room`, answer what `received` gives, and send what `take_output` has."""

    def __init__(self) -> None:
        self._input = memoryview(bytearray(_READ_AT_ONCE))
        self._filled = 0
        self._preface_due = True
        self._out = Outbox()
        self._out.add(_OPENING)
        self._headers = HeaderReader()
        self._block: tuple[int, int, bytearray] | None = None
        self._streams: dict[int, _Stream] = {}
        self._last_stream = 0
        self._received = 0
        self._growing: int | None = None
        self._to_grow: deque[int] = deque()

    # -- what the peer says

    @property
    def room(self) -> memoryview:
        """Where to put what comes next; there always is some."""
        return self._input[self._filled :]

    def received(self, size: int) -> list[Event]:
        """Everything that is completed by so many bytes, which are in `room` now. Raises `BrokenConnection`."""
        self._filled += size
        events: list[Event] = []
        try:
            self._receive(events)
        except BrokenConnection as broken:
            self._out.add(frames.goaway(self._last_stream, broken.code))
            raise
        return events

    def _receive(self, events: list[Event]) -> None:
        at = self._skip_preface()
        if at < 0:
            return
        data, end = self._input, self._filled
        unpack = frames.HEAD.unpack_from
        while end - at >= frames.HEAD.size:
            high, low, kind, flags, stream = unpack(data, at)
            size = high << 16 | low
            if size > _LARGEST_FRAME:
                raise BrokenConnection(ErrorCode.FRAME_SIZE_ERROR, "a frame is larger than was agreed")
            begin = at + frames.HEAD.size
            if end - begin < size:
                break
            at = begin + size
            self._frame(kind, flags, stream & frames.STREAM_BITS, data[begin:at], events)
        if at:
            self._filled = end - at
            data[: self._filled] = data[at:end]
        if self._received >= _CONNECTION_WINDOW // 2:
            self._out.add(frames.window_update(0, self._received))
            self._received = 0

    def _skip_preface(self) -> int:
        """Where frames begin; -1 where that cannot be told yet."""
        if not self._preface_due:
            return 0
        begun = bytes(self._input[: min(self._filled, len(frames.PREFACE))])
        if not frames.PREFACE.startswith(begun):
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        if len(begun) < len(frames.PREFACE):
            return -1
        self._preface_due = False
        return len(frames.PREFACE)

    def _frame(self, kind: int, flags: int, stream: int, payload: memoryview, events: list[Event]) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        if kind == frames.DATA:
            self._data(flags, stream, payload, events)
        elif kind == frames.HEADERS:
            self._header_block(flags, stream, bytes(_unpadded(flags, payload)), events)
        else:
            handler = _RARE.get(kind)
            if handler is not None:  # what is unknown is ignored (§4.1)
                handler(self, flags, stream, bytes(payload), events)

    def _data(self, flags: int, number: int, payload: memoryview, events: list[Event]) -> None:
        size = len(payload)
        self._received += size
        stream = self._streams.get(number)
        if stream is None or stream.said_all:
            self._refuse_idle(number)
            return  # it was answered, or given up, while this was on its way
        stream.receive_room -= size
        if stream.receive_room < 0:
            raise BrokenConnection(ErrorCode.FLOW_CONTROL_ERROR, "a stream sent more than it had room for")
        if flags & frames.PADDED:
            payload = _unpadded(frames.PADDED, payload)
        said_all = bool(flags & frames.END_STREAM)
        if stream.partial is None and _is_one_message(payload):
            stream.is_silent = False
            events.append(Message(number, stream.path, bytes(payload[_PREFIX:])))
        else:
            self._gather(number, stream, payload, events)
        if said_all:
            self._said_all(number, stream, events)
        elif stream.receive_room < STREAM_WINDOW // 2:
            self._make_room(number, stream)

    def _gather(self, number: int, stream: _Stream, payload: memoryview, events: list[Event]) -> None:
        """Add to what came of a message so far; give out those that are whole."""
        partial = stream.partial if stream.partial is not None else bytearray()
        partial += payload
        at = 0
        while len(partial) - at >= _PREFIX:
            size = int.from_bytes(partial[at + 1 : at + _PREFIX], "big")
            if partial[at] or size > LARGEST_MESSAGE:
                self._give_up(number, stream, partial[at] != 0)
                return
            if len(partial) - at < _PREFIX + size:
                break
            if not at and len(partial) == _PREFIX + size:
                stream.is_silent, stream.partial = False, None
                del partial[:_PREFIX]
                events.append(Message(number, stream.path, partial))
                return
            events.append(Message(number, stream.path, bytes(memoryview(partial)[at + _PREFIX : at + _PREFIX + size])))
            stream.is_silent = False
            at += _PREFIX + size
        if at:
            del partial[:at]
        stream.partial = partial or None

    def _give_up(self, number: int, stream: _Stream, compressed: bool) -> None:
        why = "compressed messages are not understood" if compressed else f"at most {LARGEST_MESSAGE} bytes are taken"
        stream.partial = None
        self.fail(number, _UNIMPLEMENTED if compressed else _RESOURCE_EXHAUSTED, why)

    def _said_all(self, number: int, stream: _Stream, events: list[Event]) -> None:
        stream.said_all = True
        stream.partial = None
        events.append(SaidAll(number, stream.path, stream.is_silent))

    def _make_room(self, number: int, stream: _Stream) -> None:
        """For what comes next, at once; for the rest of a large message when it is its turn."""
        partial = stream.partial
        if partial is None or len(partial) < _PREFIX:
            self._grown(number)
            self._grant(number, stream, STREAM_WINDOW - stream.receive_room)
        elif number != self._growing and number not in self._to_grow:
            self._to_grow.append(number)
            self._grow_next()

    def _grow_next(self) -> None:
        while self._growing is None and self._to_grow:
            number = self._to_grow.popleft()
            stream = self._streams.get(number)
            if stream is None or stream.partial is None:
                continue
            self._growing = number
            size = int.from_bytes(stream.partial[1:_PREFIX], "big") + _PREFIX
            self._grant(number, stream, size - len(stream.partial) + STREAM_WINDOW - stream.receive_room)

    def _grown(self, number: int) -> None:
        if number == self._growing:
            self._growing = None
            self._grow_next()

    def _grant(self, number: int, stream: _Stream, more: int) -> None:
        stream.receive_room += more
        self._out.add(frames.window_update(number, more))

    def _header_block(self, flags: int, number: int, block: bytes, events: list[Event]) -> None:
        if flags & frames.END_HEADERS:
            self._headers_of(flags, number, block, events)
        else:
            self._block = number, flags, bytearray(block)

    def _continuation(self, flags: int, number: int, payload: bytes, events: list[Event]) -> None:
        if self._block is None or self._block[0] != number:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "nothing is to be continued")
        _, begun, block = self._block
        block += payload
        if len(block) > LARGEST_BLOCK or not payload:
            raise BrokenConnection(ErrorCode.ENHANCE_YOUR_CALM, "a header block does not end")
        if flags & frames.END_HEADERS:
            self._block = None
            self._headers_of(begun, number, bytes(block), events)

    def _headers_of(self, flags: int, number: int, block: bytes, events: list[Event]) -> None:
        try:
            path = self._headers.method(block)
        except UnreadableHeaders:
            raise BrokenConnection(ErrorCode.COMPRESSION_ERROR, "headers cannot be read") from None
        if number == 0:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "headers are of a stream")
        stream = self._streams.get(number)
        if stream is None and number > self._last_stream:
            stream = self._open(number, path)
        elif not flags & frames.END_STREAM:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "a stream has headers twice")
        if stream is not None and flags & frames.END_STREAM and not stream.said_all:
            self._said_all(number, stream, events)

    def _open(self, number: int, path: str) -> _Stream | None:
        if not number % 2:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "clients number their streams oddly")
        self._last_stream = number
        if len(self._streams) >= MOST_STREAMS:
            self._out.add(frames.rst_stream(number, ErrorCode.REFUSED_STREAM))
            return None
        stream = self._streams[number] = _Stream(path, self._out.stream_room)
        return stream

    def _reset(self, _: int, number: int, payload: bytes, events: list[Event]) -> None:
        if len(payload) != 4:
            raise BrokenConnection(ErrorCode.FRAME_SIZE_ERROR, "a reset has a wrong size")
        self._refuse_idle(number)
        self._forget(number, events)

    def _forget(self, number: int, events: list[Event]) -> None:
        self._out.forget(number)
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._grown(number)
            events.append(Left(number, stream.path))

    def _settings(self, flags: int, stream: int, payload: bytes, _: list[Event]) -> None:
        if stream or len(payload) % 6 or (flags & frames.ACK and payload):
            raise BrokenConnection(ErrorCode.FRAME_SIZE_ERROR, "settings have a wrong size")
        if flags & frames.ACK:
            return
        for at in range(0, len(payload), 6):
            self._set(int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
        self._out.add(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._out.go_on()

    def _set(self, what: int, value: int) -> None:
        if what == frames.INITIAL_WINDOW_SIZE:
            if value > frames.LARGEST_WINDOW:
                raise BrokenConnection(ErrorCode.FLOW_CONTROL_ERROR, "a window is too large")
            more = self._out.set_stream_room(value)
            for each in self._streams.values():
                each.send_room += more
        elif what == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME <= value <= frames.LARGEST_FRAME:
                raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "frames cannot be of that size")
            self._out.frame_size = value
        elif what == frames.ENABLE_PUSH and value > 1:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "pushing is on or off")

    def _ping(self, flags: int, stream: int, payload: bytes, _: list[Event]) -> None:
        if stream or len(payload) != 8:
            raise BrokenConnection(ErrorCode.FRAME_SIZE_ERROR, "a ping has a wrong size")
        if not flags & frames.ACK:
            self._out.add(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _window_update(self, _: int, number: int, payload: bytes, events: list[Event]) -> None:
        more = int.from_bytes(payload, "big") & frames.STREAM_BITS
        if len(payload) != 4 or not more:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "a window is updated by nothing")
        stream = self._streams.get(number)
        if number == 0:
            if not self._out.widen(more):
                raise BrokenConnection(ErrorCode.FLOW_CONTROL_ERROR, "a window grows beyond all bounds")
        elif stream is not None:
            stream.send_room += more
            if stream.send_room > frames.LARGEST_WINDOW:
                self._out.add(frames.rst_stream(number, ErrorCode.FLOW_CONTROL_ERROR))
                self._forget(number, events)
        elif not self._out.widen_stream(number, more):
            self._refuse_idle(number)
        self._out.go_on()

    def _priority(self, _: int, number: int, payload: bytes, __: list[Event]) -> None:
        if number == 0 or len(payload) != 5 or int.from_bytes(payload[:4], "big") & frames.STREAM_BITS == number:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "no stream is prior to itself")

    def _goaway(self, _: int, number: int, __: bytes, ___: list[Event]) -> None:
        if number != 0:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "who leaves, leaves the connection")

    def _push_promise(self, _: int, __: int, ___: bytes, ____: list[Event]) -> None:
        raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "clients promise nothing")

    def _refuse_idle(self, number: int) -> None:
        if number > self._last_stream or number == 0:
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "a stream that was never opened is spoken of")

    # -- what is answered

    def is_wanted(self, number: int) -> bool:
        """Whether the client still waits for the answer on this stream."""
        return number in self._streams

    def answer(self, number: int, message: bytes) -> None:
        """The one message of an answer, and that it went well. Nothing happens where nobody waits for it any more."""
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        self._grown(number)
        is_sent = self._out.answer(number, message, stream.send_room)
        if is_sent and not stream.said_all:
            self._out.add(frames.rst_stream(number, ErrorCode.NO_ERROR))

    def fail(self, number: int, status: int, message: str) -> None:
        """End the call on this stream with a status of gRPC's."""
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        self._grown(number)
        self._out.fail(number, status, message)
        if not stream.said_all:
            self._out.add(frames.rst_stream(number, ErrorCode.NO_ERROR))

    def take_output(self) -> bytes:
        """What is to be sent now."""
        return self._out.take()


_RARE: Final = {
    frames.CONTINUATION: Connection._continuation,  # noqa: SLF001 - a table of its own methods
    frames.RST_STREAM: Connection._reset,  # noqa: SLF001
    frames.SETTINGS: Connection._settings,  # noqa: SLF001
    frames.PING: Connection._ping,  # noqa: SLF001
    frames.WINDOW_UPDATE: Connection._window_update,  # noqa: SLF001
    frames.PRIORITY: Connection._priority,  # noqa: SLF001
    frames.GOAWAY: Connection._goaway,  # noqa: SLF001
    frames.PUSH_PROMISE: Connection._push_promise,  # noqa: SLF001
}


def _is_one_message(payload: memoryview) -> bool:
    return (
        len(payload) >= _PREFIX
        and payload[0] == 0
        and int.from_bytes(payload[1:_PREFIX], "big") == len(payload) - _PREFIX
    )


def _unpadded(flags: int, payload: memoryview) -> memoryview:
    """Without padding and, of headers, priority (§6.1, §6.2)."""
    begin, end = 0, len(payload)
    if flags & frames.PADDED:
        if not payload or payload[0] >= len(payload):
            raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "there is more padding than frame")
        begin, end = 1, end - payload[0]
    if flags & frames.WITH_PRIORITY:
        begin += 5
    if begin > end:
        raise BrokenConnection(ErrorCode.PROTOCOL_ERROR, "there is more padding than frame")
    return payload[begin:end]
