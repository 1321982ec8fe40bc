"""Frame by frame: what a peer may do is served, what it may not ends its connection, and memory is bounded."""

from collections.abc import Sequence

import pytest
from fuzz.targets.http2 import fed
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from tollway_extauthz.http2 import frames
from tollway_extauthz.http2.connection import (
    LARGEST_MESSAGE,
    MOST_STREAMS,
    STREAM_WINDOW,
    BrokenConnection,
    Connection,
    Left,
    Message,
    SaidAll,
)
from tollway_extauthz.http2.frames import ErrorCode

PATH = "/a.Service/Echo"
HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "tollway"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
END = frames.END_STREAM
Fields = Sequence[tuple[str, str]]


class Client:
    """Speaks to a connection as a client that keeps no table of headers; `opening` off: says nothing first."""

    def __init__(self, *, opening: bool = True) -> None:
        self.connection = Connection()
        self._encoder = Encoder()
        self.heard: list[tuple[int, int, int, bytes]] = []
        if opening:
            self._encoder.header_table_size = 0
            self.say(frames.PREFACE + frames.settings({}))
            self.hear()

    def say(self, *what: bytes) -> list[object]:
        return list(fed(self.connection, b"".join(what)))

    def hear(self) -> list[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, payload) of each frame that is to be sent."""
        data, self.heard = self.connection.take_output(), []
        while data:
            high, low, kind, flags, stream = frames.HEAD.unpack_from(data)
            size = high << 16 | low
            self.heard.append((kind, flags, stream, data[9 : 9 + size]))
            data = data[9 + size :]
        return self.heard

    def headers(
        self, stream: int, flags: int = frames.END_HEADERS, fields: Sequence[tuple[str, str]] = HEADERS
    ) -> bytes:
        return frames.frame(frames.HEADERS, flags, stream, self._encoder.encode(fields))

    def block(self) -> bytes:
        return self._encoder.encode(HEADERS)

    def call(self, stream: int, message: bytes = b"hello") -> bytes:
        return self.headers(stream) + data(stream, prefixed(message), END)


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    """In frames of the size that every peer takes."""
    pieces = [payload[at : at + 16_384] for at in range(0, len(payload), 16_384)] or [b""]
    last = len(pieces) - 1
    return b"".join(frames.frame(frames.DATA, flags * (n == last), stream, each) for n, each in enumerate(pieces))


def prefixed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def kinds(heard: Sequence[tuple[int, int, int, bytes]]) -> list[int]:
    return [kind for kind, _, _, _ in heard]


def test_a_server_says_its_settings_first_and_confirms_those_of_the_client() -> None:
    client = Client(opening=False)
    assert kinds(client.hear()) == [frames.SETTINGS, frames.WINDOW_UPDATE]
    client.say(frames.PREFACE, frames.settings({}))
    assert [each[:2] for each in client.hear()] == [(frames.SETTINGS, frames.ACK)]


def test_a_call_is_told_and_answered_in_three_frames() -> None:
    client = Client()
    assert client.say(client.call(1)) == [Message(1, PATH, b"hello"), SaidAll(1, PATH)]
    client.connection.answer(1, b"world")
    heard = client.hear()
    assert kinds(heard) == [frames.HEADERS, frames.DATA, frames.HEADERS]
    assert heard[1][3] == prefixed(b"world")
    assert heard[2][1] == frames.END_HEADERS | END


@given(cuts=st.lists(st.integers(0, 900), max_size=12))
def test_it_does_not_matter_in_which_pieces_bytes_arrive(cuts: list[int]) -> None:
    client = Client(opening=False)
    said = frames.PREFACE + frames.settings({4: 70_000}) + b"".join(client.call(n, b"x" * n * 40) for n in (1, 3, 5))
    whole = Client(opening=False).say(said)
    at, events = 0, []
    for cut in [*sorted(cuts), len(said)]:
        events += client.say(said[at:cut])
        at = max(at, cut)
    assert events == whole
    assert len(whole) == 6


@given(cuts=st.lists(st.integers(1, 200), min_size=1, max_size=9))
def test_it_does_not_matter_into_which_frames_messages_are_cut(cuts: list[int]) -> None:
    sent = [b"", b"a" * 30, b"b" * 100]
    payload = b"".join(map(prefixed, sent))
    client, at = Client(), 0
    client.say(client.headers(1))
    events = []
    for cut in [*sorted(cuts), len(payload)]:
        events += client.say(frames.frame(frames.DATA, 0, 1, payload[at:cut]))
        at = max(at, min(cut, len(payload)))
    assert [event.body for event in events if isinstance(event, Message)] == sent


def test_padding_and_priority_are_taken_off() -> None:
    client = Client()
    flags = frames.END_HEADERS | frames.PADDED | frames.WITH_PRIORITY
    head = frames.frame(frames.HEADERS, flags, 1, b"\x03" + b"\0\0\0\0\x10" + client.block() + b"\0\0\0")
    body = frames.frame(frames.DATA, frames.PADDED | END, 1, b"\x02" + prefixed(b"hello") + b"\0\0")
    assert client.say(head, body) == [Message(1, PATH, b"hello"), SaidAll(1, PATH)]


def test_a_header_block_may_be_continued() -> None:
    client = Client()
    block = client.block()
    events = client.say(
        frames.frame(frames.HEADERS, END, 1, block[:3]),
        frames.frame(frames.CONTINUATION, 0, 1, block[3:9]),
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[9:]),
    )
    assert events == [SaidAll(1, PATH, is_silent=True)]


@pytest.mark.parametrize(
    "fields",
    [
        [(":method", "GET"), *HEADERS[1:]],
        [*HEADERS[:-1], ("content-type", "text/html")],
        HEADERS[:-1],
        [each for each in HEADERS if each[0] != ":path"],
    ],
    ids=["GET", "another type", "no type", "no path"],
)
def test_what_is_no_grpc_call_has_no_path(fields: Sequence[tuple[str, str]]) -> None:
    client = Client()
    assert client.say(client.headers(1, frames.END_HEADERS | END, fields)) == [SaidAll(1, "", is_silent=True)]


def test_equal_header_blocks_are_understood_alike_whatever_came_between() -> None:
    client = Client()
    for stream in range(1, 401, 2):
        fields = [*HEADERS, ("x-odd", str(stream))] if stream % 3 == 0 else HEADERS
        events = client.say(client.headers(stream, frames.END_HEADERS | END, fields))
        assert events == [SaidAll(stream, PATH, is_silent=True)]


def test_a_client_with_a_table_of_headers_is_understood_too() -> None:
    client = Client(opening=False)
    client.say(frames.PREFACE, frames.settings({}))
    for stream in range(1, 99, 2):
        assert client.say(client.headers(stream, frames.END_HEADERS | END))[0] == SaidAll(stream, PATH, is_silent=True)


def test_a_ping_is_answered_with_its_bytes() -> None:
    client = Client()
    client.say(frames.frame(frames.PING, 0, 0, b"12345678"), frames.frame(frames.PING, frames.ACK, 0, b"87654321"))
    assert client.hear() == [(frames.PING, frames.ACK, 0, b"12345678")]


def test_frames_of_unknown_kinds_are_ignored() -> None:
    client = Client()
    assert client.say(frames.frame(0xBE, 0xFF, 77, b"?"), client.call(1))[0] == Message(1, PATH, b"hello")


def test_a_caller_that_resets_its_call_has_left_and_is_not_answered() -> None:
    client = Client()
    client.say(client.call(1))
    assert client.say(frames.rst_stream(1, ErrorCode.NO_ERROR)) == [Left(1, PATH)]
    assert not client.connection.is_wanted(1)
    client.connection.answer(1, b"too late")
    assert client.hear() == []


def test_an_answer_waits_for_room_and_goes_on_when_there_is_some() -> None:
    client = Client()
    client.say(frames.settings({frames.INITIAL_WINDOW_SIZE: 10}), client.call(1))
    client.hear()
    client.connection.answer(1, b"x" * 35)
    sent = [client.hear()[1][3]]
    for _ in range(3):
        client.say(frames.window_update(1, 10))
        sent += [payload for kind, _, _, payload in client.hear() if kind == frames.DATA]
    assert b"".join(sent) == prefixed(b"x" * 35)
    assert list(map(len, sent)) == [10, 10, 10, 10]
    assert client.heard[-1][1] == frames.END_HEADERS | END


def test_no_more_is_sent_than_the_connection_has_room_for() -> None:
    client = Client()
    client.say(*(client.call(stream) for stream in (1, 3)))
    for stream in (1, 3):
        client.connection.answer(stream, b"x" * 60_000)
    sent = sum(len(payload) for kind, _, _, payload in client.hear() if kind == frames.DATA)
    assert sent == frames.DEFAULT_WINDOW
    client.say(frames.window_update(0, 1 << 20))
    sent += sum(len(payload) for kind, _, _, payload in client.hear() if kind == frames.DATA)
    assert sent == 2 * 60_005


def test_no_frame_is_larger_than_the_client_takes() -> None:
    client = Client()
    client.say(frames.window_update(0, 1 << 20), frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 20}), client.call(1))
    client.connection.answer(1, b"x" * 100_000)
    assert max(len(payload) for *_, payload in client.hear()) == frames.DEFAULT_FRAME


def test_a_large_message_is_let_in_when_its_turn_comes() -> None:
    """One at a time: the next gets room when the last is answered."""
    client = Client()
    large = prefixed(b"x" * (3 * STREAM_WINDOW))
    begun, rest = large[:STREAM_WINDOW], large[STREAM_WINDOW:]
    client.say(client.headers(1), client.headers(3), data(1, begun), data(3, begun))
    assert granted(client, 1) == len(rest) + STREAM_WINDOW
    assert granted(client, 3, heard=client.heard) == 0
    assert client.say(data(1, rest, END))[0] == Message(1, PATH, large[5:])
    assert granted(client, 3) == 0
    client.connection.answer(1, b"")
    assert granted(client, 3) == len(rest) + STREAM_WINDOW
    assert client.say(data(3, rest, END))[0] == Message(3, PATH, large[5:])


@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "is refused"])
def test_whose_large_message_comes_to_nothing_makes_room_for_the_next(leaves: bool) -> None:
    client = Client()
    begun = prefixed(b"x" * (3 * STREAM_WINDOW))[:STREAM_WINDOW]
    client.say(client.headers(1), client.headers(3), data(1, begun), data(3, begun))
    client.hear()
    if leaves:
        client.say(frames.rst_stream(1, ErrorCode.NO_ERROR))
    else:
        client.connection.fail(1, 13, "no")
    assert granted(client, 3) > 0


def granted(client: Client, stream: int, heard: Sequence[tuple[int, int, int, bytes]] | None = None) -> int:
    heard = client.hear() if heard is None else heard
    updates = [payload for kind, _, of, payload in heard if kind == frames.WINDOW_UPDATE and of == stream]
    return sum(int.from_bytes(payload, "big") for payload in updates)


def test_a_stream_of_many_messages_always_gets_room_for_more() -> None:
    client = Client()
    client.say(client.headers(1))
    room, told = STREAM_WINDOW, 0
    for _ in range(40):
        told += len(client.say(data(1, prefixed(b"x" * 99_995))))
        room += granted(client, 1) - 100_000
        assert room >= STREAM_WINDOW // 2 - 100_000
    assert told == 40


def test_the_connection_gets_room_for_what_was_read() -> None:
    client = Client()
    room = 64 << 20
    for stream in range(1, 201, 2):
        client.say(client.call(stream, b"x" * 900_000))
        client.connection.answer(stream, b"")
        room += granted(client, 0) - 900_005
        assert room > 16 << 20


def bad(name: str, code: ErrorCode, *said: bytes) -> object:
    return pytest.param(said, code, id=name)


OPEN = Client().headers(1)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        bad("a frame above the agreed size", ErrorCode.FRAME_SIZE_ERROR, b"\x01\x00\x01\x00\x00\x00\x00\x00\x01"),
        bad("data of no stream", ErrorCode.PROTOCOL_ERROR, data(0, b"x")),
        bad("data of a stream that is not open", ErrorCode.PROTOCOL_ERROR, data(5, b"x")),
        bad("an even stream", ErrorCode.PROTOCOL_ERROR, Client().headers(2)),
        bad("headers of no stream", ErrorCode.PROTOCOL_ERROR, Client().headers(0)),
        bad("headers twice", ErrorCode.PROTOCOL_ERROR, OPEN, Client().headers(1)),
        bad("unreadable headers", ErrorCode.COMPRESSION_ERROR, frames.frame(1, 4, 1, b"\xff\xff\xff\xff\xff")),
        bad("an interrupted block", ErrorCode.PROTOCOL_ERROR, frames.frame(1, 0, 1, b"\x82"), data(1, b"")),
        bad("a block that continues nothing", ErrorCode.PROTOCOL_ERROR, frames.frame(9, 4, 1, b"\x82")),
        bad(
            "a block without end",
            ErrorCode.ENHANCE_YOUR_CALM,
            frames.frame(1, 0, 1, b"\x82"),
            *[frames.frame(9, 0, 1, b"\0" * 16_000)] * 5,
        ),
        bad(
            "a block of empty pieces",
            ErrorCode.ENHANCE_YOUR_CALM,
            frames.frame(1, 0, 1, b"\x82"),
            frames.frame(9, 0, 1),
        ),
        bad("only padding", ErrorCode.PROTOCOL_ERROR, OPEN, frames.frame(0, frames.PADDED, 1, b"\x09abc")),
        bad("a promise", ErrorCode.PROTOCOL_ERROR, frames.frame(5, 4, 1, b"\0\0\0\2")),
        bad("a reset of another size", ErrorCode.FRAME_SIZE_ERROR, OPEN, frames.frame(3, 0, 1, b"\0")),
        bad("a reset of a stream that is not open", ErrorCode.PROTOCOL_ERROR, frames.rst_stream(7, ErrorCode.NO_ERROR)),
        bad("settings of another size", ErrorCode.FRAME_SIZE_ERROR, frames.frame(4, 0, 0, b"\0")),
        bad("settings of a stream", ErrorCode.FRAME_SIZE_ERROR, frames.frame(4, 0, 1)),
        bad("a window above all bounds", ErrorCode.FLOW_CONTROL_ERROR, frames.settings({4: 2**31})),
        bad("frames that are too small", ErrorCode.PROTOCOL_ERROR, frames.settings({5: 16_383})),
        bad("a ping of another size", ErrorCode.FRAME_SIZE_ERROR, frames.frame(6, 0, 0, b"1")),
        bad("a window that grows by nothing", ErrorCode.PROTOCOL_ERROR, frames.window_update(0, 0)),
        bad("a window that overflows", ErrorCode.FLOW_CONTROL_ERROR, *[frames.window_update(0, 2**31 - 1)] * 2),
        bad("a stream that depends on itself", ErrorCode.PROTOCOL_ERROR, frames.frame(2, 0, 1, b"\0\0\0\1\0")),
        bad(
            "more than there was room for",
            ErrorCode.FLOW_CONTROL_ERROR,
            OPEN,
            data(1, prefixed(b"x" * 3 * STREAM_WINDOW)[: STREAM_WINDOW // 4] * 4 + b"x" * STREAM_WINDOW),
            Client().headers(3),
            data(3, prefixed(b"x" * 3 * STREAM_WINDOW)[: STREAM_WINDOW + 9]),
        ),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_told_so_and_its_connection_ends(
    said: Sequence[bytes], code: ErrorCode
) -> None:
    client = Client()
    with pytest.raises(BrokenConnection):
        client.say(*said)
    kind, _, _, payload = client.hear()[-1]
    assert (kind, int.from_bytes(payload[4:8], "big")) == (frames.GOAWAY, code)


def test_what_is_no_http2_at_all_ends_the_connection() -> None:
    with pytest.raises(BrokenConnection):
        Client(opening=False).say(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")


def test_more_calls_at_once_than_were_agreed_are_refused_one_by_one() -> None:
    client = Client()
    client.say(*(client.headers(2 * number + 1) for number in range(MOST_STREAMS + 1)))
    assert client.hear()[-1] == (
        frames.RST_STREAM,
        0,
        2 * MOST_STREAMS + 1,
        ErrorCode.REFUSED_STREAM.to_bytes(4, "big"),
    )


def test_a_message_that_says_it_is_larger_than_any_may_be_is_refused_before_it_comes() -> None:
    client = Client()
    client.say(client.headers(1), data(1, b"\0" + (LARGEST_MESSAGE + 1).to_bytes(4, "big") + b"x"))
    kind, flags, _, _ = client.hear()[0]
    assert (kind, flags) == (frames.HEADERS, frames.END_HEADERS | END)
    assert not client.connection.is_wanted(1)


@given(said=st.binary(max_size=300), opened=st.booleans())
def test_any_bytes_give_events_or_end_the_connection(said: bytes, opened: bool) -> None:
    client = Client()
    if opened:
        client.say(client.headers(1))
    try:
        client.say(said)
    except BrokenConnection:
        assert kinds(client.hear())[-1] == frames.GOAWAY


KINDS = st.tuples(st.integers(0, 11), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=60))


@given(st.lists(KINDS, max_size=25))
def test_any_frames_give_events_or_end_the_connection(said: list[tuple[int, int, int, bytes]]) -> None:
    client = Client()
    try:
        for each in said:
            client.say(frames.frame(*each))
            for stream in range(10):
                client.connection.answer(stream, b"x" * 100)
    except BrokenConnection:
        assert kinds(client.hear())[-1] == frames.GOAWAY
