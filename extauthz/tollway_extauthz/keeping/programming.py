"""Has Envoy run what is configured: shows it the files, sees whether it takes them, and takes back what it refuses.

A provider that goes is closed to decisions before Envoy loses it, and one that comes is opened once Envoy runs it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Final

from tollway_extauthz.keeping.derived import GatewayFiles
from tollway_extauthz.keeping.envoy_files import WatchedFiles
from tollway_extauthz.keeping.known import Files
from tollway_extauthz.keeping.watched import BOOTSTRAP_FILE
from tollway_files.atomic import write_file

_log = logging.getLogger(__name__)
_LOOK_AGAIN_S: Final = 0.1
_AGAIN_S: Final = 60.0
"""After this a configuration that Envoy refused is tried once more: it may have been too busy."""


class Outcome(Enum):
    RUNS = auto()
    REFUSED = auto()
    PENDING = auto()
    """There is no Envoy to run it, or it has not begun to."""


class Programmer:
    """`settle` has what `programmed` says in force before it returns; `changed` is told when that is more."""

    def __init__(
        self,
        directory: Path,
        envoy: WatchedFiles,
        settle: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._envoy = envoy
        self._settle = settle
        self._tell = changed
        self._wanted: GatewayFiles | None = None
        self._refused: Files | None = None
        self._good: Files | None = None
        self._is_different = asyncio.Event()
        self.programmed: Mapping[str, str] = {}
        """The providers that Envoy runs, and is to run on: name -> UID."""

    @property
    def is_started(self) -> bool:
        """Whether there is what an Envoy needs for its start."""
        return bool(self._envoy.shown) and (self._directory / BOOTSTRAP_FILE).is_file()

    async def has_run(self) -> bool:
        """Whether an Envoy was seen to run what it is shown, now or before something newer was, and its providers are
        in `programmed`."""
        if self._good is not None:
            return True
        # What is wanted has run once it was taken: before that, its providers are not open.
        is_wanted = self._wanted is not None and self._wanted.envoy == self._envoy.shown
        return bool(self._envoy.shown) and not is_wanted and await self._envoy.run()

    def take_up(self, open_before: Mapping[str, str]) -> None:
        """Go on from what was shown before this process."""
        self._envoy.take_up()
        self.programmed = open_before

    def want(self, files: GatewayFiles) -> None:
        if files != self._wanted:
            self._wanted = files
            self._is_different.set()

    async def run(self) -> None:
        while True:
            if self._wanted is None:
                await self._is_different.wait()
            self._is_different.clear()
            if self._wanted is not None:
                await self._wait(await self._work(self._wanted))

    async def _wait(self, outcome: Outcome) -> None:
        patience = {Outcome.PENDING: _LOOK_AGAIN_S, Outcome.REFUSED: _AGAIN_S, Outcome.RUNS: None}[outcome]
        try:
            async with asyncio.timeout(patience):
                await self._is_different.wait()
        except TimeoutError:
            # An Envoy that has no time today may have it tomorrow.
            self._refused = None

    async def _work(self, wanted: GatewayFiles) -> Outcome:
        await self._show_bootstrap(wanted.bootstrap)
        if wanted.envoy == self._refused:
            return Outcome.REFUSED
        if wanted.envoy != self._envoy.shown:
            outcome = await self._change(wanted)
        else:
            outcome = Outcome.RUNS if await self._envoy.run() else Outcome.PENDING
        if outcome is Outcome.RUNS:
            self._take(wanted)
        return outcome

    async def _show_bootstrap(self, content: bytes) -> None:
        path = self._directory / BOOTSTRAP_FILE
        before = path.read_bytes() if path.is_file() else None
        if content == before:
            return
        await asyncio.to_thread(write_file, path, content)
        if before is not None:
            _log.warning("what Envoy reads at its start has changed: it is in force with the next start of the pod")

    async def _change(self, wanted: GatewayFiles) -> Outcome:
        await self._close(wanted.providers)
        if not await self._envoy.answers():
            self._envoy.show(wanted.envoy)
            return Outcome.PENDING
        refusal = await self._envoy.change(wanted.envoy)
        if refusal is None:
            return Outcome.RUNS
        self._refused = wanted.envoy
        _log.error("%s; the configuration of before stays in force", refusal)
        return Outcome.REFUSED

    async def _close(self, remaining: Mapping[str, str]) -> None:
        """Decide against calls to what goes while Envoy still has it: they are refused in a provider's own words."""
        staying = dict(self.programmed.items() & remaining.items())
        if staying != self.programmed:
            self.programmed = staying
            await self._settle()

    def _take(self, wanted: GatewayFiles) -> None:
        self._good = wanted.envoy
        if wanted.providers != self.programmed:
            _log.info("Envoy runs %s", ", ".join(sorted(wanted.providers)) or "no provider")
            self.programmed = wanted.providers
            self._tell()
