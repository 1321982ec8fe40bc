"""R26: who sends or reads too slowly is ended within the configured time, and nobody else waits for it.

All slow peers are there at once, at both hops, with time-outs that a test can wait for; and all the while others call.
"""

import contextlib
import itertools
import re
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from ending.acting_provider import CAP, ActingProvider
from installations import wait_until
from withstanding import frames
from withstanding.ground import (
    BODY,
    CHAT,
    CUT,
    HOPS,
    JSON,
    Answer,
    Ground,
    ground,
    head,
    read_answer,
    request,
)

LIMIT_S = 4
"""Each of the time-outs: for headers, for the whole request, and for an answer that does not move."""
GRACE_S = 8
"""What a busy machine may need beyond that."""
_ALLOWED = BODY.replace(b":5}", b":%d}" % CAP)
LONG_STREAM = _ALLOWED.replace(b'"hi"', b'"stream flood #slow"').replace(b"{", b'{"stream":true,', 1)
LONG_JSON = _ALLOWED.replace(b'"hi"', b'"long json #slow"')
STREAM = [(":method", "POST"), (":scheme", "http"), (":path", CHAT), (":authority", "localhost")]


@pytest.fixture(scope="module")
def slow_ground() -> Iterator[Ground]:
    times = {"headers_s": LIMIT_S, "arrival_s": LIMIT_S, "silence_s": LIMIT_S}
    with ground(behind=ActingProvider, **times) as started:
        yield started


@dataclass(frozen=True)
class Ended:
    """How a slow peer was ended, and after how many seconds."""

    answer: Answer
    after: float


Slow = Callable[[Ground, str], Answer]


def a_handshake(ground: Ground, hop: str) -> Answer:
    """Begun, and not gone on with. (To the sidecar that is half of a word.)"""
    with ground.plain_connection(hop) as connection:
        connection.sendall(b"\x16\x03\x01" if hop == "gateway" else b"PO")
        return read_answer(connection)


def headers(ground: Ground, hop: str) -> Answer:
    with ground.connection(hop) as connection:
        connection.sendall(head(CHAT, JSON)[:-2])
        return trickle(connection, (b"x-%d: 1\r\n" % number for number in itertools.count()))


def a_body(ground: Ground, hop: str) -> Answer:
    with ground.connection(hop) as connection:
        connection.sendall(head(CHAT, JSON, "content-length: 1000000"))
        return trickle(connection, itertools.repeat(b" "))


def chunks(ground: Ground, hop: str) -> Answer:
    with ground.connection(hop) as connection:
        connection.sendall(head(CHAT, JSON, "transfer-encoding: chunked"))
        return trickle(connection, itertools.repeat(b"1\r\n \r\n"))


def no_body(ground: Ground, hop: str) -> Answer:
    with ground.connection(hop) as connection:
        connection.sendall(head(CHAT, JSON, f"content-length: {len(BODY)}"))
        return read_answer(connection)


def frames_of_headers(ground: Ground, hop: str) -> Answer:
    """The block of headers is never ended."""
    with ground.connection(hop, alpn=["h2"]) as connection:
        connection.sendall(frames.begun(STREAM))
        return frames.read_call(connection)


def frames_of_a_body(ground: Ground, hop: str) -> Answer:
    with ground.connection(hop, alpn=["h2"]) as connection:
        connection.sendall(frames.call([*STREAM, ("content-type", "application/json")], b" ", ended=False))
        return frames.read_call(connection)


def trickle(connection: socket.socket, pieces: Iterator[bytes]) -> Answer:
    """A piece ten times a second, until there is an answer or an end."""
    with contextlib.suppress(OSError):
        for piece in pieces:
            if select.select([connection], [], [], 0.1)[0]:
                break
            connection.sendall(piece)
    return read_answer(connection)


def a_reader(ground: Ground, hop: str, body: bytes = LONG_STREAM) -> Answer:
    """Of the first bytes alone, to know which call it is."""
    with ground.connection(hop) as connection:
        connection.sendall(request(body=body))
        begun = b""
        while b"\r\n\r\n" not in begun:
            begun += connection.recv(64)
        (call,) = re.findall(rb"x-request-id: (\S+)", begun)
        return stalled(ground, call.decode())


def a_reader_of_json(ground: Ground, hop: str) -> Answer:
    return a_reader(ground, hop, LONG_JSON)


def frames_of_a_reader(ground: Ground, hop: str) -> Answer:
    """It opens no window for any of the answer."""
    with ground.connection(hop, alpn=["h2"]) as connection:
        connection.sendall(frames.call([*STREAM, ("content-type", "application/json")], LONG_STREAM, window=0))
        return stalled(ground, frames.read_headers(connection)["x-request-id"])


def stalled(ground: Ground, call: str) -> Answer:
    """Until the call has ended, though nobody reads on."""
    ground.ended(call, within=LIMIT_S + GRACE_S)
    return CUT


SLOW: tuple[Slow, ...] = (
    a_handshake,
    headers,
    a_body,
    chunks,
    no_body,
    frames_of_headers,
    frames_of_a_body,
    a_reader,
    a_reader_of_json,
    frames_of_a_reader,
)
SHAPED = {headers, a_body, chunks, no_body, frames_of_a_body}
"""Whose request has come so far that there is an answer to it: a 408."""


def named(slow: Slow) -> str:
    return slow.__name__


@dataclass(frozen=True)
class Seen:
    """How the slow peers were ended, and how long the calls of others took meanwhile."""

    ended: Mapping[tuple[Slow, str], Ended]
    others: Sequence[float]


@pytest.fixture(scope="module")
def seen(slow_ground: Ground) -> Seen:
    jobs = list(itertools.product(SLOW, HOPS))
    with ThreadPoolExecutor(len(jobs)) as peers:
        ends = {job: peers.submit(until_its_end, slow_ground, *job) for job in jobs}
        others = list(calls_until(slow_ground, lambda: all(end.done() for end in ends.values())))
    return Seen({job: end.result() for job, end in ends.items()}, others)


def until_its_end(ground: Ground, slow: Slow, hop: str) -> Ended:
    begun = time.monotonic()
    answer = slow(ground, hop)
    return Ended(answer, time.monotonic() - begun)


def calls_until(ground: Ground, done: Callable[[], bool]) -> Iterator[float]:
    """How long each took of some calls that are made one after the other."""
    while not done():
        begun = time.monotonic()
        assert ground.call("json").read()
        yield time.monotonic() - begun
        time.sleep(0.05)


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("slow", SLOW, ids=named)
def test_R26_a_slow_peer_is_ended_within_the_time_out(seen: Seen, slow: Slow, hop: str) -> None:
    ended = seen.ended[slow, hop]
    assert ended.after < LIMIT_S + GRACE_S
    if slow in SHAPED:
        assert (ended.answer.status, ended.answer.reason) == (408, "request.timeout")
        assert ended.answer.is_shaped()


def test_R26_others_do_not_wait_for_slow_peers(seen: Seen) -> None:
    assert len(seen.others) > 3
    assert max(seen.others) < LIMIT_S


def test_R26_nothing_stays_held_or_open(slow_ground: Ground, seen: Seen) -> None:
    assert len(seen.ended) == len(HOPS) * len(SLOW)
    slow_ground.counters()
    assert slow_ground.in_order()
    wait_until(lambda: slow_ground._gauge("http.road.downstream_rq_active") == 0, 10)
