"""Ends holds as the news of ended calls comes in.

Envoy's access log tells of every call, after a restart of ours perhaps twice, and now and then before the hold is
there: a caller leaves, or Envoy gives up, while its Check is still being decided. The ledger takes each end once; an
end that came too early is kept until its hold is granted.

Everything here happens within a transaction of the ledger. What follows from it outside of the ledger (metrics, what is
learned, which calls are done with) waits until the transaction is complete.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from tollway.ledger.port import Hold, Ledger, LedgerUnavailable, Settlement, Source
from tollway.ledger.units import Amounts
from tollway.providers.registry import family_of
from tollway.settling.call_end import CallEnd, account
from tollway_extauthz.authorizer import HOLD_MS
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.metrics import Metrics

_log = logging.getLogger(__name__)
_REMEMBERED: Final = 20_000
"""Calls. An end that was forgotten does no harm: its hold's deadline covers it."""
_EXPIRED: Final = "expired"
_LOOKS: Final = 12
"""After so many an end that came early is looked at again; by then its call is granted, or Envoy no longer waits."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """A hold, as it was before, and what became of it. `source`: in the words of the metrics."""

    hold: Hold
    amounts: Amounts
    before: Amounts
    source: str


@dataclass(frozen=True, slots=True)
class _Early:
    """An end that came when there was no hold yet, after so many looks for `overtaken` ones."""

    end: CallEnd
    look: int


class Settler:
    """`hold_ms` is how long a hold lasts from when its call was last seen to run."""

    def __init__(
        self,
        ledger: Ledger,
        learned: LearnedOutputs,
        metrics: Metrics,
        clock: Callable[[], int],
        hold_ms: int = HOLD_MS,
    ) -> None:
        self._ledger = ledger
        self._learned = learned
        self._metrics = metrics
        self._clock = clock
        self._hold_ms = hold_ms
        self._early: OrderedDict[str, _Early] = OrderedDict()
        self._look = 0
        self._ended: list[_Ended] = []
        self._now_final: list[str] = []

    @property
    def gave_back(self) -> bool:
        """Whether any hold ended in this transaction."""
        return bool(self._ended)

    def take(self, end: CallEnd) -> None:
        """Settle, correct or renew; idempotent. Raises `LedgerUnavailable`, and then it has to be told again."""
        try:
            self._take(end)
        except LedgerUnavailable:
            raise
        except Exception:  # noqa: BLE001 - one entry that nobody can settle must not keep all later ones from it
            _log.exception("the end of call %s cannot be settled; its deadline covers it", end.call_id)

    def granted(self, call_id: str) -> None:
        """A hold was granted. Where its call's end was told before, nobody else would end it."""
        if self._early and (early := self._early.get(call_id)) is not None:
            self.take(early.end)

    def overtaken(self) -> Sequence[CallEnd]:
        """Ends that were told before their calls were granted by another process, which does not know of them. To be
        asked every 250 ms, outside of a transaction."""
        self._look += 1
        found = takewhile(lambda early: early.look >= self._look - _LOOKS, reversed(self._early.values()))
        due = [early.end for early in found if early.look == self._look - _LOOKS]
        return [end for end in due if self._ledger.hold(end.call_id) is not None]

    def expire(self, granted_before: int = 0) -> None:
        """Charge every hold that is past its deadline, or older than the gateway that lives, at its ceiling."""
        expired = self._ledger.expire(self._clock(), granted_before)
        if not expired:
            return
        why = "with the gateway that carried them" if granted_before else "by their deadline"
        _log.warning("%d holds ended %s and were charged at their ceiling", len(expired), why)
        for hold in map(self._ledger.hold, expired):
            if hold is not None:
                self._ended.append(_Ended(hold, hold.amounts or Amounts(), Amounts(), _EXPIRED))

    def confirm(self) -> None:
        """The transaction is complete: what followed from it is so."""
        for ended in self._ended:
            self._metrics.ended(ended.hold.facts, ended.amounts, ended.source, before=ended.before)
            if ended.source != _EXPIRED:
                self._compare(ended.hold, ended.amounts)
                self._learn(ended)
        for call_id in self._now_final:
            self._early.pop(call_id, None)
        self.forget()

    def forget(self) -> None:
        """The transaction failed: nothing of it happened."""
        self._ended.clear()
        self._now_final.clear()

    def _take(self, end: CallEnd) -> None:
        hold = self._ledger.hold(end.call_id)
        if hold is None:
            if end.final:
                self._remember(end)
        elif hold.source is Source.PROVIDER:
            self._now_final.append(end.call_id)  # another process was told
        elif end.final:
            self._settle(end, hold)
        else:
            self._renew(end, hold)

    def _renew(self, end: CallEnd, hold: Hold) -> None:
        """A deadline counts from when the call was seen to run, and never moves back."""
        deadline = min(end.written_at, self._clock()) + self._hold_ms
        if hold.source is None and hold.deadline < deadline:
            self._ledger.renew(end.call_id, deadline)

    def _settle(self, end: CallEnd, hold: Hold) -> None:
        amounts, source = account(end, hold, family_of(hold.facts.family))
        settlement = self._ledger.settle(end.call_id, amounts, source, self._clock())
        if settlement in (Settlement.SETTLED, Settlement.CORRECTED):
            self._ended.append(_Ended(hold, amounts, hold.amounts or Amounts(), source.name.lower()))
        if source is Source.PROVIDER:
            self._now_final.append(end.call_id)

    def _learn(self, ended: _Ended) -> None:
        if ended.source == Source.PROVIDER.name.lower():
            facts = ended.hold.facts
            self._learned.add(facts.agent, facts.model, ended.amounts.output_tokens // facts.answers)

    def _compare(self, hold: Hold, amounts: Amounts) -> None:
        allowed = hold.facts.ceiling(hold.size)
        if amounts.output_tokens > allowed.output_tokens or amounts.input_tokens > allowed.input_tokens:
            self._metrics.over_ceiling(hold.facts)
            _log.warning("call %s consumed more than its ceiling; it is counted in full", hold.hold_id)

    def _remember(self, end: CallEnd) -> None:
        self._early[end.call_id] = _Early(end, self._look)
        if len(self._early) > _REMEMBERED:
            self._early.popitem(last=False)
