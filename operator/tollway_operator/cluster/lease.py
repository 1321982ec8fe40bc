"""Who of several operators may write: the holder of a Lease of `coordination.k8s.io/v1`.

A holder that stops renewing loses it after `duration_s`, and by its own clock a little before anybody else may take
it. Others do not believe the times in the Lease, which are of another machine's clock: they wait until they have seen
it unchanged for so long.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tollway_operator.cluster.client import Client
from tollway_operator.cluster.errors import ClusterError
from tollway_operator.cluster.kinds import LEASE, Object
from tollway_operator.names import LEASE as NAME

_log = logging.getLogger(__name__)
_SAFETY: Final = 0.8
"""The part of the duration for which the holder trusts its own renewal."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease as it was first seen in this version; `at` by this process's own clock, seconds."""

    holder: str
    resource_version: str
    duration_s: float
    at: float


def may_take(seen: Sighting | None, me: str, now: float) -> bool:
    """Whether the Lease is free for `me`: nobody's, mine already, or its holder has been silent for too long."""
    if seen is None or seen.holder in {"", me}:
        return True
    return now - seen.at >= seen.duration_s


class Leadership:
    """`held` is what every write asks. Times are seconds of a clock that never jumps."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        me: str,
        clock: Callable[[], float],
        wall_clock: Callable[[], int],
        duration_s: float = 15.0,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._me = me
        self._clock = clock
        self._wall_clock = wall_clock
        self._duration_s = duration_s
        self._seen: Sighting | None = None
        self._until = float("-inf")

    @property
    def held(self) -> bool:
        return self._clock() < self._until

    @property
    def stands_by(self) -> bool:
        """Whether another one was seen to hold it."""
        return not self.held and self._seen is not None and self._seen.holder not in {"", self._me}

    async def keep(self) -> None:
        """Take it and renew it, for ever."""
        while True:
            with contextlib.suppress(ClusterError):
                await self.attempt()
            await asyncio.sleep(self._duration_s / (4 if self.held else 6))

    async def attempt(self) -> None:
        """Look at the Lease; take or renew it where that is right. Raises `ClusterError`."""
        found = await self._client.get(LEASE, NAME, self._namespace)
        self._see(found)
        asked = self._clock()
        if not may_take(self._seen, self._me, asked):
            return
        written = await self._write(found, self._me)
        self._see(written)
        if not self.held:
            _log.info("%s holds the Lease and writes from now on", self._me)
        self._until = asked + self._duration_s * _SAFETY

    async def release(self) -> None:
        """Let the next one begin at once."""
        if not self.held:
            return
        self._until = float("-inf")
        with contextlib.suppress(ClusterError):
            found = await self._client.get(LEASE, NAME, self._namespace)
            if found is not None and found["spec"].get("holderIdentity") == self._me:
                await self._write(found, "")

    def _see(self, found: Object | None) -> None:
        if found is None:
            self._seen = None
            return
        version = str(found["metadata"]["resourceVersion"])
        if self._seen is None or self._seen.resource_version != version:
            spec = found.get("spec", {})
            duration = float(spec.get("leaseDurationSeconds") or self._duration_s)
            self._seen = Sighting(str(spec.get("holderIdentity") or ""), version, duration, self._clock())

    async def _write(self, found: Object | None, holder: str) -> Object:
        spec = self._spec(found, holder)
        if found is None:
            return await self._client.create(LEASE, LEASE.new(NAME, self._namespace, spec=spec))
        # With the version that was read: of two takers the second gets a conflict.
        return await self._client.replace(LEASE, {**found, "spec": spec})

    def _spec(self, found: Object | None, holder: str) -> dict[str, Any]:
        before = found.get("spec", {}) if found is not None else {}
        now = datetime.fromtimestamp(self._wall_clock() / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changes = before.get("holderIdentity") != holder
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._duration_s)),
            "renewTime": now,
            "acquireTime": now if changes else before.get("acquireTime", now),
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + int(changes),
        }
