"""Reserving, with a short wait for what is only held.

Settlement follows an answer by milliseconds. A caller that calls again at once would be refused by its own last hold;
so a call that is short only by open holds waits for one to end before it is refused. Waiting takes a server thread, so
the number of waiters stays below the number of threads: others are never held up by them.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from tollway.ledger.port import CallFacts, Demand, Granted, Ledger, Short, Shortage, Sizes

WAIT_MS: Final = 250
HOLD_MS: Final = 60_000


def _nobody(call_id: str) -> None:
    """Nobody wants to know of grants."""


class Gate:
    """`hold_ms` is how long a hold lasts unless it is renewed."""

    def __init__(self, ledger: Ledger, clock: Callable[[], int], most_waiters: int, hold_ms: int = HOLD_MS) -> None:
        self.hold_ms: Final = hold_ms
        self._ledger = ledger
        self._clock = clock
        self._granted: Callable[[str], None] = _nobody
        self._seats = threading.Semaphore(most_waiters)
        self._ends = 0
        self._ended = threading.Condition()

    def reserve(
        self,
        hold_id: str,
        facts: CallFacts,
        demands: Sequence[Demand],
        sizes: Sizes,
        still_wanted: Callable[[], bool],
    ) -> Granted | Short:
        """Reserve now, or within `WAIT_MS` if only open holds stand in the way and the caller still waits."""

        def attempt() -> Granted | Short:
            now = self._clock()
            return self._ledger.reserve(hold_id, facts, demands, sizes, now, now + self.hold_ms)

        outcome = self._reserve(attempt, still_wanted)
        if isinstance(outcome, Granted):
            self._granted(hold_id)
        return outcome

    def _reserve(self, attempt: Callable[[], Granted | Short], still_wanted: Callable[[], bool]) -> Granted | Short:

        seen = self._ends
        outcome = attempt()
        if isinstance(outcome, Granted) or not _may_end_soon(outcome) or not self._seats.acquire(blocking=False):
            return outcome
        try:
            return self._attempt_after_each_end(attempt, outcome, seen, still_wanted)
        finally:
            self._seats.release()

    def tell_of_grants(self, granted: Callable[[str], None]) -> None:
        """Call `granted` with the id of every hold, once it is in the ledger."""
        self._granted = granted

    def hold_ended(self) -> None:
        """Tell the waiters that something was given back."""
        with self._ended:
            self._ends += 1
            self._ended.notify_all()

    def _attempt_after_each_end(
        self, attempt: Callable[[], Granted | Short], outcome: Short, seen: int, still_wanted: Callable[[], bool]
    ) -> Granted | Short:
        until = self._clock() + WAIT_MS
        while (left := until - self._clock()) > 0 and still_wanted():
            if self._wait_for_end(seen, left):
                seen = self._ends
                result = attempt()
                if isinstance(result, Granted):
                    return result
                outcome = result
        return outcome

    def _wait_for_end(self, seen: int, milliseconds: int) -> bool:
        with self._ended:
            return self._ended.wait_for(lambda: self._ends != seen, milliseconds / 1000)


def _may_end_soon(short: Short) -> bool:
    return all(_only_held(shortage) for shortage in short.shortages)


def _only_held(shortage: Shortage) -> bool:
    return shortage.needed <= shortage.demand.limit - shortage.used
