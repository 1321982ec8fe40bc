"""Group commit: what many threads want at once goes into one transaction.

A thread that finds nobody at work leads: it commits everything that was queued, hands the results back, and gives the
lead to the first of those who came meanwhile. The others sleep until theirs is done. So while one transaction is on
its way to the disk the next one gathers, and a thread alone pays for nothing.
"""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from tollway.ledger.port import LedgerUnavailable

T = TypeVar("T")


class _Wish(Generic[T]):
    """One operation, and what came of it."""

    def __init__(self, operation: Callable[[], T]) -> None:
        self._operation = operation
        self._value: list[T] = []
        self._error: Exception | None = None
        self._asleep = threading.Lock()
        self._asleep.acquire()

    @property
    def done(self) -> bool:
        return bool(self._value) or self._error is not None

    def perform(self) -> None:
        """Run it; raises what it raises. Not done before it is committed."""
        self._result = self._operation()

    def accept(self) -> None:
        self._value.append(self._result)

    def fail(self, error: Exception) -> None:
        self._error = error

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value[0]

    def sleep(self) -> None:
        """Until it is done, or its thread is to lead."""
        self._asleep.acquire()

    def wake(self) -> None:
        self._asleep.release()


class GroupCommit:
    """Runs operations on one connection. Safe from any thread.

    `begun` is called at the start of each transaction, `undone` after one was rolled back.
    """

    def __init__(self, connection: sqlite3.Connection, begun: Callable[[], None], undone: Callable[[], None]) -> None:
        self._connection = connection
        self._begun = begun
        self._undone = undone
        self._queue: list[_Wish[object]] = []
        self._led = False
        self._lock = threading.Lock()
        """Guards the queue and the lead; never held while anything is done."""

    def run(self, operation: Callable[[], T]) -> T:
        """The result of `operation`, once it is committed; or what it raised, and then it changed nothing.

        Raises `LedgerUnavailable` where SQLite itself failed.
        """
        wish = _Wish(operation)
        if not self._join(wish):  # type: ignore[arg-type]  # the queue takes wishes of any kind
            wish.sleep()
        if not wish.done:
            self._lead()
        return wish.outcome()

    def _join(self, wish: _Wish[object]) -> bool:
        """Queue `wish`; whether its thread is to lead."""
        with self._lock:
            self._queue.append(wish)
            leads, self._led = not self._led, True
        return leads

    def _lead(self) -> None:
        with self._lock:
            wishes, self._queue = self._queue, []
        try:
            self._commit(wishes)
        finally:
            self._hand_over(wishes)

    def _hand_over(self, wishes: Sequence[_Wish[object]]) -> None:
        with self._lock:
            next_ = self._queue[:1]
            self._led = bool(next_)
        for wish in wishes:
            if not wish.done:
                wish.fail(LedgerUnavailable("The thread that was to commit this was interrupted; nothing was changed."))
            wish.wake()
        for wish in next_:
            wish.wake()

    def _commit(self, wishes: Sequence[_Wish[object]]) -> None:
        try:
            self._perform(wishes)
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that wished for it
            # All was rolled back. One failure must not spoil the others: alone, each fails or succeeds for itself.
            if len(wishes) == 1:
                wishes[0].fail(_in_our_words(error))
            else:
                for wish in wishes:
                    self._commit([wish])
        else:
            for wish in wishes:
                wish.accept()

    def _perform(self, wishes: Sequence[_Wish[object]]) -> None:
        """All of them in one transaction."""
        if self._connection.in_transaction:
            self._undo()  # what failed before, and so did undoing it
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._begun()
            for wish in wishes:
                wish.perform()
            self._connection.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            self._undone()


def _in_our_words(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        unavailable = LedgerUnavailable(f"The ledger's file cannot be used now: {error}.")
        unavailable.__cause__ = error
        return unavailable
    return error
