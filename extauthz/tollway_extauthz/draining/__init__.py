"""How a gateway's pod ends: Envoy finishes its calls and ends, before the process that decides and settles does.

Kubernetes ends all containers of a pod at once, and Envoy cuts every call when it is told to end. So this runs as the
preStop hook of extauthz, which is told to end only once the hook is through: Envoy is asked to send its callers
elsewhere, calls in flight are waited for while decisions and settlement go on, and then Envoy is asked to end. What it
wrote into its access log is settled by extauthz on its own way out.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector

_PATIENCE: Final = ClientTimeout(total=2.0)
_LOOK_S: Final = 0.1
ENDS_WITHIN_S: Final = 5.0
"""How long an Envoy may take to end when it is asked to."""
_ACTIVE: Final = "/stats?filter=downstream_rq_active&format=text"


class Drained(Enum):
    """How it went."""

    IDLE = "every call in flight came to its end"
    CUT = "the time was up, and calls in flight were cut"
    GONE = "there was no Envoy"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. `at_least`: as long as callers may still be sent here. `at_most`: then calls in flight are cut."""

    at_least: float
    at_most: float


class GatewayEnvoy:
    """The Envoy behind an administration socket."""

    def __init__(self, admin_socket: str) -> None:
        self._socket = admin_socket

    async def send_callers_elsewhere(self) -> bool:
        """Connections are taken, and closed behind the call that is on them. Whether there is an Envoy."""
        return await self._ask("POST", "/drain_listeners?graceful&skip_exit") is not None

    async def calls(self) -> int | None:
        """How many are in flight; None where no Envoy answers."""
        answer = await self._ask("GET", _ACTIVE)
        return None if answer is None else active(answer)

    async def end(self) -> None:
        await self._ask("POST", "/quitquitquit")

    async def _ask(self, method: str, path: str) -> str | None:
        try:
            connector = UnixConnector(self._socket)
            async with (
                ClientSession(connector=connector, timeout=_PATIENCE) as session,
                session.request(method, f"http://envoy{path}") as answer,
            ):
                return await answer.text() if answer.ok else None
        except (OSError, ClientError, TimeoutError):
            return None


def active(statistics: str) -> int:
    """The calls in flight, but for those that ask for statistics."""
    counts = (line.rpartition(": ") for line in statistics.splitlines() if not line.startswith("http.admin."))
    return sum(int(count) for _, _, count in counts if count.isdigit())


async def drain(envoy: GatewayEnvoy, patience: Patience, steady: Callable[[], float]) -> Drained:
    """Have an Envoy finish its calls and end. Returns when it has ended, or does not."""
    started = steady()
    if not await envoy.send_callers_elsewhere():
        return Drained.GONE
    idle = await _idle(envoy, patience, lambda: steady() - started)
    await envoy.end()
    await _ended(envoy)
    return Drained.IDLE if idle else Drained.CUT


async def _idle(envoy: GatewayEnvoy, patience: Patience, passed: Callable[[], float]) -> bool:
    while passed() < patience.at_most:
        if not await envoy.calls() and passed() >= patience.at_least:
            return True
        await asyncio.sleep(_LOOK_S)
    return False


async def _ended(envoy: GatewayEnvoy) -> None:
    for _ in range(round(ENDS_WITHIN_S / _LOOK_S)):
        if await envoy.calls() is None:
            return
        await asyncio.sleep(_LOOK_S)
