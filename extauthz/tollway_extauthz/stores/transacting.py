"""What all stores share: every change is one operation of the book, run in one transaction of the store."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from tollway.ledger.book import Book
from tollway.ledger.port import (
    CallFacts,
    Demand,
    Granted,
    JournalRow,
    LedgerUnavailable,
    Refused,
    Settlement,
    Short,
    Sizes,
    Source,
)
from tollway.ledger.seeding import Seeding, Unseeded
from tollway.ledger.units import Amounts

T = TypeVar("T")

_PATIENCE_S: Final = 0.25
EXPIRED_AT_ONCE: Final = 256
"""Holds ended in one transaction; others get their turn in between."""


class TransactingLedger(ABC):
    """The changing half of `tollway.ledger.port.Ledger`; see there. A store adds the reading half."""

    def __init__(self) -> None:
        self._seeding = threading.Lock()

    @abstractmethod
    def _run(self, operation: Callable[[Book], T]) -> T:
        """Run `operation` atomically, and return or raise what it does. Safe from any thread."""

    @abstractmethod
    def _rows_for(self, seeding: Seeding, since: int) -> Iterable[JournalRow]:
        """The rows that `seeding` has not taken yet, from the moment `since` on, in order; outside any transaction."""

    def reserve(
        self, hold_id: str, facts: CallFacts, demands: Sequence[Demand], sizes: Sizes, now: int, deadline: int
    ) -> Granted | Short:
        while True:
            outcome = self._run(lambda book: book.reserve(hold_id, facts, demands, sizes, now, deadline))
            if not isinstance(outcome, Unseeded):
                return outcome
            self._seed(outcome, now)

    def extend(self, hold_id: str, least: int, most: int, now: int) -> Granted | Short | None:
        return self._run(lambda book: book.extend(hold_id, least, most, now))

    def lower(self, hold_id: str, to: int, now: int) -> bool:
        return self._run(lambda book: book.lower(hold_id, to, now))

    def renew(self, hold_id: str, deadline: int) -> bool:
        return self._run(lambda book: book.renew(hold_id, deadline))

    def settle(self, hold_id: str, amounts: Amounts, source: Source, now: int) -> Settlement:
        return self._run(lambda book: book.settle(hold_id, amounts, source, now))

    def expire(self, now: int, granted_before: int = 0) -> Sequence[str]:
        expired: list[str] = []
        while some := self._run(lambda book: book.expire(now, granted_before, EXPIRED_AT_ONCE)):
            expired += some
        return expired

    def _seed(self, unseeded: Unseeded, now: int) -> None:
        """Seed the counters of a limit that changed: once, for all calls that came to need it meanwhile.

        The journal may be long (20 s for a million calls), so nearly all of it is read before the transaction that
        writes; other calls go on. Those that need it do not wait for all of it: they would take every thread there is.
        """
        if not self._seeding.acquire(timeout=_PATIENCE_S):
            counter = unseeded.counter
            raise LedgerUnavailable(
                f"Limit {counter.limit} of AIQuota {counter.namespace}/{counter.quota} was changed, and is still being "
                "recounted from the journal."
            )
        try:
            still = self._run(lambda book: book.unseeded(unseeded.counter, unseeded.limit, now))
            if still is None:
                return
            seeding = Seeding(still)
            if seeding.since is not None:
                for row in self._rows_for(seeding, seeding.since):
                    seeding.take(row)
            self._run(lambda book: book.seed(seeding, now))
        finally:
            self._seeding.release()

    def record_refusal(self, refused: Refused, now: int) -> None:
        self._run(lambda book: book.record_refusal(refused, now))
