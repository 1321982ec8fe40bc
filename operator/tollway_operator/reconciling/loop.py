"""One loop that looks again at whatever may have changed, until nothing is missing.

`trigger` only notes a key: it never blocks, and however often it comes, the key is looked at once. A key is never
looked at twice at the same time. What failed is tried again with growing pauses, never sooner than the server asked.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from tollway_operator.cluster.errors import ClusterError, Conflict, NotLeading, Unavailable
from tollway_operator.reconciling.actions import Key

_log = logging.getLogger(__name__)
SETTLE_S: Final = 0.02
"""How long a key waits for more of the same change."""
_FIRST_BACK_OFF_S: Final = 0.25
_LONGEST_BACK_OFF_S: Final = 60.0

Look = Callable[[Key], Awaitable[float | None]]
"""Do what is missing for a key; returns after how many seconds to look again anyway. Raises what could not be done."""


class Loop:
    """`may_run`: while it says no, keys only gather. `clock`: seconds, never jumps."""

    def __init__(
        self,
        look: Look,
        clock: Callable[[], float],
        may_run: Callable[[], bool],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._look = look
        self._clock = clock
        self._may_run = may_run
        self._jitter = jitter
        self._due: dict[Key, float] = {}
        self._later: dict[Key, float] = {}
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self.turned_at = clock()
        """When it turned the last time: at least once a second, whatever there is to do."""
        self.looks = 0
        """How often anything was looked at since the start."""

    def trigger(self, key: Key, delay: float = SETTLE_S) -> None:
        """Look at `key` soon. Not sooner than its back-off, while it fails."""
        if key in self._failures and key in self._due:
            return
        self._due[key] = min(self._due.get(key, float("inf")), self._clock() + delay)
        self._woken.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being looked at, or waits to be looked at soon."""
        return not self._due and not self._running

    async def run(self) -> None:
        """For ever."""
        try:
            while True:
                self.turned_at = self._clock()
                self._start_due()
                self._woken.clear()
                await self._sleep()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_due(self) -> None:
        if not self._may_run():
            return
        now = self._clock()
        self._move_later(now)
        for key in [key for key, due in self._due.items() if due <= now and key not in self._running]:
            del self._due[key]
            self._running.add(key)
            task = asyncio.create_task(self._look_at(key), name=f"look at {'/'.join(filter(None, key))}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _move_later(self, now: float) -> None:
        for key in [key for key, due in self._later.items() if due <= now]:
            del self._later[key]
            self._due.setdefault(key, now)

    async def _sleep(self) -> None:
        """Until something is due, or somebody triggers."""
        now = self._clock()
        waiting = [due for key, due in self._due.items() if key not in self._running]
        next_due = min((*waiting, *self._later.values()), default=now + 1.0)
        pause = min(1.0, max(0.0, next_due - now)) if self._may_run() else 0.1
        try:
            async with asyncio.timeout(pause):
                await self._woken.wait()
            # Whatever else comes in the same moment is looked at together.
            await asyncio.sleep(0)
        except TimeoutError:
            return

    async def _look_at(self, key: Key) -> None:
        self.looks += 1
        self._later.pop(key, None)
        try:
            again = await self._look(key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop goes on, and says so
            self._failed(key, error)
        else:
            self._failures.pop(key, None)
            if again is not None:
                self._later[key] = self._clock() + again
        finally:
            self._running.discard(key)
            self._woken.set()

    def _failed(self, key: Key, error: Exception) -> None:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(_LONGEST_BACK_OFF_S, _FIRST_BACK_OFF_S * 2.0 ** min(count - 1, 10))
        pause *= 0.75 + self._jitter() / 2
        if isinstance(error, Unavailable):
            pause = max(pause, error.retry_after)
        self._due[key] = self._clock() + pause
        _report(key, error, pause)


def _report(key: Key, error: Exception, pause: float) -> None:
    name = "/".join(filter(None, key))
    match error:
        case Conflict() | NotLeading():
            _log.debug("%s: %s; looking again in %.1f s", name, error, pause)
        case ClusterError():
            _log.warning("%s: %s; trying again in %.1f s", name, error, pause)
        case _:
            _log.error("%s: trying again in %.1f s", name, pause, exc_info=error)
