"""A ledger in memory: for tests, and to read what a store has to do. Nothing survives the process."""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

from tollway.ledger import units, windows
from tollway.ledger.arithmetic import BucketUse, Use, window_of
from tollway.ledger.book import Book
from tollway.ledger.holds import Record
from tollway.ledger.port import (
    ALL_CALLS,
    DEFAULT_POLICY,
    Activity,
    CallFilter,
    Counter,
    CounterState,
    Hold,
    JournalRow,
    Mismatch,
    Policy,
    RowKind,
    Source,
    Spending,
)
from tollway.ledger.seeding import Seeding
from tollway.ledger.units import Window
from tollway_extauthz.stores import spending
from tollway_extauthz.stores.recount import Amounts, mismatches, recount
from tollway_extauthz.stores.transacting import TransactingLedger

T = TypeVar("T")
Shape: TypeAlias = tuple[Window, tuple[str, ...]]


class MemoryTables:
    """`tollway.ledger.book.Tables` on dictionaries."""

    def __init__(self) -> None:
        self.limits: dict[Counter, int] = {}
        self.shapes: dict[tuple[str, ...], Shape] = {}
        """How each limit is counted now."""
        self.seeds: dict[tuple[tuple[str, ...], Shape], int] = {}
        """Up to which row each way to count each limit was seeded."""
        self.counts: dict[Counter, dict[int, Use]] = {}
        self.records: dict[str, Record] = {}
        self.rows: list[JournalRow] = []

    def clock(self) -> int:
        return self.rows[-1].at if self.rows else 0

    def record(self, hold_id: str) -> Record | None:
        return self.records.get(hold_id)

    def overdue(self, now: int, at_most: int) -> Sequence[Record]:
        overdue = [each for each in self.records.values() if each.open and each.hold.deadline <= now]
        return _by_deadline(overdue)[:at_most]

    def older(self, granted_before: int, at_most: int) -> Sequence[Record]:
        older = [each for each in self.records.values() if each.open and each.hold.granted_at < granted_before]
        return _by_deadline(older)[:at_most]

    def see(self, counter: Counter, limit: int) -> int | None:
        self.limits[counter] = limit
        in_force = self.shapes.setdefault(counter.line, counter.shape)
        return None if in_force == counter.shape else self.seeds.get((counter.line, counter.shape), 0)

    def seeded(self, counter: Counter) -> None:
        self.shapes[counter.line] = counter.shape
        self.seeds[counter.line, counter.shape] = len(self.rows)

    def rows_since(self, after: int, since: int) -> Iterable[JournalRow]:
        return (row for row in self.rows[after:] if row.at >= since)

    def history(self, call_id: str) -> Iterable[JournalRow]:
        return (row for row in self.rows if row.call_id == call_id)

    def open_records(self) -> Iterable[Record]:
        return (record for record in self.records.values() if record.open)

    def keep(self, record: Record) -> None:
        self.records[record.hold.hold_id] = record

    def limit(self, counter: Counter) -> int:
        return self.limits[counter]

    def use(self, counter: Counter, first: int, last: int) -> Use:
        buckets = self.buckets(counter, first, last)
        return Use(sum(each.used for each in buckets), sum(each.held for each in buckets))

    def buckets(self, counter: Counter, first: int, last: int) -> Sequence[BucketUse]:
        counts = self.counts.get(counter, {})
        return [BucketUse(bucket, *use) for bucket, use in sorted(counts.items()) if first <= bucket <= last]

    def renew(self, hold_id: str, deadline: int) -> bool:
        record = self.records.get(hold_id)
        if record is None or not record.open:
            return False
        self.records[hold_id] = record._replace(hold=replace(record.hold, deadline=deadline))
        return True

    def write(self, row: JournalRow, record: Record | None) -> None:
        self.rows.append(replace(row, seq=len(self.rows) + 1))
        for entry in row.entries:
            counts = self.counts.setdefault(entry.counter, {})
            used, held = counts.get(entry.bucket, Use(0, 0))
            counts[entry.bucket] = Use(used + entry.used, held + entry.held)
        if record is not None:
            self.records[row.call_id] = record


