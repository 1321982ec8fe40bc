"""Floods of HTTP/2 frames against the gateway: the connection they come on ends, and the calls of others go on."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from guarding.frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    fields,
    frame,
    hello,
    read_to_the_end,
    read_until_answered,
    request,
)
from road.envoy_road import AGENT, CHAT, Road, eventually, running_road

A_PING = frame(PING, 0, 0, b"12345678")
AT_ONCE = 4000
"""What answers by frames of its own is a flood if more of them are due than may wait."""
ENDS_WITHIN_S = 20
"""Envoy gives a peer 5 s to read why its connection ends."""
MOST = 1_000_000


@dataclass(frozen=True)
class Flood:
    """`frames(n)` is the n-th piece of it, after `first`; `counter` is what the gateway counts when it has enough ("":
    that depends on which of its layers notices first)."""

    counter: str
    frames: Callable[[int], bytes]
    first: bytes = b""


def _reset(end: int, block: bytes) -> Callable[[int], bytes]:
    return lambda n: frame(HEADERS, END_HEADERS | end, 2 * n + 1, block) + frame(RST_STREAM, 0, 2 * n + 1, CANCEL)


OPEN = frame(HEADERS, END_HEADERS, 1, request(CHAT))
UNFINISHED = frame(HEADERS, 0, 1, request(CHAT))
PREMATURE = "http.road.downstream_rq_too_many_premature_resets"
PADDING = "v" * 100
FLOODS = {
    "calls opened and taken back": Flood(PREMATURE, _reset(0, request(CHAT))),
    "whole calls taken back": Flood(PREMATURE, _reset(END_STREAM, request(CHAT, "GET"))),
    "priorities of one stream": Flood(
        "http2.inbound_priority_frames_flood", lambda _: frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")
    ),
    "priorities of many streams": Flood(
        "http2.inbound_priority_frames_flood", lambda n: frame(PRIORITY, 0, 2 * n + 1, b"\0\0\0\0\x10")
    ),
    "settings": Flood("", lambda _: frame(SETTINGS, 0, 0)),
    "pings": Flood("", lambda _: A_PING),
    "window updates": Flood(
        "http2.inbound_window_update_frames_flood", lambda _: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")
    ),
    "headers without end": Flood(
        "http2.header_overflow", lambda n: frame(CONTINUATION, 0, 1, fields((f"x-{n}", PADDING))), UNFINISHED
    ),
    "empty continuations": Flood("http2.inbound_empty_frames_flood", lambda _: frame(CONTINUATION, 0, 1), UNFINISHED),
    "empty data": Flood("http2.inbound_empty_frames_flood", lambda _: frame(DATA, 0, 1), OPEN),
}


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    with running_road() as road:
        yield road


@dataclass(frozen=True)
class Flooded:
    """What became of all floods at once, and of the calls that an agent made meanwhile."""

    grown: dict[str, int]
    unended: list[str]
    statuses: list[int]


@pytest.fixture(scope="module")
def flooded(road: Road) -> Flooded:
    counters = {flood.counter for flood in FLOODS.values() if flood.counter}
    before = {name: road.gateway.counter(name) for name in counters}
    over, statuses = threading.Event(), list[int]()

    def call_on() -> None:
        while not over.is_set() or not statuses:
            statuses.append(road.call().status)

    with ThreadPoolExecutor(len(FLOODS) + 1) as threads:
        calls = threads.submit(call_on)
        ended = {name: threads.submit(let_loose, road, flood) for name, flood in FLOODS.items()}
        unended = [name for name, outcome in ended.items() if not outcome.result()]
        over.set()
        calls.result()
    return Flooded({name: road.gateway.counter(name) - before[name] for name in counters}, unended, statuses)


def let_loose(road: Road, flood: Flood) -> bool:
    """Whether the gateway ended the connection."""
    with connected(road) as connection:
        try:
            connection.sendall(hello() + flood.first)
            for begin in range(0, MOST, AT_ONCE):
                connection.sendall(b"".join(map(flood.frames, range(begin, begin + AT_ONCE))))
        except TimeoutError:
            pass  # it no longer reads
        except OSError:
            return True
        try:
            read_to_the_end(connection)
        except TimeoutError:
            return False
        return True


@contextlib.contextmanager
def connected(road: Road) -> Iterator[ssl.SSLSocket]:
    context = road.client_context(AGENT)
    context.set_alpn_protocols(["h2"])
    with road.connection(context) as connection:
        connection.settimeout(ENDS_WITHIN_S)
        yield connection


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_own_connection(flooded: Flooded, name: str) -> None:
    assert name not in flooded.unended
    if counter := FLOODS[name].counter:
        assert flooded.grown[counter] >= sum(flood.counter == counter for flood in FLOODS.values())


def test_calls_of_others_go_on_while_the_gateway_is_flooded(road: Road, flooded: Flooded) -> None:
    assert set(flooded.statuses) == {200}
    assert road.gateway.process.poll() is None


def test_what_is_taken_back_at_once_is_neither_decided_nor_sent(road: Road, flooded: Flooded) -> None:
    assert len(road.upstream.received) == len(flooded.statuses)


def test_not_more_than_256_calls_are_open_on_one_connection(road: Road) -> None:
    before = road.gateway.counter("http.road.downstream_rq_active")
    with connected(road) as connection:
        opened = (frame(HEADERS, END_HEADERS, 2 * n + 1, request(CHAT)) for n in range(300))
        connection.sendall(hello() + b"".join(opened))
        eventually(lambda: road.gateway.counter("http.road.downstream_rq_active") == before + 256)
        connection.sendall(A_PING)
        read_until_answered(connection)
        assert road.gateway.counter("http.road.downstream_rq_active") <= before + 256


NO_REQUESTS = {
    "no path": fields((":method", "GET"), (":scheme", "https"), (":authority", "gateway")),
    "an empty path": fields((":method", "GET"), (":scheme", "https"), (":authority", "gateway"), (":path", "")),
    "no method": fields((":scheme", "https"), (":authority", "gateway"), (":path", CHAT)),
    "nothing at all": b"",
    "two paths": request(CHAT, "GET", (":path", "/other")),
    "bytes that are no UTF-8": request(CHAT, "GET", ("user-agent", b"\xff\xfe")),
    "a tunnel": fields((":method", "CONNECT"), (":authority", "api.openai.com:443")),
    "a tunnel for another protocol": request(CHAT, "CONNECT", (":protocol", "websocket")),
    "a header in upper case": request(CHAT, "GET", ("X-Mine", "1")),
    "a header of one connection": request(CHAT, "GET", ("connection", "upgrade")),
    "a line break in a header": request(CHAT, "GET", ("x-mine", b"a\r\nx-tollway-call: b")),
    "a zero in a header": request(CHAT, "GET", ("x-mine", b"a\0b")),
}


def test_what_is_no_request_is_never_decided_and_hurts_nobody(road: Road) -> None:
    asked = len(road.check.asked)
    with contextlib.ExitStack() as after:
        connections = [after.enter_context(connected(road)) for _ in NO_REQUESTS]
        for connection, block in zip(connections, NO_REQUESTS.values(), strict=True):
            connection.sendall(hello() + frame(HEADERS, END_HEADERS | END_STREAM, 1, block) + A_PING)
        for connection in connections:
            read_until_answered(connection)
    assert [each.attributes.request.http for each in road.check.asked[asked:]] == []
    assert road.call().status == 200
