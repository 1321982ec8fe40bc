"""A ledger in memory: for tests, and to read what a store has to do. Nothing survives the process."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeAlias

from tollway.ledger import holds, units, windows
from tollway.ledger.arithmetic import BucketUse, Use, window_of
from tollway.ledger.book import Asked, Book
from tollway.ledger.holds import Record
from tollway.ledger.port import (
    ALL_CALLS,
    DEFAULT_POLICY,
    Activity,
    CallFilter,
    Counter,
    CounterState,
    Demand,
    DuplicateHold,
    Hold,
    JournalRow,
    LedgerUnavailable,
    Mismatch,
    Policy,
    RowKind,
    Source,
    Spending,
)
from tollway.ledger.seeding import Seeding
from tollway.ledger.tallies import Tally
from tollway.ledger.units import Window
from tollway_extauthz.stores import spending
from tollway_extauthz.stores.recount import Amounts, mismatches, recount
from tollway_extauthz.stores.transacting import TransactingLedger

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
        self.checkpoints: dict[str, str] = {}

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

    def tallies(self, demands: Sequence[Demand], now: int) -> Sequence[Tally] | None:
        if any(self.limits.get(each.counter) != each.limit or not self._in_force(each.counter) for each in demands):
            return None
        return [self._tally(demand.counter, now) for demand in demands]

    def _in_force(self, counter: Counter) -> bool:
        return self.shapes[counter.line] == counter.shape

    def _tally(self, counter: Counter, now: int) -> Tally:
        tally = Tally(counter, 0, counter.line)
        tally.used, tally.held = self.use(counter, *tally.turn_to(now))
        return tally

    def grant(self, asked: Asked, amounts: Sequence[int], tallies: Sequence[Tally], size: int, now: int) -> None:  # noqa: ARG002 - they follow from the rest
        if asked.hold_id in self.records:
            raise DuplicateHold.of(asked.hold_id)
        change = holds.granted(asked.hold_id, asked.facts, asked.demands, size, now, asked.deadline)
        self.write(change.row, change.record)

    def settle_unaltered(self, hold_id: str, amounts: units.Amounts, source: Source, now: int) -> bool:  # noqa: ARG002
        """The longer way is short here."""
        return False

    def shorten(self, deadline: int) -> int:
        longer = [each for each in self.records.values() if each.open and each.hold.deadline > deadline]
        for record in longer:
            self.renew(record.hold.hold_id, deadline)
        return len(longer)

    def copy(self) -> "MemoryTables":
        made = MemoryTables()
        made.limits, made.shapes, made.seeds = dict(self.limits), dict(self.shapes), dict(self.seeds)
        made.counts = {counter: dict(counts) for counter, counts in self.counts.items()}
        made.records, made.rows, made.checkpoints = dict(self.records), list(self.rows), dict(self.checkpoints)
        return made

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


class _Memory:
    """A transaction that is undone by going back to a copy. Operations that fail change nothing; batches may."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._restore(MemoryTables())
        self._before: MemoryTables | None = None

    def begin(self, *, alone: bool) -> Book:
        self._before = None if alone else self.tables.copy()
        return self._book

    def commit(self) -> None:
        """It is kept already."""

    def undo(self) -> None:
        if self._before is not None:
            self._restore(self._before)

    def in_our_words(self, error: BaseException) -> LedgerUnavailable | None:  # noqa: ARG002
        """Memory does not fail."""
        return None

    def _restore(self, tables: MemoryTables) -> None:
        self.tables = tables
        self._book = Book(tables, self._policy)


class MemoryLedger(TransactingLedger):
    """`tollway.ledger.port.Ledger` in memory. Safe from any thread."""

    def __init__(self, policy: Policy = DEFAULT_POLICY) -> None:
        self._memory = _Memory(policy)
        super().__init__(self._memory)

    @property
    def _tables(self) -> MemoryTables:
        return self._memory.tables

    @property
    def _lock(self) -> AbstractContextManager[None]:
        return self._turns.batch

    def changes(self) -> int:
        """Nobody else can."""
        return 0

    def _rows_for(self, seeding: Seeding, since: int) -> Iterable[JournalRow]:
        with self._lock:
            return list(self._tables.rows_since(seeding.reached, since))

    def _rows_behind(self, seeding: Seeding, since: int) -> int:  # noqa: ARG002 - all of it is here
        return len(self._tables.rows) - seeding.reached

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
        return (row for row in rows if row.at >= calls.since and _is_of(row, calls, of_agent))

    def verify(self) -> Sequence[Mismatch]:
        with self._lock:
            rows, counts = list(self._tables.rows), self._tables.copy().counts
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
        return self._tables.checkpoints.get(name)

    def set_checkpoint(self, name: str, value: str) -> None:
        with self._turns:
            self._tables.checkpoints[name] = value

    def sync(self) -> None:
        """Nothing to make durable."""

    def close(self) -> None:
        """Nothing to close."""


def _is_of(row: JournalRow, calls: CallFilter, of_agent: Collection[str]) -> bool:
    if calls.call_id is None and calls.agent is None:
        return True
    is_call = calls.call_id is None or row.call_id == calls.call_id
    is_agent = calls.agent is None or (row.facts.agent == calls.agent if row.facts else row.call_id in of_agent)
    return row.kind is not RowKind.SEED and is_call and is_agent


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
