"""Group commit: what many threads want at once goes into one transaction.

A thread that wants something queues it and waits for the lock. Whoever gets the lock commits everything queued so far
and hands the results back; the others, when they get the lock, find theirs done. One thread alone pays for nothing.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from tollway.ledger.port import LedgerUnavailable

T = TypeVar("T")


class _Wish(Generic[T]):
    """One operation, and what came of it."""

    def __init__(self, operation: Callable[[], T]) -> None:
        self._operation = operation
        self._value: list[T] = []
        self._error: Exception | None = None

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


class GroupCommit:
    """Runs operations on one connection. Safe from any thread.

    `begun` is called at the start of each transaction, `undone` after one was rolled back.
    """

    def __init__(self, connection: sqlite3.Connection, begun: Callable[[], None], undone: Callable[[], None]) -> None:
        self._connection = connection
        self._begun = begun
        self._undone = undone
        self._queue: deque[_Wish[object]] = deque()
        self._lock = threading.Lock()

    def run(self, operation: Callable[[], T]) -> T:
        """The result of `operation`, once it is committed; or what it raised, and then it changed nothing.

        Raises `LedgerUnavailable` where SQLite itself failed.
        """
        wish = _Wish(operation)
        self._queue.append(wish)  # type: ignore[arg-type]  # a queue of wishes of any kind
        with self._lock:
            if not wish.done:
                self._commit([self._queue.popleft() for _ in range(len(self._queue))])
        return wish.outcome()

    def _commit(self, wishes: Sequence[_Wish[object]]) -> None:
        try:
            with self._transaction():
                for wish in wishes:
                    wish.perform()
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

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._begun()
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._undone()
            raise


def _in_our_words(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        unavailable = LedgerUnavailable(f"The ledger's file cannot be used now: {error}.")
        unavailable.__cause__ = error
        return unavailable
    return error
