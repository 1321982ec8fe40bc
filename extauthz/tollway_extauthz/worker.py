"""What every worker does: it decides about calls. Workers share nothing but the ledger."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from tollway.pricing.data import default_book
from tollway_extauthz.authorizer import Authorizer
from tollway_extauthz.http2.server import GrpcServer
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.metrics import Metrics
from tollway_extauthz.rounds import CHECK, Rounds
from tollway_extauthz.rules import RuleSource
from tollway_extauthz.settings import Settings
from tollway_extauthz.settler import Settler
from tollway_extauthz.stores.sqlite import SQLiteLedger

_log = logging.getLogger(__name__)
_GRACE_S = 5.0
_REMEMBERED = 2000
"""Calls of before, from which it is learned how long answers are."""


class Worker:
    """Its rules, its rounds, and the socket on which Envoy asks it."""

    def __init__(
        self,
        settings: Settings,
        ledger: SQLiteLedger,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        timer: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self.metrics = Metrics()
        self.learned = LearnedOutputs(ledger.learned(_REMEMBERED))
        self.rules = RuleSource(Path(settings.rules), Path(settings.issuers), settings.trust_domain, default_book())
        authorizer = Authorizer(ledger, self.learned, clock, settings.hold_ms)
        self.shortfalls = authorizer.shortfalls
        self.rounds = Rounds(
            lambda: self.rules.current,
            ledger,
            authorizer,
            Settler(ledger, self.learned, self.metrics, clock, settings.hold_ms),
            self.metrics,
            clock,
            wall_clock,
            timer,
            lambda: self._checks.flush(),
            uncovered_allowed=settings.uncovered == "allow",
        )
        self._checks = GrpcServer({CHECK: self.rounds.ask}, self.rounds.decide)

    async def start(self) -> None:
        """Serve. Raises `OSError`."""
        await self._checks.start(self._settings.check_socket)
        _log.info("ready on %s", self._settings.check_socket)

    async def refresh(self) -> None:
        """Take the rules that are published, if they are others."""
        if await self.rules.refresh() and self.rules.current is not None:
            self.metrics.generation, self.metrics.issuers = self.rules.current.generation, self.rules.current.issuers

    async def learn_again(self) -> None:
        """How long answers are, from the ledger: for a worker that itself is told of no end."""
        fresh = await asyncio.to_thread(lambda: LearnedOutputs(self._ledger.learned(_REMEMBERED)))
        self.learned.take_over(fresh)

    async def finish(self) -> None:
        """Take no more calls, and decide about those that were asked."""
        self._checks.stop_listening()
        await self.rounds.finish(_GRACE_S)
        self._checks.close()
