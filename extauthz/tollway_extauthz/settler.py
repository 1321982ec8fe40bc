"""Ends holds as the news of ended calls comes in, from whichever side it comes first.

Envoy's access-log service and its access-log file both tell of every call, in any order, each perhaps twice, and now
and then before the hold is there: a caller leaves, or Envoy gives up, while its Check is still being decided. The
ledger takes each end once; an end that came too early is kept until its hold is granted.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from tollway.ledger.port import Hold, Ledger, LedgerUnavailable, Settlement, Source
from tollway.ledger.units import Amounts
from tollway.providers.registry import family_of
from tollway.settling.call_end import CallEnd, account
from tollway_extauthz.gate import Gate
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.metrics import Metrics

T = TypeVar("T")

_log = logging.getLogger(__name__)
_REMEMBERED: Final = 20_000
"""Calls. An end that was forgotten does no harm: the file tells it again, and the hold's deadline covers it."""


class Settler:
    """Safe from any thread: ends come from the logs, grants from the threads that decide."""

    def __init__(
        self,
        ledger: Ledger,
        gate: Gate,
        learned: LearnedOutputs,
        metrics: Metrics,
        clock: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._learned = learned
        self._metrics = metrics
        self._clock = clock
        self._final: OrderedDict[str, None] = OrderedDict()
        self._early: OrderedDict[str, CallEnd] = OrderedDict()
        self._settling = threading.Lock()
        gate.tell_of_grants(self.granted)

    def take(self, end: CallEnd) -> None:
        """Settle, correct or renew; idempotent. Raises `LedgerUnavailable`, and then it has to be told again."""
        try:
            self._take(end)
        except LedgerUnavailable:
            raise
        except Exception:  # noqa: BLE001 - one entry that nobody can settle must not keep all later ones from it
            _log.exception("the end of call %s cannot be settled; its deadline covers it", end.call_id)

    def _take(self, end: CallEnd) -> None:
        if end.call_id in self._final:
            return
        if not end.final:
            self._renew(end)
            return
        # First remembered and then looked for: a hold that is granted in between finds it.
        _remember(self._early, end.call_id, end)
        self._end(end)

    def granted(self, call_id: str) -> None:
        """A hold was granted. Where its call's end was told before, nobody else would end it."""
        end = self._early.get(call_id)
        if end is not None:
            self._end(end)

    def _end(self, end: CallEnd) -> None:
        hold = self._ledger.hold(end.call_id)
        if hold is not None:
            self._settle(end, hold)
            self._early.pop(end.call_id, None)

    def expire(self, granted_before: int = 0) -> None:
        """Charge every hold that is past its deadline, or older than the gateway that lives, at its ceiling."""
        expired = self._ledger.expire(self._clock(), granted_before)
        if not expired:
            return
        self._gate.hold_ended()
        why = "with the gateway that carried them" if granted_before else "by their deadline"
        _log.warning("%d holds ended %s and were charged at their ceiling", len(expired), why)
        for hold in map(self._ledger.hold, expired):
            if hold is not None:
                self._metrics.ended(hold.facts, hold.amounts or Amounts(), "expired")

    def _renew(self, end: CallEnd) -> None:
        """A deadline counts from when the call was seen to run, and never moves back."""
        now = self._clock()
        deadline = min(end.written_at or now, now) + self._gate.hold_ms
        hold = self._ledger.hold(end.call_id)
        if hold is not None and hold.source is None and hold.deadline < deadline:
            self._ledger.renew(end.call_id, deadline)

    def _settle(self, end: CallEnd, hold: Hold) -> None:
        amounts, source = account(end, hold, family_of(hold.facts.family))
        with self._settling:
            settlement = self._ledger.settle(end.call_id, amounts, source, self._clock())
            if settlement in (Settlement.SETTLED, Settlement.CORRECTED):
                self._gate.hold_ended()
                self._metrics.ended(hold.facts, amounts, source.name.lower(), before=hold.amounts or Amounts())
                self._compare(hold, amounts)
                if source is Source.PROVIDER:
                    self._learned.add(hold.facts.agent, hold.facts.model, amounts.output_tokens // hold.facts.answers)
            if source is Source.PROVIDER:
                _remember(self._final, end.call_id, None)

    def _compare(self, hold: Hold, amounts: Amounts) -> None:
        allowed = hold.facts.ceiling(hold.size)
        if amounts.output_tokens > allowed.output_tokens or amounts.input_tokens > allowed.input_tokens:
            self._metrics.over_ceiling(hold.facts)
            _log.warning("call %s consumed more than its ceiling; it is counted in full", hold.hold_id)


def _remember(what: OrderedDict[str, T], call_id: str, value: T) -> None:
    what[call_id] = value
    if len(what) > _REMEMBERED:
        what.popitem(last=False)
