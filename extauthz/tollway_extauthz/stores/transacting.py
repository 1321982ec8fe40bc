"""What all stores share: every change is one operation of the book, run in one transaction of the store."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from tollway.ledger.book import Book
from tollway.ledger.port import CallFacts, Demand, Granted, Refused, Settlement, Short, Sizes, Source
from tollway.ledger.units import Amounts

T = TypeVar("T")

EXPIRED_AT_ONCE: Final = 256
"""Holds ended in one transaction; others get their turn in between."""


class TransactingLedger(ABC):
    """The changing half of `tollway.ledger.port.Ledger`; see there. A store adds the reading half."""

    @abstractmethod
    def _run(self, operation: Callable[[Book], T]) -> T:
        """Run `operation` atomically, and return or raise what it does. Safe from any thread."""

    def reserve(
        self, hold_id: str, facts: CallFacts, demands: Sequence[Demand], sizes: Sizes, now: int, deadline: int
    ) -> Granted | Short:
        return self._run(lambda book: book.reserve(hold_id, facts, demands, sizes, now, deadline))

    def extend(self, hold_id: str, least: int, most: int, now: int) -> Granted | Short | None:
        return self._run(lambda book: book.extend(hold_id, least, most, now))

    def lower(self, hold_id: str, to: int, now: int) -> bool:
        return self._run(lambda book: book.lower(hold_id, to, now))

    def renew(self, hold_id: str, deadline: int) -> bool:
        return self._run(lambda book: book.renew(hold_id, deadline))

    def settle(self, hold_id: str, amounts: Amounts, source: Source, now: int) -> Settlement:
        return self._run(lambda book: book.settle(hold_id, amounts, source, now))

    def expire(self, now: int) -> Sequence[str]:
        expired: list[str] = []
        while some := self._run(lambda book: book.expire(now, EXPIRED_AT_ONCE)):
            expired += some
        return expired

    def record_refusal(self, refused: Refused, now: int) -> None:
        self._run(lambda book: book.record_refusal(refused, now))
