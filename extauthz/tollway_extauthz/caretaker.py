"""What only one process may do for a ledger, however many workers share it: the first one.

It follows the gateway's access-log file, ends the holds that nobody else will end, and has what was committed survive
a loss of power.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from aiohttp import ClientSession, UnixConnector

from tollway_extauthz.access_log_file import AccessLogFile
from tollway_extauthz.gateway_life import GatewayLife
from tollway_extauthz.periodic import Work, attempt
from tollway_extauthz.rounds import Rounds
from tollway_extauthz.settings import Settings
from tollway_extauthz.stores.sqlite import SQLiteLedger

_LOOKS_FOR_ENDS_S: Final = 0.02
"""Who waits for what a call gives back waits as long as this and Envoy's flush (20 ms) at most."""


class Caretaker:
    """`rounds` is where ends of calls go."""

    def __init__(
        self,
        settings: Settings,
        ledger: SQLiteLedger,
        rounds: Rounds,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
    ) -> None:
        self._gateway_socket: Final = settings.gateway_admin_socket
        self._ledger = ledger
        self._rounds = rounds
        self._clock = clock
        self._hold_ms = settings.hold_ms
        self._has_others = bool(settings.other_workers)
        self._log_file = AccessLogFile(
            Path(settings.access_log), ledger, rounds.take_lines, self._reopen, clock, wall_clock
        )
        self._following = asyncio.Lock()
        self._gateway = GatewayLife(self._gateway_socket, clock, wall_clock, self._end_older)

    async def catch_up(self) -> None:
        """Learn what ended, or still ran, while nobody listened: no hold may expire before that is known."""
        await attempt(self._follow_log)
        # Holds granted by a clock that was ahead would stay open until this one comes there.
        await attempt(lambda: self._ledger.shorten(self._clock() + self._hold_ms))

    @property
    def duties(self) -> Sequence[tuple[float, Work]]:
        """Each is to be done again after so many seconds."""
        alone = (
            (0.1, self._sync),
            (1.0, self._tidy),
            (_LOOKS_FOR_ENDS_S, self._follow_log),
            (0.25, self._rounds.expire),
            (0.5, self._gateway.look),
        )
        return (*alone, (0.25, self._rounds.end_overtaken)) if self._has_others else alone

    async def finish(self) -> None:
        """Settle what the file still tells."""
        await attempt(self._follow_log)
        self._log_file.close()

    async def _follow_log(self) -> None:
        async with self._following:
            await self._log_file.poll()

    async def _end_older(self, gateway_started: int) -> None:
        """The gateway that carried older holds is gone. All that it wrote is in the file by now."""
        await self._follow_log()
        self._rounds.expire(granted_before=gateway_started)

    async def _reopen(self) -> None:
        connector = UnixConnector(self._gateway_socket)
        async with ClientSession(connector=connector) as session, session.post("http://envoy/reopen_logs") as answer:
            answer.raise_for_status()

    async def _sync(self) -> None:
        await asyncio.to_thread(self._ledger.sync)  # waits for the disk

    async def _tidy(self) -> None:
        await asyncio.to_thread(self._ledger.tidy)  # as well
