"""Whose turn it is to write: one thread at a time, for one operation or a batch of them, in one transaction.

A transaction is begun by the first operation that needs it and ended once, when its batch ends. What fails in a way
that leaves unknown what was written spoils the whole batch; all of it is undone then, and nobody is told otherwise.
"""

import threading
from types import TracebackType
from typing import Final, Generic, Protocol, TypeVar

from tollway.ledger.port import DuplicateHold, LedgerUnavailable, LimitRecounting

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

_CHANGED_NOTHING: Final = (DuplicateHold, LimitRecounting, ValueError)
"""What operations raise before they write anything."""


class Transaction(Protocol[T_co]):
    """What a store lets be written. What its own failures become is its business: see `in_our_words`."""

    def begin(self, *, alone: bool) -> T_co:
        """Returns what is written with; `alone`: by one operation only. Undoes by itself what failed of it."""
        ...

    def commit(self) -> None: ...

    def undo(self) -> None:
        """Nothing that was written since `begin` stays, neither in memory."""
        ...

    def in_our_words(self, error: BaseException) -> LedgerUnavailable | None:
        """A failure of the store itself; None for any other."""
        ...


class Turns(Generic[T]):
    """`with turns as tables` is one operation, `with turns.batch` many. Both nest; safe from any thread."""

    def __init__(self, transaction: Transaction[T]) -> None:
        self.batch: Final = _Batch(self)
        self._transaction = transaction
        self._lock = threading.RLock()
        self._depth = 0
        self._owner = 0
        self._tables: T | None = None
        """Within a transaction."""
        self._spoiled: BaseException | None = None

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is in a batch."""
        return self._owner == threading.get_ident()

    def take(self, *, wait: bool = True) -> bool:
        """Keep others from writing until `give_back`, without a transaction; whether nobody writes."""
        return self._lock.acquire(blocking=wait)

    def give_back(self) -> None:
        self._lock.release()

    def __enter__(self) -> T:
        self.enter()
        try:
            return self._tables if self._tables is not None else self._begin()
        except BaseException as error:
            self.leave(error)
            raise

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self.leave(error)

    def enter(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self._owner = threading.get_ident()

    def leave(self, error: BaseException | None) -> None:
        """Raises `LedgerUnavailable` where the store failed."""
        try:
            if error is not None and not isinstance(error, _CHANGED_NOTHING):
                self._spoil(error)
            if self._depth == 1:
                self._end(error)
        finally:
            self._depth -= 1
            if not self._depth:
                self._owner, self._spoiled = 0, None
            self._lock.release()

    def _begin(self) -> T:
        if self._spoiled is not None:
            raise LedgerUnavailable("What was written together with this could not be kept; nothing was changed.")
        self._tables = self._transaction.begin(alone=self._depth == 1)
        return self._tables

    def _spoil(self, error: BaseException) -> None:
        """Undo all of it at once: the store may have undone a part by itself."""
        first, self._spoiled = self._spoiled is None, self._spoiled or error
        if first:
            self._undo()
        if (unavailable := self._transaction.in_our_words(error)) is not None:
            raise unavailable from error

    def _end(self, error: BaseException | None) -> None:
        if error is not None:
            self._undo()
        elif self._spoiled is not None:
            raise LedgerUnavailable(f"Nothing of this batch could be kept: {self._spoiled}") from self._spoiled
        elif self._tables is not None:
            self._commit()

    def _commit(self) -> None:
        try:
            self._transaction.commit()
        except BaseException as error:
            self._undo()
            if (unavailable := self._transaction.in_our_words(error)) is not None:
                raise unavailable from error
            raise
        self._tables = None

    def _undo(self) -> None:
        begun, self._tables = self._tables is not None, None
        if begun:
            self._transaction.undo()


class _Batch(Generic[T]):
    def __init__(self, turns: Turns[T]) -> None:
        self._turns = turns

    def __enter__(self) -> None:
        self._turns.enter()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._turns.leave(error)
