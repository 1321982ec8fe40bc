"""Follows the objects of one kind: lists them, watches from there, and lists anew where the server lost the thread.

Whatever the server does, nothing is asked twice without a pause between.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from tollway_extauthz.keeping.api_server import Failed, Gone
from tollway_extauthz.keeping.messages import Ended, Object, Seen, Unreadable, read_line, read_page
from tollway_extauthz.keeping.pace import Pace
from tollway_extauthz.keeping.watched import Watched

_log = logging.getLogger(__name__)
PAGE: Final = "500"
_WATCH_S: Final = "300"


class Server(Protocol):
    async def get(self, path: str, query: Mapping[str, str]) -> bytes: ...

    def watch(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]: ...


class Listener(Protocol):
    def listed(self, watched: Watched, objects: Sequence[Object]) -> None:
        """These are all that there are."""
        ...

    def seen(self, watched: Watched, seen: Object, removed: bool) -> None:
        """One came, changed or went."""
        ...


class Follower:
    """Of one kind; `run` until cancelled."""

    def __init__(
        self,
        watched: Watched,
        server: Server,
        listener: Listener,
        jitter: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._watched = watched
        self._server = server
        self._listener = listener
        self._pace = Pace(jitter)
        self._sleep = sleep
        self._version = ""
        self._is_cut_off = False

    async def run(self) -> None:
        while True:
            await self._sleep(await self._turn())

    async def _turn(self) -> float:
        """List if need be, and watch until that ends; how long to wait then."""
        try:
            if not self._version:
                await self._list()
            await self._watch()
        except Gone as gone:
            _log.info("%s is listed anew: %s", self._watched, gone)
            self._version = ""
            return self._pace.pause(gone.retry_after)
        except (Failed, Unreadable, OSError) as problem:
            if not self._is_cut_off:
                _log.warning("%s cannot be followed, and is tried again: %s", self._watched, problem)
            self._is_cut_off = True
            return self._pace.pause(problem.retry_after if isinstance(problem, Failed) else 0.0)
        return self._pace.pause()

    async def _list(self) -> None:
        found: list[Object] = []
        query = {"limit": PAGE, **self._watched.selector}
        while True:
            page = read_page(await self._server.get(self._watched.path, query))
            found += page.objects
            if not page.more:
                break
            query["continue"] = page.more
        self._listener.listed(self._watched, found)
        self._version = page.version
        self._well()

    async def _watch(self) -> None:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": _WATCH_S,
            "resourceVersion": self._version,
            **self._watched.selector,
        }
        async with aclosing(self._server.watch(self._watched.path, query)) as lines:
            async for line in lines:
                said = read_line(line)
                if isinstance(said, Ended):
                    raise _as_failure(said)
                self._take(said)
                self._well()

    def _take(self, seen: Seen) -> None:
        if seen.object is not None:
            self._listener.seen(self._watched, seen.object, seen.removed)
        self._version = seen.version or self._version

    def _well(self) -> None:
        if self._is_cut_off:
            _log.info("%s is followed again", self._watched)
        self._is_cut_off = False
        self._pace.went_well()


def _as_failure(ended: Ended) -> Failed:
    said = f"the API server ends the watch ({ended.code}): {ended.message}"
    return Gone(said) if ended.code == 410 else Failed(said)
