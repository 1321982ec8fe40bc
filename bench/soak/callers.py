"""The callers of a soak (`python -m bench.soak.callers`): they go on whatever happens, and say what happened to them.

Told by one line of JSON (`Job`). Every second they answer with a line: how many calls ended since the last one, by
agent and kind (`kinds`). A line `leave` on standard input makes every second caller hang up in the middle of its call;
when standard input ends they finish their calls and go. Standard library only, so that it starts fast.
"""

import asyncio
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.soak.kinds import BROKEN_BY_PROVIDER, LEFT, LOST, NO_ANSWER, NO_CONNECTION, TORN, kind_of
from bench.soak.wire import BREAKS_OFF, STREAM_END, request

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
_CHUNKS_END: Final = b"\r\n0\r\n\r\n"
_STREAMS: Final = 0.15
"""The share of calls that stream."""
_PATIENCE_S: Final = 30.0
_RETRY_S: Final = 0.05
"""Before a caller that found nobody tries again."""
_LEAVES_AFTER_S: Final = (0.0, 0.02)
"""After it called, when it hangs up."""
_GOING_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Agent:
    """Where an agent's `callers` call, each every so many seconds (0: when the last one is answered)."""

    name: str
    host: str
    port: int
    prefix: str
    callers: int
    every: float


@dataclass(frozen=True, slots=True)
class Job:
    agents: Sequence[Agent]
    seed: int


class Caller:
    """One call at a time on a connection that is made again whenever it was lost."""

    def __init__(self, agent: Agent, first: float, dice: random.Random, count: Callable[[str, str], None]) -> None:
        self._agent = agent
        self._due = time.monotonic() + first
        self._dice = dice
        self._count = count
        self._requests = {stream: _request(agent, stream=stream) for stream in (False, True)}
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._got = b""
        self._calling = self._going = self._will_leave = False
        self._patience: asyncio.TimerHandle | None = None
        self.gone = asyncio.Event()
        self._loop.call_later(first, self._begin)

    def go(self) -> None:
        """Make no further call."""
        self._going = True
        if not self._calling:
            self._leave()

    def hang_up(self) -> None:
        """Leave in the middle of this call or the next."""
        self._will_leave = True
        if self._calling:
            self._leave_call_soon()

    def _leave_call_soon(self) -> None:
        self._will_leave = False
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self._loop.call_later(self._dice.uniform(*_LEAVES_AFTER_S), self._ended, LEFT)

    def heard(self, connection: "Connection", data: bytes) -> None:
        if connection is not self._connection or not self._calling:
            return
        self._got += data
        head, found, body = self._got.partition(_HEAD_END)
        if not found:
            return
        length = _LENGTH.search(head)
        if length is None:
            if body.endswith(_CHUNKS_END):
                self._ended(kind_of(head, body) if STREAM_END in body else TORN, keep=True)
        elif len(body) >= int(length[1]):
            self._ended(kind_of(head, body), keep=b"\r\nconnection: close" not in head.lower())

    def lost(self, connection: "Connection") -> None:
        if connection is not self._connection:
            return
        self._connection = None
        if self._calling:
            self._ended(BROKEN_BY_PROVIDER if BREAKS_OFF in self._got else TORN if self._got else LOST)

    def _begin(self) -> None:
        if self._going:
            self._leave()
            return
        self._calling, self._got = True, b""
        self._patience = self._loop.call_later(_PATIENCE_S, self._ended, NO_ANSWER)
        if self._connection is None:
            self._connecting = self._loop.create_task(self._connect())
        else:
            self._send(self._connection)

    async def _connect(self) -> None:
        agent = self._agent
        try:
            _, made = await self._loop.create_connection(lambda: Connection(self), agent.host, agent.port)
        except OSError:
            if self._calling:
                self._ended(NO_CONNECTION)
            return
        if self._calling:
            self._connection = made
            self._send(made)
        else:
            made.drop()

    def _send(self, connection: "Connection") -> None:
        connection.send(self._requests[self._dice.random() < _STREAMS])
        if self._will_leave:
            self._leave_call_soon()

    def _ended(self, kind: str, *, keep: bool = False) -> None:
        self._calling = False
        if self._patience is not None:
            self._patience.cancel()
        if not keep:
            self._drop()
        self._count(self._agent.name, kind)
        now = time.monotonic()
        # Nobody makes up for calls that were late: what was slow would be followed by a flood.
        self._due = max(self._due + self._agent.every, now)
        self._loop.call_later(max(self._due - now, _RETRY_S if kind == NO_CONNECTION else 0.0), self._begin)

    def _leave(self) -> None:
        self.gone.set()
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.drop()
            self._connection = None


class Connection(asyncio.Protocol):
    """A connection of one caller; what comes of an old one does not concern it any more."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._caller.heard(self, data)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._caller.lost(self)

    def send(self, data: bytes) -> None:
        self._transport.write(data)

    def drop(self) -> None:
        self._transport.abort()


def _request(agent: Agent, *, stream: bool) -> bytes:
    body = request(stream=stream)
    lines = (
        f"POST {agent.prefix}/chat/completions HTTP/1.1",
        f"host: {agent.host}:{agent.port}",
        "accept: application/json",
        "authorization: Bearer a-placeholder",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "user-agent: tollway-soak",
    )
    return "\r\n".join(lines).encode() + _HEAD_END + body


async def _call(job: Job) -> None:
    counted: Counter[tuple[str, str]] = Counter()

    def count(agent: str, kind: str) -> None:
        counted[agent, kind] += 1

    dice = random.Random(job.seed)
    callers = [
        Caller(agent, agent.every * number / agent.callers, dice, count)
        for agent in job.agents
        for number in range(agent.callers)
    ]
    orders = await _orders()
    while (order := await _order_within_a_second(orders)) != b"":
        if order == b"leave\n":
            for caller in callers[::2]:
                caller.hang_up()
        _say(counted)
    for caller in callers:
        caller.go()
    await asyncio.wait([asyncio.create_task(caller.gone.wait()) for caller in callers], timeout=_GOING_S)
    _say(counted)


async def _orders() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _order_within_a_second(orders: asyncio.StreamReader) -> bytes | None:
    """None: there was none. Empty: there will be none."""
    try:
        return await asyncio.wait_for(orders.readline(), 1.0)
    except TimeoutError:
        return None


def _say(counted: Counter[tuple[str, str]]) -> None:
    """At `at` of the clock that all processes share."""
    ended = [[agent, kind, number] for (agent, kind), number in counted.items()]
    counted.clear()
    sys.stdout.write(json.dumps({"at": time.monotonic(), "ended": ended}) + "\n")
    sys.stdout.flush()


def main() -> None:
    # Byte by byte, so that nothing of the orders behind it is read away.
    told = b""
    while not told.endswith(b"\n"):
        told += os.read(sys.stdin.fileno(), 1)
    said = json.loads(told)
    asyncio.run(_call(Job([Agent(**agent) for agent in said["agents"]], said["seed"])))


if __name__ == "__main__":
    main()
