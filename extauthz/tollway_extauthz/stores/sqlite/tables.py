"""The writing side: what the book reads and writes inside one transaction."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import astuple

from tollway.ledger.arithmetic import BucketUse, Use
from tollway.ledger.book import Asked
from tollway.ledger.holds import Record
from tollway.ledger.port import CallFacts, CallFilter, Counter, Demand, DuplicateHold, Hold, JournalRow, RowKind, Source
from tollway.ledger.tallies import INT64, Tally
from tollway.ledger.units import Amounts
from tollway_extauthz.stores.sqlite import journal
from tollway_extauthz.stores.sqlite.counters import Counters, Limits
from tollway_extauthz.stores.sqlite.facts import SharedFacts
from tollway_extauthz.stores.sqlite.pending import Pending
from tollway_extauthz.stores.sqlite.rows import (
    HOLD_SELECT,
    UNALTERED_SELECT,
    amount_columns,
    claims_column,
    decode_entries,
    facts_from,
    hold_from,
    json_text,
    record_from,
)
from tollway_extauthz.stores.sqlite.standing import Standing
from tollway_extauthz.stores.sqlite.unaltered import Unaltered, UnalteredHolds

USE: Final = (
    "SELECT coalesce(sum(used), 0), coalesce(sum(held), 0) FROM buckets WHERE counter = ? AND bucket BETWEEN ? AND ?"
)
_COUNTER: Final = "SELECT id, amount FROM counters WHERE limit_id = ? AND per = ?"
_INSERT_COUNTER: Final = "INSERT INTO counters VALUES (NULL, ?, ?, ?)"
_INSERT_HOLD: Final = "INSERT INTO holds (granted, hold_id, size, deadline) VALUES (?, ?, ?, ?)"
_RENEW: Final = "UPDATE holds SET deadline = ? WHERE hold_id = ? AND ended IS NULL"
_SHORTEN: Final = "UPDATE holds SET deadline = ?1 WHERE ended IS NULL AND deadline > ?1"
_KEEP: Final = "UPDATE holds SET size = ?, claims = ? WHERE hold_id = ?"
_ALTER: Final = "UPDATE holds SET rows = rows || ',' || ? WHERE hold_id = ?"
_END: Final = "UPDATE holds SET rows = rows || coalesce(',' || ended, ''), ended = ? WHERE hold_id = ?"
_LATEST: Final = "SELECT seq, at FROM journal ORDER BY seq DESC LIMIT 1"
_GRANT, _SETTLE = RowKind.GRANT.value, RowKind.SETTLE.value
_NOT_ENDED: Final = (None,) * 5
_NO_FACTS: Final = (None,) * 3


class SQLiteTables:
    """`tollway.ledger.book.Tables` on one connection, inside a transaction that somebody else begins and ends.

    What was granted, settled and counted in a transaction is in memory, and in the file when it is flushed.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._pending = Pending(connection)
        self._counters = Counters(connection)
        self._limits = Limits(connection)
        self._facts = SharedFacts(connection)
        self._standing = Standing(connection, self._pending.write_changes)
        self._unaltered = UnalteredHolds(connection)
        self._seq = 0
        self._clock = 0
        self._version: int | None = None

    # The transaction.

    def begun(self) -> None:
        """A transaction begins: another process may have written since the last one."""
        version = self.version()
        if version != self._version:
            self._version = version
            self._standing.doubt()
            self._unaltered.doubt()
            self._limits.forget()
            self._seq, self._clock = self._connection.execute(_LATEST).fetchone() or (0, 0)

    def flush(self) -> None:
        """Write what was gathered: before the transaction ends, or anything is read that may be among it."""
        self._pending.write()

    def undone(self) -> None:
        """A transaction was rolled back, and with it perhaps what is remembered here."""
        self._version = None
        for each in (self._pending, self._limits, self._standing, self._unaltered, self._counters, self._facts):
            each.forget()

    def version(self) -> int:
        """Another one whenever another connection has written."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def clock(self) -> int:
        return self._clock

    # The shortest way of a call.

    def tallies(self, demands: Sequence[Demand], now: int) -> Sequence[Tally] | None:
        known, generation = self._standing.by_identity, self._standing.generation
        found = []
        for demand in demands:
            tally = known.get(id(demand.counter))
            if tally is None or tally.generation != generation or not tally.since <= now < tally.until:
                tally = self._standing.at(demand.counter, now)
            if tally is None or tally.limit != demand.limit or not tally.in_force:
                return None
            found.append(tally)
        return found

    def grant(self, asked: Asked, amounts: Sequence[int], tallies: Sequence[Tally], size: int, now: int) -> None:
        seq = self._seq + 1
        entries = [
            (tally.key, tally.bucket, amount, 0, demand.limit, demand.base, demand.rate, demand.shadow)
            for demand, tally, amount in zip(asked.demands, tallies, amounts, strict=True)
        ]
        said, told = json_text(entries), self._told(asked.facts, RowKind.GRANT)
        self._insert_hold(seq, asked, size)
        row = (seq, now, _GRANT, asked.hold_id, said, size, *_NOT_ENDED, *told, "", "")
        self._pending.rows.append(row)
        add = self._pending.add
        for tally, amount in zip(tallies, amounts, strict=True):
            add(tally.key, tally.bucket, amount, 0)
            tally.add(tally.bucket, amount, 0)
        self._unaltered.keep(Unaltered(asked, size, seq, now, entries, tallies, self._unaltered.version))
        self._seq, self._clock = seq, now

    def settle_unaltered(self, hold_id: str, amounts: Amounts, source: Source, now: int) -> bool:
        hold = self._unaltered.get(hold_id) or self._find_unaltered(hold_id)
        if hold is None:
            return False
        seq, by_unit, generation, add = self._seq + 1, amounts.by_unit(), self._standing.generation, self._pending.add
        entries = []
        for tally, (key, bucket, held, _, limit, _, _, _) in zip(hold.tallies, hold.entries, strict=True):
            used = by_unit[tally.unit]
            if held or used:
                entries.append((key, bucket, -held, used, limit))
                add(key, bucket, -held, used)
                if tally.generation == generation:
                    tally.add(bucket, -held, used)
                else:
                    self._count(tally.counter, bucket, -held, used)
        four = amounts.requests, amounts.input_tokens, amounts.output_tokens, amounts.cost
        row = (seq, now, _SETTLE, hold_id, json_text(entries), hold.size, source, *four, *_NO_FACTS, "", "")
        self._pending.rows.append(row)
        self._pending.ends[hold.granted] = seq
        self._unaltered.drop(hold_id)
        self._seq, self._clock = seq, now
        return True

    # Any way.

    def record(self, hold_id: str) -> Record | None:
        hold = self._unaltered.get(hold_id)
        if hold is not None:
            return hold.record
        columns = self._hold_columns(hold_id)
        return None if columns is None else record_from(columns, self._counters.of)

    def hold(self, hold_id: str) -> Hold | None:
        """As the transaction has it."""
        hold = self._unaltered.get(hold_id) or self._find_unaltered(hold_id)
        if hold is not None:
            return hold.hold
        columns = self._hold_columns(hold_id)
        return None if columns is None else hold_from(columns)

    def unaltered(self, hold_id: str) -> Hold | None:
        """Outside of a transaction: a hold that nothing was read for. None where it would have to be."""
        hold = self._unaltered.known(hold_id)
        return hold.hold if hold is not None and self._version == self.version() else None

    def overdue(self, now: int, at_most: int) -> Sequence[Record]:
        return self._open_where("h.deadline <= ?", now, at_most)

    def older(self, granted_before: int, at_most: int) -> Sequence[Record]:
        return self._open_where("g.at < ?", granted_before, at_most)

    def open_records(self) -> Iterable[Record]:
        return self._open_where("h.deadline >= ?", -(2**63), -1)

    def see(self, counter: Counter, limit: int) -> int | None:
        limit_id, missing = self._limits.of(counter)
        self._put(limit_id, json_text(counter.per), limit)
        tally = self._standing.of(counter)
        if tally is not None:
            tally.generation = 0
        return missing

    def seeded(self, counter: Counter) -> None:
        self.flush()
        self._limits.seeded(counter)
        self._standing.doubt()

    def rows_since(self, after: int, since: int) -> Iterable[JournalRow]:
        self.flush()
        first = journal.first_since(self._connection, since)
        return journal.rows_after(self._connection, self._counters.of, max(after, first - 1))

    def rows_behind(self, after: int, since: int) -> int:
        """How many rows `rows_since` reads at most."""
        self.flush()
        return self._seq - max(after, journal.first_since(self._connection, since) - 1)

    def history(self, call_id: str) -> Iterable[JournalRow]:
        self.flush()
        return journal.rows(self._connection, self._counters.of, CallFilter(call_id=call_id))

    def limit(self, counter: Counter) -> int:
        query = "SELECT amount FROM counters WHERE id = ?"
        (amount,) = self._connection.execute(query, (self._key(counter),)).fetchone()
        return int(amount)

    def use(self, counter: Counter, first: int, last: int) -> Use:
        self._pending.write_changes()
        return Use(*self._connection.execute(USE, (self._key(counter), first, last)).fetchone())

    def buckets(self, counter: Counter, first: int, last: int) -> Sequence[BucketUse]:
        self._pending.write_changes()
        query = "SELECT bucket, used, held FROM buckets WHERE counter = ? AND bucket BETWEEN ? AND ? ORDER BY bucket"
        return [BucketUse(*each) for each in self._connection.execute(query, (self._key(counter), first, last))]

    def renew(self, hold_id: str, deadline: int) -> bool:
        self.flush()
        renewed = self._connection.execute(_RENEW, (deadline, hold_id)).rowcount == 1
        if renewed:
            self._unaltered.renew(hold_id, deadline)
        return renewed

    def shorten(self, deadline: int) -> int:
        self.flush()
        self._unaltered.doubt()
        return self._connection.execute(_SHORTEN, (deadline,)).rowcount

    def write(self, row: JournalRow, record: Record | None) -> None:
        keys = [self._key(entry.counter) for entry in row.entries]
        parts = list(zip(keys, row.entries, strict=True))
        entries = json_text([(key, each.bucket, each.held, each.used, each.limit) for key, each in parts])
        told = _NO_FACTS if row.facts is None else self._told(row.facts, row.kind)
        for text in (row.call_id, row.reason, row.message):
            text.encode()  # what cannot be written must not spoil what others wrote in the same transaction
        seq, ended = self._seq + 1, (row.source, *amount_columns(row.amounts))
        columns = (seq, row.at, row.kind.value, row.call_id, entries, row.size, *ended)
        self._pending.rows.append((*columns, *told, row.reason, row.message))
        for key, each in parts:
            self._pending.add(key, each.bucket, each.held, each.used)
            self._count(each.counter, each.bucket, each.held, each.used)
        self._seq, self._clock = seq, row.at
        if record is not None:
            self.keep(record)
            self._connection.execute(_ALTER if record.open else _END, (seq, row.call_id))

    def keep(self, record: Record) -> None:
        hold = record.hold
        self._unaltered.drop(hold.hold_id)
        self.flush()
        keys = [self._key(claim.demand.counter) for claim in record.claims]
        self._connection.execute(_KEEP, (hold.size, claims_column(record, keys), hold.hold_id))

    def _find_unaltered(self, hold_id: str) -> Unaltered | None:
        """One that another process granted, or so many others ago that it was forgotten."""
        found = self._connection.execute(UNALTERED_SELECT, (hold_id,)).fetchone()
        if found is None or found[0] in self._pending.ends:
            return None
        granted, size, deadline, granted_at, entries, *facts = found
        decoded = decode_entries(entries)
        tallies = [self._tally(each.counter) for each in decoded]
        demands = [
            Demand(tally.counter, each.limit, each.base, each.rate, shadow=each.shadow)
            for tally, each in zip(tallies, decoded, strict=True)
        ]
        asked = Asked(hold_id, facts_from(*facts), demands, deadline)
        rows = [astuple(each) for each in decoded]
        hold = Unaltered(asked, size, granted, granted_at, rows, tallies, self._unaltered.version)
        self._unaltered.keep(hold)
        return hold

    def _tally(self, key: int) -> Tally:
        counter = self._counters.of(key)
        tally = self._standing.of(counter)
        assert tally is not None  # noqa: S101 - it has a key
        return tally

    def _insert_hold(self, seq: int, asked: Asked, size: int) -> None:
        try:
            self._connection.execute(_INSERT_HOLD, (seq, asked.hold_id, size, asked.deadline))
        except sqlite3.IntegrityError as error:
            if "holds.hold_id" not in str(error):
                raise
            raise DuplicateHold.of(asked.hold_id) from None

    def _told(self, facts: CallFacts, kind: RowKind) -> tuple[int, int, str | None]:
        if not 0 <= facts.input_ceiling <= INT64:
            raise ValueError(f"No call has an input of {facts.input_ceiling} tokens.")
        checks = json_text(facts.checks) if facts.checks else None
        return self._facts.id_of(facts, kind), facts.input_ceiling, checks

    def _count(self, counter: Counter, bucket: int, held: int, used: int) -> None:
        """Where a tally is remembered that is right, it is to stay so."""
        tally = self._standing.remembered(counter)
        if tally is not None and tally.generation == self._standing.generation:
            tally.add(bucket, held, used)

    def _hold_columns(self, hold_id: str) -> Sequence[str | int | None] | None:
        self.flush()
        found: Sequence[str | int | None] | None
        found = self._connection.execute(f"{HOLD_SELECT} WHERE h.hold_id = ?", (hold_id,)).fetchone()
        return found

    def _open_where(self, condition: str, moment: int, at_most: int) -> Sequence[Record]:
        """Costs the open holds at most: they have an index of their own."""
        self.flush()
        query = f"{HOLD_SELECT} WHERE h.ended IS NULL AND {condition} ORDER BY h.deadline, h.hold_id LIMIT ?"
        found = self._connection.execute(query, (moment, at_most)).fetchall()
        return [record_from(columns, self._counters.of) for columns in found]

    def _key(self, counter: Counter) -> int:
        tally = self._standing.of(counter)
        if tally is None:
            raise LookupError(f"No limit of {counter} was ever seen.")
        return tally.key

    def _put(self, limit_id: int, per: str, amount: int) -> None:
        """The counter has this amount from now on."""
        found = self._connection.execute(_COUNTER, (limit_id, per)).fetchone()
        if found is None:
            self._connection.execute(_INSERT_COUNTER, (limit_id, per, amount))
        elif found[1] != amount:
            self._connection.execute("UPDATE counters SET amount = ? WHERE id = ?", (amount, found[0]))
