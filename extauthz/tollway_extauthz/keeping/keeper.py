"""Puts the parts together: what is told becomes known, and what follows from it is brought to extauthz and to Envoy.

Nothing is written before every kind was listed once: half of the rules would refuse calls that the other half grants.
After that it goes on with what is known, whether or not the API server answers.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tollway_extauthz.identity_files import CERTIFICATE_FILE
from tollway_extauthz.keeping.derived import gateway_files, rules, svid_files
from tollway_extauthz.keeping.envoy_files import WatchedFiles
from tollway_extauthz.keeping.following import Follower, Server
from tollway_extauthz.keeping.known import Change, Known
from tollway_extauthz.keeping.messages import Object
from tollway_extauthz.keeping.programming import Programmer
from tollway_extauthz.keeping.publishing import RULES_FILE, Publisher
from tollway_extauthz.keeping.watched import ISSUERS_FILE, Watched
from tollway_files.atomic import swap, write_file

_log = logging.getLogger(__name__)
_LOOK_AGAIN_S: Final = 0.1
_PASSES_WITHIN_S: Final = 2.0
"""Of two objects that go together one comes first: that is no problem."""


@dataclass(frozen=True, slots=True)
class Places:
    """Directories of the pod, and the sockets of those who live in it."""

    config: Path
    identity: Path
    rules: Path
    envoy_socket: Path
    extauthz_socket: Path


class Keeper:
    """Made inside the event loop; `run` until cancelled."""

    def __init__(self, places: Places, root_namespace: str, server: Server, jitter: Callable[[], float]) -> None:
        self._places = places
        self._known = Known(root_namespace)
        self._followers = [Follower(each, server, self, jitter) for each in self._known.everything]
        self._publisher = Publisher(places.rules, places.extauthz_socket, self._rules)
        envoy = WatchedFiles(str(places.config), str(places.envoy_socket))
        self._programmer = Programmer(places.config, envoy, self._publisher.settle, self._publisher.trigger)
        self._files_changed = asyncio.Event()
        self._said: tuple[str, ...] = ()
        self._has_begun = False
        self._goes_on = False
        self.is_ready = False

    @property
    def is_started(self) -> bool:
        """Whether everything is there that Envoy and extauthz need for their start."""
        places = self._places
        needed = (places.identity / CERTIFICATE_FILE, places.rules / RULES_FILE, places.rules / ISSUERS_FILE)
        return self._programmer.is_started and all(path.is_file() for path in needed)

    async def run(self) -> None:
        self._take_up()
        async with asyncio.TaskGroup() as tasks:
            for follower in self._followers:
                tasks.create_task(follower.run())
            tasks.create_task(self._publisher.run())
            tasks.create_task(self._programmer.run())
            tasks.create_task(self._write_files())
            tasks.create_task(self._become_ready())

    def _take_up(self) -> None:
        """Another process may have served this pod: it goes on as it is until everything is known anew."""
        self._programmer.take_up(self._publisher.take_up())
        self._goes_on = self.is_started
        if self._goes_on:
            _log.info("going on from generation %d", self._publisher.generation)

    # What is told

    def listed(self, watched: Watched, objects: Sequence[Object]) -> None:
        self._follow_from(self._known.listed(watched, objects))

    def seen(self, watched: Watched, seen: Object, removed: bool) -> None:
        self._follow_from(self._known.seen(watched, seen, removed))

    def _follow_from(self, change: Change) -> None:
        for sentence in change.said:
            _log.warning("%s", sentence)
        if not self._known.is_complete:
            return
        begins, self._has_begun = not self._has_begun, True
        if change.files or begins:
            self._files_changed.set()
        if change.rules or begins:
            self._publisher.trigger()

    # What follows

    def _rules(self) -> bytes | None:
        return rules(self._known, self._programmer.programmed) if self._known.is_complete else None

    async def _write_files(self) -> None:
        while True:
            await self._files_changed.wait()
            self._files_changed.clear()
            problems = (await self._write_identity(), await self._write_configuration())
            if not any(problems) or not await self._changes_soon():
                self._say(tuple(problem for problem in problems if problem))

    async def _changes_soon(self) -> bool:
        try:
            async with asyncio.timeout(_PASSES_WITHIN_S):
                return await self._files_changed.wait()
        except TimeoutError:
            return False

    async def _write_identity(self) -> str:
        files = svid_files(self._known.objects)
        if isinstance(files, str):
            return files
        await asyncio.to_thread(swap, self._places.identity, files)
        return ""

    async def _write_configuration(self) -> str:
        files = gateway_files(self._known.objects)
        if isinstance(files, str):
            return files
        issuers = self._places.rules / ISSUERS_FILE
        if not issuers.is_file() or issuers.read_bytes() != files.issuers:
            await asyncio.to_thread(write_file, issuers, files.issuers)
        self._programmer.want(files)
        return ""

    def _say(self, problems: tuple[str, ...]) -> None:
        """Once for each time that it is different."""
        so_long = "what was there before stays" if self.is_started else "waiting for it"
        if problems != self._said:
            for problem in problems:
                _log.warning("%s; %s", problem, so_long)
        self._said = problems

    async def _become_ready(self) -> None:
        """For good: whatever goes away later leaves what is in force."""
        while not (self._known.is_complete or self._goes_on) or not await self._programmer.has_run():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN_S)
        while True:
            await self._publisher.settle()
            if self._publisher.is_taken:
                break
        self.is_ready = True
        _log.info("ready: extauthz decides by generation %d", self._publisher.generation)
