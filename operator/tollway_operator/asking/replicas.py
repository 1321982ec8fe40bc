"""All replicas of the gateway, asked together: one report of what they all serve, and of what was counted.

A replica that does not answer keeps what it said last for a while; then nobody knows what it runs.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tollway.identity.spiffe_id import gateway_id
from tollway.usage_report import UsageReport
from tollway_operator.asking.question import NoAnswer, ask
from tollway_operator.asking.svid import OwnSVID
from tollway_operator.authority.authority import Authority, CannotSign
from tollway_operator.reconciling.reporting import Pace, Report, combined

_log = logging.getLogger(__name__)
PORT: Final = 15444
KEPT_MS: Final = 60_000
"""For how long an answer holds."""
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class _Answer:
    report: UsageReport
    at: int


Resolve = Callable[[str, int], Awaitable[frozenset[str]]]


async def by_name(host: str, port: int) -> frozenset[str]:
    """All addresses of a host: behind a headless Service those of its ready pods. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return frozenset(str(address[0]) for *_, address in found)


class Replicas:
    """A `ReportSource`. `clock`: milliseconds since the epoch, the wall clock: certificates are made by it."""

    def __init__(
        self, host: str, port: int, root_namespace: str, clock: Callable[[], int], resolve: Resolve = by_name
    ) -> None:
        self._host = host
        self._port = port
        self._root_namespace = root_namespace
        self._clock = clock
        self._addresses_of = resolve
        self._svid = OwnSVID(root_namespace)
        self._since = clock()
        self._addresses: frozenset[str] = frozenset()
        self._answers: dict[str, _Answer] = {}
        self._wrong: dict[str, str] = {}
        self._pace = Pace()
        self._few = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, authority: Authority | None) -> Report:
        if authority is None:
            # Whoever does not lead has nothing to say, and nothing to know.
            self._since, self._answers = self._clock(), {}
            return Report()
        self._addresses = await self._resolve()
        await asyncio.gather(*(self._ask(address, authority) for address in sorted(self._addresses)))
        return self._pace.take(self._combined(), self._clock())

    async def _resolve(self) -> frozenset[str]:
        """Every address of the replicas; those of before, while the name cannot be looked up."""
        try:
            found = await self._addresses_of(self._host, self._port)
        except OSError as problem:
            self._is_wrong("", f"the gateway's replicas are not found by {self._host}: {problem.strerror or problem}")
            return self._addresses
        self._is_well("", f"the gateway's replicas are found by {self._host} again")
        return found

    async def _ask(self, address: str, authority: Authority) -> None:
        async with self._few:
            try:
                context = self._svid.context(authority, self._clock())
                gateway = gateway_id(authority.trust_domain, self._root_namespace)
                report = await asyncio.to_thread(ask, address, self._port, context, gateway)
            except (NoAnswer, CannotSign) as problem:
                self._is_wrong(address, f"no report from the gateway at {address}:{self._port}: {problem}")
                return
        self._answers[address] = _Answer(report, self._clock())
        self._is_well(address, f"the gateway at {address}:{self._port} reports again")

    def _combined(self) -> Report:
        self._forget_others()
        now = self._clock()
        fresh = [each.report for each in self._answers.values() if 0 <= now - each.at < KEPT_MS]
        silent = len(self._addresses) - len(fresh)
        if not fresh and now - self._since < KEPT_MS:
            return Report()
        return combined(fresh, silent or int(not fresh))

    def _forget_others(self) -> None:
        """Replicas that are gone."""
        self._answers = {address: found for address, found in self._answers.items() if address in self._addresses}
        self._wrong = {place: said for place, said in self._wrong.items() if not place or place in self._addresses}

    def _is_wrong(self, place: str, sentence: str) -> None:
        """Said once, for as long as it is the same."""
        if self._wrong.get(place) != sentence:
            self._wrong[place] = sentence
            _log.warning("%s", sentence)

    def _is_well(self, place: str, sentence: str) -> None:
        if self._wrong.pop(place, None) is not None:
            _log.info("%s", sentence)
