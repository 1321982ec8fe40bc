"""The store: one file, one connection that writes, one that reads, and one for each long look at the journal.

What a call needs is remembered from call to call, for as long as no other process has written; see `standing` and
`unaltered`. What it changes is gathered, and written once in each batch; see `pending`.

All state is in the file, so several processes may share it. With `durability="normal"` a commit survives the death of
the process at once, and the loss of power after the next `sync`; with `"full"` both at once.
"""

import os
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Final, Literal

from tollway.ledger.port import (
    ALL_CALLS,
    DEFAULT_POLICY,
    Activity,
    CallFilter,
    Counter,
    CounterState,
    Hold,
    JournalRow,
    LedgerUnavailable,
    Mismatch,
    Policy,
)
from tollway.ledger.seeding import Seeding
from tollway_extauthz.stores.sqlite import journal, reading
from tollway_extauthz.stores.sqlite.activity import activity
from tollway_extauthz.stores.sqlite.counters import Counters
from tollway_extauthz.stores.sqlite.schema import connect, open_file
from tollway_extauthz.stores.sqlite.seeding_rows import seeding_rows
from tollway_extauthz.stores.sqlite.tables import SQLiteTables
from tollway_extauthz.stores.sqlite.transaction import SQLiteTransaction
from tollway_extauthz.stores.transacting import TransactingLedger

_MOVED_AT: Final = 4 << 20
"""Size of the WAL from which `tidy` moves it into the database. It is written from its beginning again, and never gets
smaller."""
_CACHE_KIB: Final = 16_384
"""So that the upper pages of every index stay in memory, however many counters and calls there are."""
_PAGES_BEFORE_A_CALLER_MUST: Final = 16_384


class SQLiteLedger(TransactingLedger):
    """`tollway.ledger.port.Ledger` in the file `path`, made if there is none. Safe from any thread.

    Raises `UnusableLedger` if the file is damaged, foreign or newer, and `LedgerUnavailable` from any operation that
    SQLite fails.
    """

    def __init__(
        self, path: Path, policy: Policy = DEFAULT_POLICY, durability: Literal["normal", "full"] = "normal"
    ) -> None:
        open_file(path)
        self._path = path
        self._writer = connect(path)
        self._writer.execute(f"PRAGMA synchronous = {durability}")
        self._writer.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_BEFORE_A_CALLER_MUST}")
        self._writer.execute("PRAGMA busy_timeout = 0")  # see `transaction`
        self._writer.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._reader = connect(path)
        self._reading = threading.Lock()
        self._tables = SQLiteTables(self._writer)
        self._transaction = SQLiteTransaction(self._writer, self._tables, policy)
        super().__init__(self._transaction)
        # SQLite keeps its locks elsewhere, so this descriptor may be closed without losing any.
        self._wal = os.open(f"{path}-wal", os.O_RDONLY)

    def close(self) -> None:
        """Close the file; what was committed is in it, durably. No operation may follow."""
        self.sync()
        os.close(self._wal)
        self._reader.close()
        self._turns.take()  # a thread that seeds may still be writing
        self._writer.close()
        self._turns.give_back()

    def sync(self) -> None:
        """Make all that was committed before survive a loss of power. Blocks for a disk write, but no other caller."""
        os.fdatasync(self._wal)

    def tidy(self) -> None:
        """Move what was committed from the WAL into the database, where there is much of it, so that no caller has to.

        Blocks as `sync` does, and longer. Once a second is enough: what changes often is moved once for all.
        """
        if os.fstat(self._wal).st_size >= _MOVED_AT:
            with self._looking() as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _rows_for(self, seeding: Seeding, since: int) -> Iterable[JournalRow]:
        with self._looking() as connection:
            yield from seeding_rows(connection, seeding, since)

    def _rows_behind(self, seeding: Seeding, since: int) -> int:
        with self._turns:
            return self._tables.rows_behind(seeding.reached, since)

    def hold(self, hold_id: str) -> Hold | None:
        """In a batch, as the batch has it; else as it was last committed."""
        if self._turns.is_mine:
            with self._turns:
                return self._tables.hold(hold_id)
        return self._unaltered(hold_id) or self._read_hold(hold_id)

    def _unaltered(self, hold_id: str) -> Hold | None:
        """From memory, unless somebody writes just now."""
        if not self._turns.take(wait=False):
            return None
        try:
            with _unavailable():
                return self._tables.unaltered(hold_id)
        finally:
            self._turns.give_back()

    def _read_hold(self, hold_id: str) -> Hold | None:
        with self._read() as connection:
            return reading.find_hold(connection, hold_id)

    def changes(self) -> int:
        """See `tollway.ledger.port.Ledger`. Waits for a batch of another thread."""
        self._turns.take()
        try:
            with _unavailable():
                return self._tables.version()
        finally:
            self._turns.give_back()

    def counters(self, now: int, only: Collection[Counter] | None = None) -> Sequence[CounterState]:
        with self._looking() as connection:
            return reading.counter_states(connection, now, only)

    def activity(self, since: int) -> Activity:
        with self._looking() as connection:
            return activity(connection, since)

    def journal(self, calls: CallFilter = ALL_CALLS) -> Iterable[JournalRow]:
        with self._looking() as connection:
            yield from journal.rows(connection, Counters(connection).of, calls)

    def verify(self) -> Sequence[Mismatch]:
        with self._looking() as connection:
            return reading.find_mismatches(connection)

    def learned(self, limit: int) -> Iterable[tuple[str, str, int]]:
        """(agent, model, output tokens) of the latest `limit` calls settled by the provider's own numbers, in order."""
        with self._looking() as connection:
            return reading.learned(connection, limit)

    def checkpoint(self, name: str) -> str | None:
        """What was last set under `name`; None if nothing was."""
        with nullcontext(self._writer) if self._turns.is_mine else self._read() as connection:
            found = connection.execute("SELECT value FROM checkpoints WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def set_checkpoint(self, name: str, value: str) -> None:
        """Remember `value`, which never becomes durable before the changes committed earlier."""
        query = "INSERT INTO checkpoints VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        with self._turns:
            self._writer.execute(query, (name, value))

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """The connection for short reads."""
        with self._reading, _unavailable():
            yield self._reader

    @contextmanager
    def _looking(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for a read that takes long."""
        with _unavailable(), closing(connect(self._path)) as connection:
            yield connection


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"The ledger's file cannot be read now: {error}.") from error
