"""HTTP/2 written by hand: frames that no client library would send, and what comes back."""

import contextlib
import itertools
import socket
from collections.abc import Sequence

from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from withstanding.ground import CUT, Answer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Headers = Sequence[tuple[str, str]]


def call(headers: Headers, body: bytes, trailers: Headers = (), *, ended: bool = True, window: int = 65_535) -> bytes:
    """A connection's first bytes: the settings, and one request on stream 1, to be answered with `window` bytes."""
    encoder = Encoder()
    frames: list[Frame] = [SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: window})]
    frames += [_headers(encoder, headers, ended=False)]
    frames += [DataFrame(1, body, flags=["END_STREAM"] if ended and not trailers else [])]
    if trailers:
        frames.append(_headers(encoder, trailers, ended=True))
    return PREFACE + b"".join(frame.serialize() for frame in frames)


def begun(headers: Headers) -> bytes:
    """A connection's first bytes, and a block of headers that goes on."""
    frame = _headers(Encoder(), headers, ended=True)
    frame.flags.discard("END_HEADERS")
    return PREFACE + SettingsFrame(0).serialize() + frame.serialize()


def _headers(encoder: Encoder, headers: Headers, *, ended: bool) -> Frame:
    block = encoder.encode([(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers])
    return HeadersFrame(1, block, flags=["END_HEADERS", *(["END_STREAM"] if ended else [])])


def read_call(connection: socket.socket) -> Answer:
    """The answer on stream 1; status 0 where the stream was reset or the connection was ended instead."""
    headers: dict[str, str] = {}
    body = b""
    with contextlib.suppress(OSError, EOFError):
        headers = read_headers(connection)
        while headers:
            frame = _frame(connection)
            if isinstance(frame, (RstStreamFrame, GoAwayFrame)):
                break
            if isinstance(frame, DataFrame):
                body += frame.data
            if isinstance(frame, (HeadersFrame, DataFrame)) and "END_STREAM" in frame.flags:
                break
    return Answer(int(headers[":status"]), headers, body) if headers else CUT


def read_headers(connection: socket.socket) -> dict[str, str]:
    """Of the answer on stream 1; none where it was reset. Raises `EOFError`."""
    found = (_frame(connection) for _ in itertools.count())
    frame = next(frame for frame in found if isinstance(frame, (HeadersFrame, RstStreamFrame, GoAwayFrame)))
    return dict(Decoder().decode(frame.data)) if isinstance(frame, HeadersFrame) else {}


def _frame(connection: socket.socket) -> Frame:
    frame, length = Frame.parse_frame_header(memoryview(_exactly(connection, 9)))
    frame.parse_body(memoryview(_exactly(connection, length)))
    return frame


def _exactly(connection: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        more = connection.recv(size - len(read))
        if not more:
            raise EOFError
        read += more
    return read
