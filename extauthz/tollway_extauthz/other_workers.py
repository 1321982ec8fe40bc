"""What the workers of one ledger say of themselves on their admin sockets, and the sum of what they counted.

A counter must not fall: who reads it takes that for a new beginning, and counts everything a second time. So the sum
begins with the life of the first worker, like its own counters, and keeps what a worker had counted that is gone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web

from tollway_extauthz.metrics import Counts, Metrics, total

COUNTS: Final = "/counts"
_PATIENCE: Final = ClientTimeout(total=0.5)


class Told(msgspec.Struct, frozen=True):
    """What one process has counted since it started. `life` is another one after each start."""

    life: str
    counts: Counts


def telling(metrics: Metrics, life: str) -> web.Application:
    """What a worker that is not the first serves: whether it has rules, and its counts."""

    async def status(_: web.Request) -> web.Response:
        return web.json_response({"generation": metrics.generation or None, "issuers": metrics.issuers})

    async def counts(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.msgpack.encode(Told(life, metrics.counts())))

    app = web.Application()
    app.router.add_get("/status", status)
    app.router.add_get(COUNTS, counts)
    return app


@dataclass(slots=True)
class _Other:
    """One of them. `latest` is what it counted in this life of its own, `before` what counts beside that."""

    socket: str
    life: str = ""
    latest: Counts = field(default_factory=dict)
    before: Counts = field(default_factory=dict)

    def take(self, told: Told) -> None:
        if told.life != self.life:
            self.life, self.before = told.life, total((self.before, self.latest))
        self.latest = told.counts

    def begin(self, told: Told) -> None:
        """What was counted until now was not counted in our time."""
        self.take(told)
        self.before = {key: -count for key, count in told.counts.items()}


class OtherWorkers:
    """The workers that listen on these admin sockets."""

    def __init__(self, sockets: Sequence[str]) -> None:
        self._others = [_Other(socket) for socket in sockets]

    async def begin(self) -> None:
        """From now on it is counted. A worker that does not answer yet is taken for one that only starts."""
        for other, told in zip(self._others, await self._ask_all(), strict=True):
            if told is not None:
                other.begin(told)

    async def count(self) -> tuple[Counts, int]:
        """What they counted together since `begin`, and how many of them do not answer: of those it is what they said
        last."""
        answers = await self._ask_all()
        for other, told in zip(self._others, answers, strict=True):
            if told is not None:
                other.take(told)
        counts = total(counts for other in self._others for counts in (other.before, other.latest))
        return counts, answers.count(None)

    async def _ask_all(self) -> list[Told | None]:
        return list(await asyncio.gather(*(_ask(other.socket) for other in self._others)))


async def _ask(socket: str) -> Told | None:
    try:
        async with (
            ClientSession(connector=UnixConnector(socket), timeout=_PATIENCE) as session,
            session.get(f"http://worker{COUNTS}") as answer,
        ):
            return msgspec.msgpack.decode(await answer.read(), type=Told) if answer.ok else None
    except (OSError, ClientError, TimeoutError, msgspec.MsgspecError):
        return None
