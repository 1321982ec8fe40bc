"""Puts plan and act together: what is due for a key is planned from a snapshot of this moment, and done."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from tollway.identity.root_standing import RootStanding
from tollway.pricing.table import PriceBook
from tollway_operator.authority.authority import CannotSign
from tollway_operator.authority.root import UnusableRoot
from tollway_operator.authority.state import UnreadableState
from tollway_operator.cluster.errors import ClusterError, Refused
from tollway_operator.cluster.kinds import Kind
from tollway_operator.reconciling.acting import Actor
from tollway_operator.reconciling.actions import AUTHORITY_PLACE, Action, Key, Place, Plan, Say, Topic, place_of
from tollway_operator.reconciling.changes import every_key, keys_of
from tollway_operator.reconciling.contests import Contests, contested, target_of
from tollway_operator.reconciling.gateway import rendered_from
from tollway_operator.reconciling.plan import plan
from tollway_operator.reconciling.rendering import gateway_config, sidecar_config
from tollway_operator.reconciling.reporting import Report
from tollway_operator.reconciling.snapshot import Snapshot, Trust
from tollway_operator.watching.facts import Fact

_log = logging.getLogger(__name__)
AT_ONCE: Final = 16
URGENT_AT_ONCE: Final = 8
"""Pods wait for the answers to their requests: these never queue behind everything else."""
_SAID_ON_OBJECTS: Final = (Refused, CannotSign, UnusableRoot, UnreadableState)
"""What goes on until somebody does something."""

Trigger = Callable[[Key], None]


class Reconciler:
    """`look` is what the loop calls. Its snapshot has the store in it, which is never a moment old."""

    def __init__(
        self, snapshot: Snapshot, actor: Actor, prices: PriceBook, clock: Callable[[], int], trigger: Trigger
    ) -> None:
        self._snapshot = replace(snapshot, failures={})
        self._failures: dict[Place, str] = {}
        self._actor = actor
        self._prices = prices
        self._clock = clock
        self._trigger = trigger
        self._contests = Contests()
        self._rendering = asyncio.Lock()
        self._usual = asyncio.Semaphore(AT_ONCE)
        self._urgent = asyncio.Semaphore(URGENT_AT_ONCE)

    def changed(self, kind: Kind, before: Fact | None, after: Fact | None) -> None:
        """To be told of every change in the store."""
        for key in keys_of(kind, before, after, self._snapshot):
            self._trigger(key)

    def look_at_everything(self) -> None:
        for key in every_key(self._snapshot):
            self._trigger(key)

    def trusts(self, trust: Trust | None, root: RootStanding | None = None) -> None:
        is_other = trust != self._snapshot.trust
        self._snapshot = replace(self._snapshot, trust=trust, root=root)
        if is_other:
            self.look_at_everything()
        else:
            self._trigger(Key(Topic.TRUST))

    def delivers_pod_certificates(self, does: bool) -> None:
        self._snapshot = replace(self._snapshot, pod_certificates=does)

    def reported(self, report: Report) -> None:
        if report != self._snapshot.report:
            self._snapshot = replace(self._snapshot, report=report)
            self._trigger(Key(Topic.PROVIDERS))
            self._trigger(Key(Topic.QUOTAS))
            self._trigger(Key(Topic.TRUST))

    async def look(self, key: Key) -> float | None:
        """Do what is missing for a key; returns the seconds until it is to be looked at again anyway."""
        await self._render(key)
        now = self._clock()
        planned = self._plan(key, now)
        lane = self._urgent if key.topic is Topic.REQUEST else self._usual
        done = await asyncio.gather(*(self._do(chain, lane) for chain in planned.chains), return_exceptions=True)
        _raise_worst(done)
        again = [now + pause for pause in done if isinstance(pause, int)]
        if planned.again_at is not None:
            again.append(planned.again_at)
        return (min(again) - now) / 1000 if again else None

    async def _render(self, key: Key) -> None:
        """In a thread, because it takes a second; the plan then finds it done. One at a time: of two namespaces the
        second finds what the first waited for."""
        if key.topic not in {Topic.GATEWAY, Topic.SIDECAR}:
            return
        async with self._rendering:
            installation, providers, keys, uids = rendered_from(self._snapshot)
            if key.topic is Topic.GATEWAY:
                await asyncio.to_thread(gateway_config, installation, providers, keys, uids)
            elif self._snapshot.is_enforced(key.namespace):
                tried = self._snapshot.trust.tried if self._snapshot.trust is not None else None
                await asyncio.to_thread(sidecar_config, installation, providers, tried)

    def _plan(self, key: Key, now: int) -> Plan:
        return plan(key, replace(self._snapshot, failures=dict(self._failures)), self._prices, now)

    async def _do(self, chain: Iterable[Action], lane: asyncio.Semaphore) -> int | None:
        """The milliseconds after which the rest is done, where somebody else contests it."""
        async with lane:
            for action in chain:
                if pause := self._contests.wait(action, self._clock()):
                    return pause
                await self._act(action)
                if self._contests.wrote(action, self._clock()):
                    await self._say_contested(action)
        return None

    async def _say_contested(self, action: Action) -> None:
        target = target_of(action)
        known = self._snapshot.store.get(target.kind, Fact, target.name, target.namespace) if target else None
        if target is None or known is None:
            return
        sentence = contested(target)
        _log.warning("%s", sentence)
        await self._actor.act(Say(target.kind, known.me, "Warning", "Contested", sentence))

    async def _act(self, action: Action) -> None:
        place = place_of(action)
        try:
            await self._actor.act(action)
        except _SAID_ON_OBJECTS as error:
            if place is not None and self._failures.get(place) != str(error):
                self._failures[place] = str(error)
                self._say_everywhere(place)
            raise
        if place is not None:
            self._failures.pop(place, None)

    def _say_everywhere(self, place: Place) -> None:
        if place == AUTHORITY_PLACE:
            self.look_at_everything()


def _raise_worst(done: Iterable[BaseException | int | None]) -> None:
    """One failure stands for all: first what is no `ClusterError`, because that is a surprise."""
    errors = [error for error in done if isinstance(error, BaseException)]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, ClusterError))
