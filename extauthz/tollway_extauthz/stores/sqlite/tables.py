"""The writing side: what the book reads and writes inside one transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from tollway.ledger.arithmetic import BucketUse, Use
from tollway.ledger.holds import Record
from tollway.ledger.port import Counter, JournalRow, RowKind
from tollway_extauthz.stores.sqlite.rows import (
    COUNTER_COLUMNS,
    HOLD_SELECT,
    JOURNAL_COLUMNS,
    amount_columns,
    claims_column,
    counter_columns,
    counter_from,
    journal_columns,
    record_from,
)

USE: Final = (
    "SELECT coalesce(sum(used), 0), coalesce(sum(held), 0) FROM buckets WHERE counter = ? AND bucket BETWEEN ? AND ?"
)
_MOST_CACHED: Final = 100_000
_ADD_TO_BUCKET: Final = (
    "INSERT INTO buckets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
    "SET held = held + excluded.held, used = used + excluded.used"
)
_INSERT_ROW: Final = (
    f"INSERT INTO journal ({', '.join(JOURNAL_COLUMNS)}) "  # noqa: S608 - constants
    f"VALUES ({', '.join('?' * len(JOURNAL_COLUMNS))})"
)
_COUNTER_ID: Final = f"SELECT id, amount FROM counters WHERE {' AND '.join(f'{each} = ?' for each in COUNTER_COLUMNS)}"  # noqa: S608
_INSERT_COUNTER: Final = f"INSERT INTO counters VALUES (NULL, {', '.join('?' * len(COUNTER_COLUMNS))}, ?)"  # noqa: S608
_INSERT_HOLD: Final = "INSERT INTO holds (hold_id, granted, size, deadline, claims) VALUES (?, ?, ?, ?, ?)"
_UPDATE_HOLD: Final = (
    "UPDATE holds SET size = ?, claims = ?, source = ?, requests = ?, input_tokens = ?, output_tokens = ?, cost = ? "
    "WHERE hold_id = ?"
)


class Counters:
    """Counters by their id, remembered: ids never change. Reads on the connection it was given."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[int, Counter] = {}

    def of(self, counter_id: int) -> Counter:
        return self._known.get(counter_id) or self.remember(counter_id, self._read(counter_id))

    def remember(self, counter_id: int, counter: Counter) -> Counter:
        if len(self._known) >= _MOST_CACHED:
            self._known.clear()
        return self._known.setdefault(counter_id, counter)

    def forget(self) -> None:
        self._known.clear()

    def _read(self, counter_id: int) -> Counter:
        query = f"SELECT {', '.join(COUNTER_COLUMNS)} FROM counters WHERE id = ?"  # noqa: S608 - constants
        return counter_from(self._connection.execute(query, (counter_id,)).fetchone())


class SQLiteTables:
    """`tollway.ledger.book.Tables` on one connection, inside a transaction that somebody else begins and ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._counters = Counters(connection)
        self._ids: dict[Counter, tuple[int, int]] = {}
        """Id and the limit as it stands in the file, as far as this process knows."""
        self._clock = 0

    def begun(self) -> None:
        """A transaction begins: another process may have moved the clock on."""
        latest = self._connection.execute("SELECT at FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        self._clock = 0 if latest is None else latest[0]

    def undone(self) -> None:
        """A transaction was rolled back, and with it perhaps a counter that is remembered here."""
        self._ids.clear()
        self._counters.forget()

    def clock(self) -> int:
        return self._clock

    def record(self, hold_id: str) -> Record | None:
        columns = self._connection.execute(f"{HOLD_SELECT} WHERE h.hold_id = ?", (hold_id,)).fetchone()
        return None if columns is None else record_from(columns, self._counters.of)

    def overdue(self, now: int, at_most: int) -> Sequence[Record]:
        query = f"{HOLD_SELECT} WHERE h.source IS NULL AND h.deadline <= ? ORDER BY h.deadline, h.hold_id LIMIT ?"
        found = self._connection.execute(query, (now, at_most)).fetchall()
        return [record_from(columns, self._counters.of) for columns in found]

    def see(self, counter: Counter, limit: int) -> None:
        counter_id, seen = self._find(counter) or self._add(counter, limit)
        if seen != limit:
            self._connection.execute("UPDATE counters SET amount = ? WHERE id = ?", (limit, counter_id))
            self._remember(counter, (counter_id, limit))

    def limit(self, counter: Counter) -> int:
        query = "SELECT amount FROM counters WHERE id = ?"
        (amount,) = self._connection.execute(query, (self._id(counter),)).fetchone()
        return int(amount)

    def use(self, counter: Counter, first: int, last: int) -> Use:
        return Use(*self._connection.execute(USE, (self._id(counter), first, last)).fetchone())

    def buckets(self, counter: Counter, first: int, last: int) -> Sequence[BucketUse]:
        query = "SELECT bucket, used, held FROM buckets WHERE counter = ? AND bucket BETWEEN ? AND ? ORDER BY bucket"
        return [BucketUse(*each) for each in self._connection.execute(query, (self._id(counter), first, last))]

    def renew(self, hold_id: str, deadline: int) -> bool:
        query = "UPDATE holds SET deadline = ? WHERE hold_id = ? AND source IS NULL"
        return self._connection.execute(query, (deadline, hold_id)).rowcount == 1

    def write(self, row: JournalRow, record: Record | None) -> None:
        seq = self._connection.execute(_INSERT_ROW, journal_columns(row, self._id)).lastrowid
        self._clock = row.at
        for entry in row.entries:
            key = (self._id(entry.counter), entry.bucket)
            self._connection.execute(_ADD_TO_BUCKET, (*key, entry.held, entry.used))
        if record is not None:
            self._keep(record, seq if row.kind is RowKind.GRANT else None)

    def _keep(self, record: Record, granted: int | None) -> None:
        hold, claims = record.hold, claims_column(record, self._id)
        if granted is not None:
            self._connection.execute(_INSERT_HOLD, (hold.hold_id, granted, hold.size, hold.deadline, claims))
            return
        ended = (hold.source, *amount_columns(hold.amounts))
        self._connection.execute(_UPDATE_HOLD, (hold.size, claims, *ended, hold.hold_id))

    def _id(self, counter: Counter) -> int:
        known = self._ids.get(counter) or self._find(counter)
        if known is None:
            raise LookupError(f"No limit of {counter} was ever seen.")
        return known[0]

    def _find(self, counter: Counter) -> tuple[int, int] | None:
        known = self._ids.get(counter)
        if known is None:
            known = self._connection.execute(_COUNTER_ID, counter_columns(counter)).fetchone()
            if known is not None:
                self._remember(counter, known)
        return known

    def _add(self, counter: Counter, limit: int) -> tuple[int, int]:
        added = self._connection.execute(_INSERT_COUNTER, (*counter_columns(counter), limit)).lastrowid
        known = (added or 0, limit)
        self._remember(counter, known)
        return known

    def _remember(self, counter: Counter, known: tuple[int, int]) -> None:
        if len(self._ids) >= _MOST_CACHED:
            self._ids.clear()
        self._ids[self._counters.remember(known[0], counter)] = known
