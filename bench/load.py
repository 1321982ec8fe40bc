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
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
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
    """`callers` at once, each for `calls` calls or for `seconds`; before that `warm_up` calls each, not measured."""

    callers: int
    calls: int | None
    seconds: float | None
    warm_up: int


@dataclass(frozen=True, slots=True)
class Load:
    """What one turn came to. `made` is every call, `measured` those without the warm-up; latencies in ms.

    `client_cpu`: the share of one core that the callers themselves took. Close to 1 it is they who set the pace.
    """

    made: int
    measured: int
    seconds: float
    p50: float
    p90: float
    p99: float
    longest: float
    client_cpu: float


class CallFailed(Exception):  # noqa: N818 - named for what happened
    """An answer that is not the expected one; the message has it."""


class Caller(asyncio.Protocol):
    """One caller on one connection: the next call leaves when the answer to the last one is complete."""

    def __init__(self, request: bytes, answer_bytes: int, clock: Callable[[], float]) -> None:
        self._request = request
        self._answer_bytes = answer_bytes
        self._clock = clock
        self._got = b""
        self._sent_at = 0.0
        self._calls_left = 0
        self._until = 0.0
        self._lost = ""
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finished.set_result(None)
        self.latencies: list[float] = []
        """Seconds, of every call so far."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def run(self, calls: int, until: float) -> asyncio.Future[None]:
        """Call `calls` times, or until the clock says `until`. Raises `CallFailed`."""
        self._calls_left, self._until = calls, until
        self._finished = asyncio.get_running_loop().create_future()
        if self._lost:
            self._fail(self._lost)
        else:
            self._call()
        return self._finished

    def _call(self) -> None:
        self._got = b""
        self._sent_at = self._clock()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(_HEAD_END)
        if not found or self._finished.done():
            return
        length = _LENGTH.search(head)
        if length is None or len(body) >= int(length[1]):
            self._answered(head, body)

    def _answered(self, head: bytes, body: bytes) -> None:
        now = self._clock()
        if not head.startswith(_OK) or len(body) != self._answer_bytes:
            self._fail(f"{head.decode(errors='replace')}\n\n{body.decode(errors='replace')}"[:_SHOWN])
            return
        self.latencies.append(now - self._sent_at)
        self._calls_left -= 1
        if self._calls_left <= 0 or now >= self._until:
            self._finished.set_result(None)
        else:
            self._call()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = f"the connection was lost: {error or 'closed by the other side'}"
        if not self._finished.done():
            self._fail(self._lost)

    def _fail(self, what: str) -> None:
        self._finished.set_exception(CallFailed(what))

    def close(self) -> None:
        self._transport.close()


async def drive(target: Target, turn: Turn, clock: Callable[[], float] = time.perf_counter) -> Load:
    """Have a turn at a target. Raises `CallFailed` at the first call that fails, `OSError` where nobody listens."""
    callers = [await _connected(target, clock) for _ in range(turn.callers)]
    try:
        await asyncio.gather(*(caller.run(turn.warm_up, sys.float_info.max) for caller in callers))
        started, busy = clock(), time.process_time()
        calls = turn.calls or sys.maxsize
        until = sys.float_info.max if turn.seconds is None else started + turn.seconds
        await asyncio.gather(*(caller.run(calls, until) for caller in callers))
        seconds, busy = clock() - started, time.process_time() - busy
    finally:
        for caller in callers:
            caller.close()
    made = sum(len(caller.latencies) for caller in callers)
    measured = [latency for caller in callers for latency in caller.latencies[turn.warm_up :]]
    return summed_up(measured, made, seconds, busy / seconds)


def summed_up(latencies: Sequence[float], made: int, seconds: float, client_cpu: float) -> Load:
    """`latencies` in seconds. A percentile is the smallest latency that so many of a hundred calls did not exceed."""
    ordered = sorted(latency * 1000 for latency in latencies)

    def percentile(share: int) -> float:
        return ordered[max(0, -(-len(ordered) * share // 100) - 1)]

    return Load(made, len(ordered), seconds, percentile(50), percentile(90), percentile(99), ordered[-1], client_cpu)


async def _connected(target: Target, clock: Callable[[], float]) -> Caller:
    request = _request(target)
    _, caller = await asyncio.get_running_loop().create_connection(
        lambda: Caller(request, target.answer_bytes, clock), target.host, target.port
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
