"""What all stores share: every change is one operation of the book, alone or in a batch."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Final

from tollway.ledger.book import Book
from tollway.ledger.port import (
    CallFacts,
    Demand,
    Granted,
    JournalRow,
    LedgerUnavailable,
    LimitRecounting,
    Refused,
    Settlement,
    Short,
    Sizes,
    Source,
)
from tollway.ledger.seeding import Seeding, Unseeded
from tollway.ledger.units import Amounts
from tollway_extauthz.stores.turns import Transaction, Turns

_PATIENCE_S: Final = 0.25
EXPIRED_AT_ONCE: Final = 256
"""Holds ended in one transaction; others get their turn in between."""
READ_AT_ONCE: Final = 1_000
"""Rows that a batch may read to seed a limit: 20 ms."""


class TransactingLedger(ABC):
    """The changing half of `tollway.ledger.port.Ledger`; see there. A store adds the reading half."""

    def __init__(self, transaction: Transaction[Book]) -> None:
        self._turns = Turns(transaction)
        self._seeding = threading.Lock()

    @abstractmethod
    def _rows_for(self, seeding: Seeding, since: int) -> Iterable[JournalRow]:
        """The rows that `seeding` has not taken yet, from the moment `since` on, in order; outside any transaction."""

    @abstractmethod
    def _rows_behind(self, seeding: Seeding, since: int) -> int:
        """How many rows `_rows_for` reads at most; inside a batch."""

    def batch(self) -> AbstractContextManager[None]:
        return self._turns.batch

    def reserve(
        self, hold_id: str, facts: CallFacts, demands: Sequence[Demand], sizes: Sizes, now: int, deadline: int
    ) -> Granted | Short:
        while True:
            with self._turns as book:
                outcome = book.reserve(hold_id, facts, demands, sizes, now, deadline)
            if not isinstance(outcome, Unseeded):
                return outcome
            self._seed(outcome, now)

    def extend(self, hold_id: str, least: int, most: int, now: int) -> Granted | Short | None:
        with self._turns as book:
            return book.extend(hold_id, least, most, now)

    def lower(self, hold_id: str, to: int, now: int) -> bool:
        with self._turns as book:
            return book.lower(hold_id, to, now)

    def renew(self, hold_id: str, deadline: int) -> bool:
        with self._turns as book:
            return book.renew(hold_id, deadline)

    def shorten(self, deadline: int) -> int:
        with self._turns as book:
            return book.shorten(deadline)

    def settle(self, hold_id: str, amounts: Amounts, source: Source, now: int) -> Settlement:
        with self._turns as book:
            return book.settle(hold_id, amounts, source, now)

    def expire(self, now: int, granted_before: int = 0) -> Sequence[str]:
        expired: list[str] = []
        while some := self._expire(now, granted_before):
            expired += some
        return expired

    def _expire(self, now: int, granted_before: int) -> Sequence[str]:
        with self._turns as book:
            return book.expire(now, granted_before, EXPIRED_AT_ONCE)

    def record_refusal(self, refused: Refused, now: int) -> None:
        with self._turns as book:
            book.record_refusal(refused, now)

    def _seed(self, unseeded: Unseeded, now: int) -> None:
        """Seed the counters of a limit that changed: once, for all calls that came to need it meanwhile.

        The journal may be long (20 s for a million calls), so nearly all of it is read before the transaction that
        writes; other calls go on. Those that need it do not wait for all of it. A batch waits for no long one: a thread
        reads its rows, and the call may come back.
        """
        if self._turns.is_mine:
            self._seed_in_batch(unseeded, now)
        elif not self._seeding.acquire(timeout=_PATIENCE_S):
            raise _recounting(unseeded)
        else:
            self._seed_and_release(unseeded, now)

    def _seed_in_batch(self, unseeded: Unseeded, now: int) -> None:
        seeding = Seeding(unseeded)
        if seeding.since is None or self._rows_behind(seeding, seeding.since) <= READ_AT_ONCE:
            with self._turns as book:
                book.seed(seeding, now)
            return
        if self._seeding.acquire(blocking=False):
            threading.Thread(target=self._seed_beside, args=(unseeded, now), daemon=True).start()
        raise _recounting(unseeded)

    def _seed_beside(self, unseeded: Unseeded, now: int) -> None:
        with suppress(LedgerUnavailable):  # whoever asks next begins again
            self._seed_and_release(unseeded, now)

    def _seed_and_release(self, unseeded: Unseeded, now: int) -> None:
        try:
            with self._turns as book:
                still = book.unseeded(unseeded.counter, unseeded.limit, now)
            if still is None:
                return
            seeding = Seeding(still)
            if seeding.since is not None:
                for row in self._rows_for(seeding, seeding.since):
                    seeding.take(row)
            with self._turns as book:
                book.seed(seeding, now)
        finally:
            self._seeding.release()


def _recounting(unseeded: Unseeded) -> LedgerUnavailable:
    counter = unseeded.counter
    return LimitRecounting(
        f"Limit {counter.limit} of AIQuota {counter.namespace}/{counter.quota} was changed, and is still being "
        "recounted from the journal."
    )
