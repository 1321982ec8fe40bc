"""Whether the gateway's Envoy still is the one that carried the calls that are open.

An Envoy that was killed says nothing of its calls. What it still wrote is in its access-log file; every other hold that
it carried has to end at once, not at its deadline. When the present one started, its administration socket tells: the
moment at which it read what it was started with.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector

_STARTED = "http://envoy/config_dump?mask=last_updated"
_PATIENCE = ClientTimeout(total=2.0)


class _Part(msgspec.Struct):
    last_updated: str = ""


class _Dump(msgspec.Struct):
    configs: list[_Part]


class GatewayLife:
    """`ended(moment)` is awaited once for every Envoy that is found alive, with the moment when it started."""

    def __init__(
        self,
        admin_socket: str,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        ended: Callable[[int], Awaitable[None]],
    ) -> None:
        self._socket = admin_socket
        self._clock = clock
        self._wall_clock = wall_clock
        self._ended = ended
        self._known = ""

    async def look(self) -> None:
        """Ask which Envoy lives. One that does not answer may be starting, or busy: nothing follows from that."""
        started = await self._started()
        if started and started != self._known:
            # Ages are the same on every clock: that of the ledger never jumps, Envoy's does when it is set.
            age = self._wall_clock() - int(datetime.fromisoformat(started).timestamp() * 1000)
            await self._ended(self._clock() - max(age, 0))
            self._known = started

    async def _started(self) -> str:
        try:
            connector = UnixConnector(self._socket)
            async with (
                ClientSession(connector=connector, timeout=_PATIENCE) as session,
                session.get(_STARTED) as answer,
            ):
                return started_at(await answer.read()) if answer.ok else ""
        except (OSError, ClientError, TimeoutError):
            return ""


def started_at(dump: bytes) -> str:
    """The moment, as Envoy writes it; "" where the dump does not say."""
    try:
        parts = msgspec.json.decode(dump, type=_Dump).configs
    except msgspec.MsgspecError:
        return ""
    return next((part.last_updated for part in parts if part.last_updated), "")
