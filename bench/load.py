"""The callers: a process of its own (`python -m bench.load`), told by one line of JSON, answering with another.

HTTP/1.1 on kept connections, requests made beforehand, no futures between the calls of one caller: what is measured is
the road, and as little as possible of the client. Standard library only, so that it starts fast.
"""

import asyncio
import contextlib
import gc
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

CALLING: Final = b"calling\n"
"""Said when the warm-up is over."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
_CHUNKS_END: Final = b"\r\n0\r\n\r\n"
_OK: Final = b"HTTP/1.1 200 "
_SHOWN: Final = 2000


@dataclass(frozen=True, slots=True)
class Target:
    """Where to call, with what, and how many bytes the body of a right answer has."""

    host: str
    port: int
    path: str
    body: str
    answer_bytes: int


@dataclass(frozen=True, slots=True)
class Turn:
    """`callers` at once, each for `calls` calls or for `seconds`, or with neither until standard input ends; before
    that `warm_up` calls each, not measured. A caller's next call leaves when the last one is answered; with `every` it
    is due so many seconds after the last one was due, and counts from then if it had to wait for that one's answer."""

    callers: int
    calls: int | None = None
    seconds: float | None = None
    warm_up: int = 0
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """What one turn came to. `made` is every call, `measured` those without the warm-up; latencies in ms, `first` to
    the answer's first byte.

    `client_cpu`: the share of one core that the callers themselves took. `idle`: the share of each core that nobody
    took. Callers whose core is never idle set the pace themselves.
    """

    made: int
    measured: int
    seconds: float
    first: float
    p50: float
    p90: float
    p99: float
    longest: float
    client_cpu: float
    idle: Mapping[str, float]


class CallFailed(Exception):  # noqa: N818 - named for what happened
    """An answer that is not the expected one; the message has it."""


class Caller(asyncio.Protocol):
    """One caller on one connection."""

    def __init__(self, request: bytes, answer_bytes: int, every: float, clock: Callable[[], float]) -> None:
        self._request = request
        self._answer_bytes = answer_bytes
        self._every = every
        self._clock = clock
        self._got = b""
        self._due = self._began = self._first_at = 0.0
        self._calls_left = 0
        self._until = 0.0
        self._lost = ""
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._finished.set_result(None)
        self.latencies: list[float] = []
        """Seconds, of every call so far."""
        self.firsts: list[float] = []
        """Seconds to the first byte of each answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def run(self, calls: int, until: float, delay: float = 0.0) -> asyncio.Future[None]:
        """Call `calls` times, or until the clock says `until`; the first time after `delay`. Raises `CallFailed`."""
        self._calls_left, self._until = calls, until
        self._finished = self._loop.create_future()
        self._due = self._clock() + delay
        if self._lost:
            self._fail(self._lost)
        else:
            self._call_when_due()
        return self._finished

    def stop(self) -> None:
        """Make no further call."""
        self._until = 0.0

    def _call_when_due(self) -> None:
        now = self._clock()
        if self._due > now:
            self._loop.call_later(self._due - now, self._call_punctually)
        else:
            self._call(self._due if self._every else now)

    def _call_punctually(self) -> None:
        """A timer's own delay is nobody's latency."""
        self._call(self._clock())

    def _call(self, began: float) -> None:
        self._got = b""
        self._began = began
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._got:
            self._first_at = self._clock()
        self._got += data
        head, found, body = self._got.partition(_HEAD_END)
        if not found or self._finished.done():
            return
        length = _LENGTH.search(head)
        if length is not None:
            if len(body) >= int(length[1]):
                self._answered(head, body)
        elif _CHUNKED.search(head) is None:
            self._answered(head, body)
        elif body.endswith(_CHUNKS_END):
            self._answered(head, unchunked(body))

    def _answered(self, head: bytes, body: bytes) -> None:
        now = self._clock()
        if not head.startswith(_OK) or len(body) != self._answer_bytes:
            self._fail(f"{head.decode(errors='replace')}\n\n{body.decode(errors='replace')}"[:_SHOWN])
            return
        self.latencies.append(now - self._began)
        self.firsts.append(self._first_at - self._began)
        self._calls_left -= 1
        if self._calls_left <= 0 or now >= self._until:
            self._finished.set_result(None)
        else:
            self._due += self._every
            self._call_when_due()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = f"the connection was lost: {error or 'closed by the other side'}"
        if not self._finished.done():
            self._fail(self._lost)

    def _fail(self, what: str) -> None:
        self._finished.set_exception(CallFailed(what))

    def close(self) -> None:
        self._transport.close()


def unchunked(body: bytes) -> bytes:
    """The content of a whole body in HTTP/1.1's chunked coding without extensions (RFC 9112, 7.1)."""
    parts, at = [], 0
    while (size := int(body[at : (start := body.index(b"\r\n", at) + 2) - 2], 16)) > 0:
        parts.append(body[start : start + size])
        at = start + size + 2
    return b"".join(parts)


