"""Ends holds as the news of ended calls comes in, from whichever side it comes first.

Envoy's access-log service and its access-log file both tell of every call. The ledger takes each once; what was settled
lately is remembered here, so that the second telling does not even ask it.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from tollway.ledger.port import Hold, Ledger, Settlement, Source
from tollway.providers.registry import family_of
from tollway.settling.call_end import CallEnd, account
from tollway_extauthz.gate import HOLD_MS, Gate
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.metrics import Metrics

_log = logging.getLogger(__name__)
_REMEMBERED: Final = 20_000


class Settler:
    """`family_type` tells a provider's type by its name, for reading usage; None when the provider is gone."""

    def __init__(
        self,
        ledger: Ledger,
        gate: Gate,
        learned: LearnedOutputs,
        metrics: Metrics,
        clock: Callable[[], int],
        family_type: Callable[[str], str | None],
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._learned = learned
        self._metrics = metrics
        self._clock = clock
        self._family_type = family_type
        self._final: OrderedDict[str, None] = OrderedDict()

    def take(self, end: CallEnd) -> None:
        """Settle, correct or renew; idempotent."""
        if end.call_id in self._final:
            return
        if not end.final:
            self._ledger.renew(end.call_id, self._clock() + HOLD_MS)
            return
        hold = self._ledger.hold(end.call_id)
        if hold is None:
            # A refused call has no hold, and one whose Check is still being written has none yet: the file tells again.
            return
        self._settle(end, hold)

    def expire(self) -> None:
        """Charge every hold that is past its deadline at its ceiling."""
        expired = self._ledger.expire(self._clock())
        if expired:
            self._metrics.expired(len(expired))
            self._gate.hold_ended()
            _log.warning("%d holds ended by their deadline and were charged at their ceiling", len(expired))

    def _settle(self, end: CallEnd, hold: Hold) -> None:
        family_type = self._family_type(hold.facts.provider)
        amounts, source = account(end, hold, family_of(family_type) if family_type else None)
        settlement = self._ledger.settle(end.call_id, amounts, source, self._clock())
        if settlement in (Settlement.SETTLED, Settlement.CORRECTED):
            self._gate.hold_ended()
            self._metrics.settled(hold.facts, amounts, source)
            if (
                amounts.output_tokens > hold.size * hold.facts.answers
                or amounts.input_tokens > hold.facts.input_ceiling
            ):
                self._metrics.over_ceiling(hold.facts)
                _log.warning("call %s consumed more than its ceiling; it is counted in full", end.call_id)
        if source is Source.PROVIDER:
            self._learned.add(hold.facts.agent, hold.facts.model, amounts.output_tokens // hold.facts.answers)
            self._remember(end.call_id)

    def _remember(self, call_id: str) -> None:
        self._final[call_id] = None
        if len(self._final) > _REMEMBERED:
            self._final.popitem(last=False)
