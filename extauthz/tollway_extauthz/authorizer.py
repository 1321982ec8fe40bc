"""Decides about calls, one at a time: the core's checks, then the ledger. Time and waiting are in `rounds`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tollway.deciding.admission import Admission, decide, facts_of
from tollway.deciding.checks import trace
from tollway.deciding.question import Question
from tollway.deciding.shortfall import refusal_of
from tollway.ledger.port import CallFacts, Granted, Ledger, Refused, Short
from tollway.providers.port import Refusal
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.usage.shortfalls import Shortfalls

HOLD_MS: Final = 60_000


class Authorizer:
    """`hold_ms` is how long a hold lasts unless it is renewed."""

    def __init__(
        self, ledger: Ledger, learned: LearnedOutputs, clock: Callable[[], int], hold_ms: int = HOLD_MS
    ) -> None:
        self._ledger = ledger
        self._learned = learned
        self._clock = clock
        self._hold_ms = hold_ms
        self.shortfalls = Shortfalls()

    def decide(self, question: Question) -> Refusal | Admission:
        """The checks. They need nothing of the ledger."""
        return decide(question, self._learned.median)

    def refuse(self, question: Question, refusal: Refusal) -> None:
        """Put into the journal what the checks said."""
        self._record(question, refusal, facts_of(question))

    def reserve(self, question: Question, admission: Admission) -> Granted | Short:
        """Take what the call may consume at most, now."""
        now = self._clock()
        deadline = now + self._hold_ms
        return self._ledger.reserve(
            question.call_id, admission.facts, admission.demands, admission.sizes, now, deadline
        )

    def refuse_short(self, question: Question, admission: Admission, short: Short) -> Refusal:
        """The refusal of a call for which too little is left; it is in the journal when this returns."""
        refusal = refusal_of(short, admission.facts, question.call_id, self._clock())
        self._record(question, refusal, admission.facts)
        self.shortfalls.note(short)
        return refusal

    def _record(self, question: Question, refusal: Refusal, facts: CallFacts) -> None:
        said = Refused(question.call_id, _with_trace(facts, question, refusal), refusal.reason, refusal.message)
        self._ledger.record_refusal(said, self._clock())


def _with_trace(facts: CallFacts, question: Question, refusal: Refusal) -> CallFacts:
    said = trace(question)
    if said[-1][1] == "passed":
        said = (*said, ("limits", f"{refusal.reason}: {refusal.message}"))
    return replace(facts, checks=said)
