"""Frames of HTTP/2: read the same in whatever pieces they come; what breaks the protocol ends its connection only."""

import itertools
from collections.abc import Iterator
from typing import Final

from hpack import Encoder

from tollway_extauthz.http2 import frames
from tollway_extauthz.http2.connection import LARGEST_MESSAGE, BrokenConnection, Connection, Event, Message

_METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"
_MESSAGE: Final = b"\x00\x00\x00\x00\x05hello"


def seeds() -> Iterator[bytes]:
    block = bytes(Encoder().encode([(":method", "POST"), (":path", _METHOD), ("content-type", "application/grpc")]))
    opening = frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 20, frames.MAX_FRAME_SIZE: 1 << 15})
    call = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block)
    said = frames.frame(frames.DATA, frames.END_STREAM, 1, _MESSAGE)
    acknowledged = frames.frame(frames.SETTINGS, frames.ACK, 0)
    yield opening + acknowledged + call + said
    yield opening + call + frames.frame(frames.DATA, 0, 1, _MESSAGE[:3]) + frames.frame(frames.DATA, 1, 1, _MESSAGE[3:])
    yield opening + call + frames.frame(frames.DATA, frames.PADDED, 1, b"\x02" + _MESSAGE * 2 + b"\0\0") + said
    yield opening + frames.frame(frames.HEADERS, 0, 1, block[:4]) + frames.frame(frames.CONTINUATION, 4, 1, block[4:])
    yield opening + call + frames.rst_stream(1, frames.ErrorCode.NO_ERROR) + frames.window_update(0, 1000)
    yield opening + frames.frame(frames.PING, 0, 0, b"12345678") + frames.goaway(0, frames.ErrorCode.NO_ERROR)
    yield (
        opening
        + frames.frame(frames.HEADERS, 0x2D, 1, b"\x01" + b"\0" * 5 + block + b"\0")
        + frames.window_update(1, 9)
    )
    yield opening + call + frames.frame(frames.DATA, 0, 1, b"\x01\xff\xff\xff\xff") + frames.frame(250, 1, 1, b"what")


def check(data: bytes) -> None:
    """The input may leave out the preface, which no mutation should have to find."""
    said = data if data.startswith(frames.PREFACE[:3]) else frames.PREFACE + data
    (events, kept), (others, also_kept) = _heard(said, [1 << 16]), _heard(said, [1, 24, 9, 3, 7])
    assert kept == also_kept, "in other pieces the same bytes break the protocol or do not"
    # What was said before a breach, in one read with it, is lost with the connection.
    assert events == others or not kept, "in other pieces the same bytes say something else"
    _check_answers(said)


def fed(connection: Connection, said: bytes) -> list[Event]:
    """What came of it, read in pieces as large as there is room for. Raises `BrokenConnection`."""
    events: list[Event] = []
    while said:
        room = connection.room
        piece, said = said[: len(room)], said[len(room) :]
        room[: len(piece)] = piece
        events += connection.received(len(piece))
    return events


def _heard(said: bytes, sizes: list[int]) -> tuple[list[Event], bool]:
    """What came of it, and whether the protocol was kept."""
    connection, at = Connection(), 0
    events: list[Event] = []
    for size in itertools.cycle(sizes):
        if at >= len(said):
            return events, True
        try:
            events += fed(connection, said[at : at + size])
        except BrokenConnection:
            check_output(connection.take_output())
            return events, False
        at += size
    return events, True


def _check_answers(said: bytes) -> None:
    """Every call is answered; then nobody waits any more."""
    connection = Connection()
    try:
        events = fed(connection, said)
    except BrokenConnection:
        return
    for event in events:
        if isinstance(event, Message):
            assert len(event.body) <= LARGEST_MESSAGE
            connection.answer(event.stream, event.body)
            assert not connection.is_wanted(event.stream)
        else:
            connection.fail(event.stream, 12, "no")
    check_output(connection.take_output())


def check_output(output: bytes) -> None:
    """Whole frames, each within what a client takes."""
    at = 0
    while at < len(output):
        high, low, *_ = frames.HEAD.unpack_from(output, at)
        at += frames.HEAD.size + (high << 16 | low)
    assert at == len(output), "half a frame is sent"
