"""The order in which what Envoy runs becomes open to decisions."""

import asyncio
from pathlib import Path

from tollway_extauthz.keeping.derived import GatewayFiles
from tollway_extauthz.keeping.envoy_files import WatchedFiles
from tollway_extauthz.keeping.programming import Programmer

WANTED = GatewayFiles({"cds.json": b"{}"}, {"openai": "a UID"}, b"bootstrap", b"issuers")


class SlowToTell(WatchedFiles):
    """Of an Envoy that is starting: it runs all that it is shown, and the first who asks is told late."""

    def __init__(self, directory: Path) -> None:
        super().__init__(str(directory), str(directory / "admin.sock"))
        self.was_asked = asyncio.Event()
        self.tells = asyncio.Event()

    async def run(self) -> bool:
        if not self.was_asked.is_set():
            self.was_asked.set()
            await self.tells.wait()
        return True


async def test_what_is_wanted_has_run_only_when_its_providers_are_open(tmp_path: Path) -> None:
    """Else the gateway were ready by rules in which they are not, and refused their first calls."""
    envoy = SlowToTell(tmp_path)
    opened = asyncio.Event()
    programmer = Programmer(tmp_path, envoy, settle=asyncio.Event().wait, changed=opened.set)
    programmer.want(WANTED)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(programmer.run())
        await envoy.was_asked.wait()
        assert not await programmer.has_run()
        envoy.tells.set()
        await opened.wait()
        assert programmer.programmed == WANTED.providers
        assert await programmer.has_run()
        running.cancel()


async def test_what_was_shown_before_this_process_has_run_while_nothing_is_wanted(tmp_path: Path) -> None:
    envoy = SlowToTell(tmp_path)
    envoy.show(WANTED.envoy)
    envoy.was_asked.set()
    programmer = Programmer(tmp_path, envoy, settle=asyncio.Event().wait, changed=lambda: None)
    assert await programmer.has_run()
