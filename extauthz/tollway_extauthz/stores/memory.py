"""A ledger in memory: for tests, and to read what a store has to do. Nothing survives the process."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from tollway.ledger import windows
from tollway.ledger.arithmetic import BucketUse, Use, window_of
from tollway.ledger.book import Book
from tollway.ledger.holds import Record
from tollway.ledger.port import (
    ALL_CALLS,
    DEFAULT_POLICY,
    CallFilter,
    Counter,
    CounterState,
    Hold,
    JournalRow,
    Mismatch,
    Policy,
    Source,
)
from tollway_extauthz.stores.recount import Amounts, mismatches, recount
from tollway_extauthz.stores.transacting import TransactingLedger

T = TypeVar("T")


class MemoryTables:
    """`tollway.ledger.book.Tables` on dictionaries."""

    def __init__(self) -> None:
        self.limits: dict[Counter, int] = {}
        self.counts: dict[Counter, dict[int, Use]] = {}
        self.records: dict[str, Record] = {}
        self.rows: list[JournalRow] = []

    def clock(self) -> int:
        return self.rows[-1].at if self.rows else 0

    def record(self, hold_id: str) -> Record | None:
        return self.records.get(hold_id)

    def overdue(self, now: int, at_most: int) -> Sequence[Record]:
        overdue = [each for each in self.records.values() if each.open and each.hold.deadline <= now]
        return sorted(overdue, key=lambda each: (each.hold.deadline, each.hold.hold_id))[:at_most]

    def see(self, counter: Counter, limit: int) -> None:
        self.limits[counter] = limit

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
        self.records[hold_id] = replace(record, hold=replace(record.hold, deadline=deadline))
        return True

    def write(self, row: JournalRow, record: Record | None) -> None:
        self.rows.append(replace(row, seq=len(self.rows) + 1))
        for entry in row.entries:
            counts = self.counts.setdefault(entry.counter, {})
            used, held = counts.get(entry.bucket, Use(0, 0))
            counts[entry.bucket] = Use(used + entry.used, held + entry.held)
        if record is not None:
            self.records[row.call_id] = record


class MemoryLedger(TransactingLedger):
    """`tollway.ledger.port.Ledger` in memory. Safe from any thread."""

    def __init__(self, policy: Policy = DEFAULT_POLICY) -> None:
        self._tables = MemoryTables()
        self._book = Book(self._tables, policy)
        self._checkpoints: dict[str, str] = {}
        self._lock = threading.Lock()

    def _run(self, operation: Callable[[Book], T]) -> T:
        with self._lock:
            return operation(self._book)

    def hold(self, hold_id: str) -> Hold | None:
        with self._lock:
            record = self._tables.record(hold_id)
        return None if record is None else record.hold

    def counters(self, now: int) -> Sequence[CounterState]:
        with self._lock:
            now = max(now, self._tables.clock())
            states = [self._state(counter, now) for counter in self._tables.counts]
        return sorted((each for each in states if each.used or each.held), key=lambda each: each.counter.order)

    def _state(self, counter: Counter, now: int) -> CounterState:
        window = window_of(counter)
        use = self._tables.use(counter, windows.counted_from(window, now), windows.bucket(window, now))
        return CounterState(counter, self._tables.limit(counter), *use, windows.resets_at(window, now))

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
