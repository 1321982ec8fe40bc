"""Brings rules into force: written for extauthz in generations that never go back, and seen to be decided by.

One publication at a time: whatever changes meanwhile is in the next one. So a storm of changes costs extauthz no more
than it can take.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from tollway_extauthz.keeping.probes import ask_socket, until
from tollway_files.atomic import write_file

_log = logging.getLogger(__name__)
RULES_FILE: Final = "rules.json"
TAKEN_WITHIN: Final = 5.0
"""Seconds that extauthz may take; one that does not run decides nothing."""


class _Numbered(msgspec.Struct, frozen=True):
    generation: int
    resources: msgspec.Raw


class _Status(msgspec.Struct, frozen=True):
    generation: int | None = None


class _Open(msgspec.Struct, frozen=True):
    uids: dict[str, str]


class Publisher:
    """`rules` gives the JSON of the resources that are to be in force, None while they are not known; `admin` is
    extauthz's socket."""

    def __init__(self, directory: Path, admin: Path, rules: Callable[[], bytes | None]) -> None:
        self._path = directory / RULES_FILE
        self._admin = admin
        self._rules = rules
        self._published = b""
        self._asked = 0
        self._settled = 0
        self._changed = asyncio.Event()
        self._is_settled = asyncio.Condition()
        self.generation = 0
        self.taken = 0
        """The newest generation that extauthz was seen to decide by."""

    def take_up(self) -> Mapping[str, str]:
        """Go on from what was published before this process; the providers that are open by it, name -> UID."""
        try:
            before = msgspec.json.decode(self._path.read_bytes(), type=_Numbered)
            opened = msgspec.json.decode(before.resources, type=_Open)
        except (OSError, msgspec.MsgspecError):
            return {}
        self.generation, self._published = before.generation, bytes(before.resources)
        return opened.uids

    def trigger(self) -> None:
        """Something is different."""
        self._asked += 1
        self._changed.set()

    async def settle(self) -> None:
        """Until what is different now is in force; or extauthz had its time."""
        self.trigger()
        asked = self._asked
        async with self._is_settled:
            await self._is_settled.wait_for(lambda: self._settled >= asked)

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            asked = self._asked
            if await self._publish() or not self.is_taken:
                await self._see_it_taken()
            async with self._is_settled:
                self._settled = asked
                self._is_settled.notify_all()

    @property
    def is_taken(self) -> bool:
        return 0 < self.generation <= self.taken

    async def _publish(self) -> bool:
        """Whether that made other rules than before."""
        resources = self._rules()
        if resources is None or resources == self._published:
            return False
        content = msgspec.json.encode(_Numbered(self.generation + 1, msgspec.Raw(resources)))
        await asyncio.to_thread(write_file, self._path, content)
        self.generation, self._published = self.generation + 1, resources
        return True

    async def _see_it_taken(self) -> None:
        if not await until(self._look, TAKEN_WITHIN):
            _log.warning(
                "extauthz does not decide by generation %d: it is starting, or look into its log", self.generation
            )

    async def _look(self) -> bool:
        answer = await ask_socket(self._admin, "/status")
        found = msgspec.json.decode(answer, type=_Status).generation if answer is not None else None
        self.taken = found or 0
        return self.is_taken
