"""One transaction of SQLite at a time, around what the book does."""

import sqlite3
import time
from typing import Final

from tollway.ledger.book import Book
from tollway.ledger.port import LedgerUnavailable, Policy
from tollway_extauthz.stores.sqlite.tables import SQLiteTables

_STEP_S: Final = 0.0002
_STEPS: Final = 5_000
"""At least a second, and seldom the 2 s after which Envoy no longer waits for a decision."""


class SQLiteTransaction:
    """`tollway_extauthz.stores.turns.Transaction` on one connection that writes."""

    def __init__(self, connection: sqlite3.Connection, tables: SQLiteTables, policy: Policy) -> None:
        self._connection = connection
        self._tables = tables
        self._book = Book(tables, policy)

    def begin(self, *, alone: bool) -> Book:  # noqa: ARG002 - all the same
        if self._connection.in_transaction:
            self.undo()  # what failed before, and so did undoing it
        try:
            self._begin()
            self._tables.begun()
        except BaseException:
            self.undo()
            raise
        return self._book

    def _begin(self) -> None:
        """Others write for a fraction of a millisecond. SQLite would look again after 1 ms, 2, 5, 10, 15 and more, and
        meanwhile whoever comes is served first."""
        for _ in range(_STEPS):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                time.sleep(_STEP_S)
            else:
                return
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._tables.flush()
        self._connection.execute("COMMIT")

    def undo(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            return  # the next transaction begins with it
        finally:
            self._tables.undone()

    def in_our_words(self, error: BaseException) -> LedgerUnavailable | None:
        if isinstance(error, sqlite3.Error):
            return LedgerUnavailable(f"The ledger's file cannot be used now: {error}.")
        return None