def _by_deadline(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda each: (each.hold.deadline, each.hold.hold_id))


class MemoryLedger(TransactingLedger):
    """`tollway.ledger.port.Ledger` in memory. Safe from any thread."""

    def __init__(self, policy: Policy = DEFAULT_POLICY) -> None:
        super().__init__()
        self._tables = MemoryTables()
        self._book = Book(self._tables, policy)
        self._checkpoints: dict[str, str] = {}
        self._lock = threading.Lock()

    def _run(self, operation: Callable[[Book], T]) -> T:
        with self._lock:
            return operation(self._book)

    def _rows_for(self, seeding: Seeding, since: int) -> Iterable[JournalRow]:
        with self._lock:
            return list(self._tables.rows_since(seeding.reached, since))

    def hold(self, hold_id: str) -> Hold | None:
        with self._lock:
            record = self._tables.record(hold_id)
        return None if record is None else record.hold

    def counters(self, now: int, only: Collection[Counter] | None = None) -> Sequence[CounterState]:
        with self._lock:
            now = max(now, self._tables.clock())
            wanted = [each for each in self._tables.counts if only is None or each in only]
            states = [self._state(counter, now) for counter in wanted]
        return sorted((each for each in states if each.used or each.held), key=lambda each: each.counter.order)

    def _state(self, counter: Counter, now: int) -> CounterState:
        window = window_of(counter)
        use = self._tables.use(counter, windows.counted_from(window, now), windows.bucket(window, now))
        return CounterState(counter, self._tables.limit(counter), *use, windows.resets_at(window, now))

    def activity(self, since: int) -> Activity:
        with self._lock:
            rows, records = list(self._tables.rows), dict(self._tables.records)
        since_then = [row for row in rows if row.at >= since]
        deadlines = [record.hold.deadline for record in records.values() if record.open]
        return Activity(
            rows[-1].at if rows else None,
            min(deadlines, default=None),
            spending.merged(_spendings(since_then, records)),
            spending.refusals(since_then),
        )

    def journal(self, calls: CallFilter = ALL_CALLS) -> Iterable[JournalRow]:
        with self._lock:
            rows = list(self._tables.rows)
        of_agent = {row.call_id for row in rows if row.facts is not None and row.facts.agent == calls.agent}
        for row in rows:
            if row.at < calls.since or (calls.call_id is not None and row.call_id != calls.call_id):
                continue
            if calls.agent is None or row.call_id in of_agent:
                yield row

    def verify(self) -> Sequence[Mismatch]:
        with self._lock:
            rows, counts = list(self._tables.rows), self._tables.counts
            stored: Amounts = {
                (counter, bucket): (use.held, use.used) for counter in counts for bucket, use in counts[counter].items()
            }
        return mismatches(stored, recount(rows))

    def learned(self, limit: int) -> Iterable[tuple[str, str, int]]:
        """(agent, model, output tokens) of the latest `limit` calls settled by the provider's own numbers, in order."""
        with self._lock:
            told = [row for row in self._tables.rows if row.source is Source.PROVIDER][-limit:] if limit else []
            facts = {row.call_id: self._tables.records[row.call_id].hold.facts for row in told}
        for row in told:
            output = 0 if row.amounts is None else row.amounts.output_tokens
            yield facts[row.call_id].agent, facts[row.call_id].model, output

    def checkpoint(self, name: str) -> str | None:
        return self._checkpoints.get(name)

    def set_checkpoint(self, name: str, value: str) -> None:
        self._checkpoints[name] = value

    def sync(self) -> None:
        """Nothing to make durable."""

    def close(self) -> None:
        """Nothing to close."""


def _spendings(rows: Iterable[JournalRow], records: Mapping[str, Record]) -> Iterator[Spending]:
    for row in rows:
        if row.kind is RowKind.REFUSE and row.facts is not None:
            yield spending.refused(row.facts)
        elif row.kind in (RowKind.SETTLE, RowKind.EXPIRE):
            hold = records[row.call_id].hold
            yield spending.ended(hold.facts, hold.amounts or units.Amounts())
    for record in records.values():
        if record.open:
            yield spending.still_open(record.hold.facts, record.hold.size)
