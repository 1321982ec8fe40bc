"""The writing side: what the book reads and writes inside one transaction."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from tollway.ledger.arithmetic import BucketUse, Use
from tollway.ledger.holds import Claim, Record
from tollway.ledger.port import CallFilter, Counter, Entry, JournalRow, RowKind
from tollway_extauthz.stores.sqlite import journal
from tollway_extauthz.stores.sqlite.counters import MOST_CACHED, Counters, Limits, find_counter
from tollway_extauthz.stores.sqlite.rows import (
    HOLD_SELECT,
    JOURNAL_COLUMNS,
    amount_columns,
    claims_column,
    journal_columns,
    json_text,
    record_from,
)

USE: Final = (
    "SELECT coalesce(sum(used), 0), coalesce(sum(held), 0) FROM buckets WHERE counter = ? AND bucket BETWEEN ? AND ?"
)
_ADD_TO_BUCKET: Final = (
    "INSERT INTO buckets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
    "SET held = held + excluded.held, used = used + excluded.used"
)
_INSERT_ROW: Final = (
    f"INSERT INTO journal ({', '.join(JOURNAL_COLUMNS)}) "  # noqa: S608 - constants
    f"VALUES ({', '.join('?' * len(JOURNAL_COLUMNS))})"
)
_COUNTER: Final = "SELECT id, amount FROM counters WHERE limit_id = ? AND per = ?"
_INSERT_COUNTER: Final = "INSERT INTO counters VALUES (NULL, ?, ?, ?)"
_MOST_OPEN: Final = 10_000
_INSERT_HOLD: Final = (
    "INSERT INTO holds (granted, hold_id, size, deadline, claims, rows) VALUES (?1, ?2, ?3, ?4, ?5, cast(?1 AS TEXT))"
)
_UPDATE_HOLD: Final = (
    "UPDATE holds SET size = ?, claims = ?, source = ?, requests = ?, input_tokens = ?, output_tokens = ?, cost = ?, "
    "rows = rows || ? WHERE hold_id = ?"
)


class SQLiteTables:
    """`tollway.ledger.book.Tables` on one connection, inside a transaction that somebody else begins and ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._counters = Counters(connection)
        self._limits = Limits(connection)
        self._seen: dict[Counter, _Seen] = {}
        self._epoch = 0
        """Moves on whenever a counter's limit may be another, or counted another way, than was seen before."""
        self._open: dict[str, tuple[Record, Sequence[int]]] = {}
        """Holds as they stand in the file, and their counters' ids: the process that granted one mostly ends it."""
        self._clock = 0
        self._version: int | None = None

    def begun(self) -> None:
        """A transaction begins: another process may have moved the clock on, and changed how a limit is counted."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            self._epoch += 1
            self._limits.forget()
            self._open.clear()
            latest = self._connection.execute("SELECT at FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
            self._clock = 0 if latest is None else latest[0]

    def undone(self) -> None:
        """A transaction was rolled back, and with it perhaps a counter that is remembered here."""
        self._version = None
        self._limits.forget()
        self._open.clear()
        self._seen.clear()
        self._counters.forget()

    def clock(self) -> int:
        return self._clock

    def record(self, hold_id: str) -> Record | None:
        if hold_id in self._open:
            return self._open[hold_id][0]
        columns = self._connection.execute(f"{HOLD_SELECT} WHERE h.hold_id = ?", (hold_id,)).fetchone()
        return None if columns is None else record_from(columns, self._counters.of)

    def overdue(self, now: int, at_most: int) -> Sequence[Record]:
        return self._open_where("h.deadline <= ?", now, at_most)

    def older(self, granted_before: int, at_most: int) -> Sequence[Record]:
        return self._open_where("j.at < ?", granted_before, at_most)

    def _open_where(self, condition: str, moment: int, at_most: int) -> Sequence[Record]:
        """Costs the open holds at most: they have an index of their own."""
        query = f"{HOLD_SELECT} WHERE h.source IS NULL AND {condition} ORDER BY h.deadline, h.hold_id LIMIT ?"
        found = self._connection.execute(query, (moment, at_most)).fetchall()
        return [record_from(columns, self._counters.of) for columns in found]

    def see(self, counter: Counter, limit: int) -> int | None:
        known = self._seen.get(counter)
        if known is not None and known.amount == limit and known.epoch == self._epoch:
            return None
        limit_id, missing = self._limits.of(counter)
        counter_id = self._put(limit_id, json_text(counter.per), limit)
        self._remember(counter, _Seen(counter_id, limit, self._epoch if missing is None else -1))
        return missing

    def seeded(self, counter: Counter) -> None:
        self._limits.seeded(counter)
        self._epoch += 1

    def rows_since(self, after: int, since: int) -> Iterable[JournalRow]:
        first = journal.first_since(self._connection, since)
        return journal.rows_after(self._connection, self._counters.of, max(after, first - 1))

    def history(self, call_id: str) -> Iterable[JournalRow]:
        return journal.rows(self._connection, self._counters.of, CallFilter(call_id=call_id))

    def open_records(self) -> Iterable[Record]:
        found = self._connection.execute(f"{HOLD_SELECT} WHERE h.source IS NULL").fetchall()
        return [record_from(columns, self._counters.of) for columns in found]

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
        self._open.pop(hold_id, None)
        query = "UPDATE holds SET deadline = ? WHERE hold_id = ? AND source IS NULL"
        return self._connection.execute(query, (deadline, hold_id)).rowcount == 1

    def write(self, row: JournalRow, record: Record | None) -> None:
        claimed = () if record is None else self._claimed(record)
        ids = self._ids_of(row.entries, () if record is None else record.claims, claimed)
        seq = self._connection.execute(_INSERT_ROW, journal_columns(row, ids)).lastrowid or 0
        self._clock = row.at
        changes = [
            (counter_id, each.bucket, each.held, each.used) for counter_id, each in zip(ids, row.entries, strict=True)
        ]
        self._connection.executemany(_ADD_TO_BUCKET, changes)
        if record is not None and row.kind is RowKind.GRANT:
            self._begin(record, claimed, seq)
        elif record is not None:
            self._update(record, claimed, f",{seq}")

    def keep(self, record: Record) -> None:
        self._open.pop(record.hold.hold_id, None)
        self._update(record, self._claimed(record), "")

    def _claimed(self, record: Record) -> Sequence[int]:
        """The ids of the counters of `record`'s claims."""
        if record.hold.hold_id in self._open:
            return self._open[record.hold.hold_id][1]
        return [self._id(claim.demand.counter) for claim in record.claims]

    def _ids_of(self, entries: Sequence[Entry], claims: Sequence[Claim], claimed: Sequence[int]) -> Sequence[int]:
        # A row's entries name the very counters of its claims, so they are known without comparing.
        known = {id(claim.demand.counter): counter_id for claim, counter_id in zip(claims, claimed, strict=True)}
        return [known.get(id(entry.counter)) or self._id(entry.counter) for entry in entries]

    def _begin(self, record: Record, claimed: Sequence[int], seq: int) -> None:
        hold = record.hold
        columns = (seq, hold.hold_id, hold.size, hold.deadline, claims_column(record, claimed))
        self._connection.execute(_INSERT_HOLD, columns)
        if len(self._open) >= _MOST_OPEN:
            self._open.clear()
        self._open[hold.hold_id] = (record, claimed)

    def _update(self, record: Record, claimed: Sequence[int], rows: str) -> None:
        hold = record.hold
        self._open.pop(hold.hold_id, None)
        ended = (hold.source, *amount_columns(hold.amounts))
        columns = (hold.size, claims_column(record, claimed), *ended, rows, hold.hold_id)
        self._connection.execute(_UPDATE_HOLD, columns)

    def _id(self, counter: Counter) -> int:
        known = self._seen.get(counter)
        if known is not None:
            return known.counter_id
        found = find_counter(self._connection, counter)
        if found is None:
            raise LookupError(f"No limit of {counter} was ever seen.")
        self._remember(counter, _Seen(found[0], found[1], -1))
        return found[0]

    def _put(self, limit_id: int, per: str, amount: int) -> int:
        """The id of a counter that has this amount from now on."""
        found = self._connection.execute(_COUNTER, (limit_id, per)).fetchone()
        if found is None:
            return self._connection.execute(_INSERT_COUNTER, (limit_id, per, amount)).lastrowid or 0
        counter_id, before = found
        if before != amount:
            self._connection.execute("UPDATE counters SET amount = ? WHERE id = ?", (amount, counter_id))
        return int(counter_id)

    def _remember(self, counter: Counter, seen: "_Seen") -> None:
        if len(self._seen) >= MOST_CACHED:
            self._seen.clear()
        self._seen[counter] = seen


class _Seen(NamedTuple):
    """A counter's id, and the amount that stands in the file; in an `epoch` when its limit was counted like it."""

    counter_id: int
    amount: int
    epoch: int