async def drive(target: Target, turn: Turn, clock: Callable[[], float] = time.perf_counter) -> Load:
    """Have a turn at a target. Raises `CallFailed` at the first call that fails, `OSError` where nobody listens."""
    callers = [await _connected(target, turn, clock) for _ in range(turn.callers)]
    try:
        await asyncio.gather(*(caller.run(turn.warm_up, sys.float_info.max) for caller in callers if turn.warm_up))
        sys.stdout.buffer.write(CALLING)
        sys.stdout.buffer.flush()
        started, busy, cores = clock(), time.process_time(), core_times()
        await _measured(callers, turn, started)
        seconds, busy, cores_after = clock() - started, time.process_time() - busy, core_times()
    finally:
        for caller in callers:
            caller.close()
    return _summed_up(callers, turn.warm_up, seconds, busy / seconds, idle_shares(cores, cores_after))


async def _measured(callers: Sequence[Caller], turn: Turn, started: float) -> None:
    calls = turn.calls or sys.maxsize
    until = sys.float_info.max if turn.seconds is None else started + turn.seconds
    apart = turn.every / turn.callers
    if turn.calls is None and turn.seconds is None:
        _stop_at_end_of_input(callers)
    await asyncio.gather(*(caller.run(calls, until, number * apart) for number, caller in enumerate(callers)))


def _stop_at_end_of_input(callers: Sequence[Caller]) -> None:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        for caller in callers:
            loop.call_soon_threadsafe(caller.stop)

    threading.Thread(target=wait, daemon=True).start()


def _summed_up(
    callers: Sequence[Caller], warm_up: int, seconds: float, client_cpu: float, idle: Mapping[str, float]
) -> Load:
    """A percentile is the smallest latency that so many of a hundred calls did not exceed."""
    made = sum(len(caller.latencies) for caller in callers)
    ordered = sorted(latency * 1000 for caller in callers for latency in caller.latencies[warm_up:])
    firsts = sorted(first * 1000 for caller in callers for first in caller.firsts[warm_up:])

    def percentile(share: int, of: Sequence[float] = ordered) -> float:
        return of[max(0, -(-len(of) * share // 100) - 1)]

    return Load(
        made,
        len(ordered),
        seconds,
        percentile(50, firsts),
        percentile(50),
        percentile(90),
        percentile(99),
        ordered[-1],
        client_cpu,
        idle,
    )


def core_times() -> Mapping[str, tuple[int, int]]:
    """Core -> ticks in which nobody ran, and all ticks (`/proc/stat`, proc(5))."""
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    found = {fields[0][3:]: [int(field) for field in fields[1:9]] for fields in lines if fields[0].startswith("cpu")}
    return {core: (ticks[3] + ticks[4], sum(ticks)) for core, ticks in found.items() if core}


def idle_shares(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> Mapping[str, float]:
    passed = {core: (after[core][0] - idle, after[core][1] - every) for core, (idle, every) in before.items()}
    return {core: round(idle / every, 3) for core, (idle, every) in passed.items() if every > 0}


async def _connected(target: Target, turn: Turn, clock: Callable[[], float]) -> Caller:
    request = _request(target)
    _, caller = await asyncio.get_running_loop().create_connection(
        lambda: Caller(request, target.answer_bytes, turn.every, clock), target.host, target.port
    )
    return caller


def _request(target: Target) -> bytes:
    body = target.body.encode()
    lines = (
        f"POST {target.path} HTTP/1.1",
        f"host: {target.host}:{target.port}",
        "accept: application/json",
        "authorization: Bearer a-placeholder",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "user-agent: tollway-bench",
    )
    return "\r\n".join(lines).encode() + _HEAD_END + body


def main() -> int:
    job = json.loads(sys.stdin.readline())
    gc.disable()  # a collection in the middle of a turn would be somebody's latency
    try:
        load = asyncio.run(drive(Target(**job["target"]), Turn(**job["turn"])))
    except (CallFailed, OSError) as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(asdict(load)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
