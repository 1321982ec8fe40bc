"""The file: it survives what kills a process, many may use it at once, and a wrong one stops with a clear sentence."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from ledger import worker
from ledger.builders import NOON, ask, counts, facts, grant, refuse, requests, slots, tokens
from ledger.conversation import FullDisk
from tollway.ledger.port import (
    CallFilter,
    DuplicateHold,
    Granted,
    LedgerUnavailable,
    Refused,
    RowKind,
    Settlement,
    Short,
    Source,
)
from tollway.ledger.units import LIFETIME, Amounts
from tollway_extauthz.stores.sqlite import SQLiteLedger, UnusableLedger, journal, schema
from tollway_extauthz.stores.sqlite.counters import Counters
from tollway_extauthz.stores.sqlite.schema import VERSION

AGENT = facts().agent


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteLedger]:
    with closing(SQLiteLedger(path)) as ledger:
        yield ledger


def run_in_threads(count: int, work: Callable[[int], None]) -> None:
    """All at once; what one raises, this raises."""
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def run(n: int) -> None:
        try:
            start.wait()
            work(n)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# Many at once.


def test_32_threads_against_one_limit_are_granted_exactly_what_it_allows(store: SQLiteLedger) -> None:
    outcomes: list[Granted | Short] = []

    def call(thread: int) -> None:
        limits = requests(333, LIFETIME), tokens(10**9)
        outcomes.extend(ask(store, f"{thread}-{n}", *limits, most=1) for n in range(20))

    run_in_threads(32, call)
    assert [type(each) for each in outcomes].count(Granted) == 333
    assert counts(store) == {"requests": (0, 333), "tokens": (0, 333)}
    assert store.verify() == []


def test_32_threads_never_hold_more_slots_than_there_are(store: SQLiteLedger) -> None:
    now_open, most_open = [0], [0]
    lock = threading.Lock()

    def call(thread: int) -> None:
        for n in range(15):
            if isinstance(ask(store, f"{thread}-{n}", slots(4)), Short):
                continue
            with lock:
                now_open[0] += 1
                most_open[0] = max(most_open[0], now_open[0])
            time.sleep(0.0005)
            with lock:
                now_open[0] -= 1
            store.settle(f"{thread}-{n}", Amounts(), Source.PROVIDER, NOON)

    run_in_threads(32, call)
    assert 1 <= most_open[0] <= 4
    assert counts(store) == {}
    assert store.verify() == []


def test_a_call_id_that_many_threads_use_at_once_is_granted_once(store: SQLiteLedger) -> None:
    outcomes: list[object] = []

    def call(_: int) -> None:
        try:
            outcomes.append(ask(store, "same", tokens(10**6), most=10))
        except DuplicateHold as error:
            outcomes.append(error)

    run_in_threads(16, call)
    assert [type(each) for each in outcomes].count(Granted) == 1
    assert counts(store) == {"tokens": (0, 10)}


def test_one_failing_operation_spoils_none_of_those_committed_with_it(store: SQLiteLedger) -> None:
    def call(thread: int) -> None:
        for n in range(20):
            if thread % 2:
                with pytest.raises(ValueError, match="must be between"):
                    store.settle(f"{thread - 1}-{n}", Amounts(output_tokens=-1), Source.PROVIDER, NOON)
            else:
                grant(store, f"{thread}-{n}", tokens(10**6), most=1)

    run_in_threads(16, call)
    assert counts(store) == {"tokens": (0, 160)}
    assert store.verify() == []


def test_two_ledgers_on_one_file_share_every_limit(store: SQLiteLedger, path: Path) -> None:
    with closing(SQLiteLedger(path)) as other:
        ledgers = [store, other]
        run_in_threads(
            8, lambda thread: [ask(ledgers[thread % 2], f"{thread}-{n}", slots(50)) for n in range(20)] and None
        )
        assert counts(store) == counts(other) == {"parallel": (0, 50)}
        refuse(other, "late", slots(50))
        assert other.settle(next(iter(store.journal())).call_id, Amounts(), Source.PROVIDER, NOON) is Settlement.SETTLED
        grant(store, "later", slots(50))


def test_a_hold_that_another_process_ended_is_ended_here_too(store: SQLiteLedger, path: Path) -> None:
    grant(store, "a", tokens(100), most=10)
    with closing(SQLiteLedger(path)) as other:
        assert other.settle("a", Amounts(output_tokens=4), Source.PROVIDER, NOON) is Settlement.SETTLED
    assert store.settle("a", Amounts(output_tokens=9), Source.PROVIDER, NOON) is Settlement.UNCHANGED
    assert counts(store) == {"tokens": (4, 0)}


def test_a_grant_that_could_not_be_committed_can_be_made_again(store: SQLiteLedger) -> None:
    grant(store, "before", tokens(100), most=10)
    store._transaction._connection = FullDisk(store._writer)  # type: ignore[assignment]
    with pytest.raises(LedgerUnavailable, match="disk is full"):
        ask(store, "a", tokens(100), most=10)
    store._transaction._connection = store._writer
    grant(store, "a", tokens(100), most=10)
    assert counts(store) == {"tokens": (0, 20)}


def test_a_batch_that_cannot_be_committed_never_was_and_the_next_one_is_whole(store: SQLiteLedger) -> None:
    grant(store, "before", tokens(100), most=10)

    def batch() -> None:
        with store.batch():
            grant(store, "a", tokens(100), requests(5), most=10)
            store.settle("before", Amounts(output_tokens=4), Source.PROVIDER, NOON)

    with no_room(), pytest.raises(LedgerUnavailable, match="cannot be used now"):
        batch()
    assert counts(store) == {"tokens": (0, 10)}
    assert store.hold("a") is None
    batch()
    assert counts(store) == {"tokens": (4, 10), "requests": (0, 1)}
    assert store.verify() == []


class Failing:
    """The same connection, on which each of `statements` fails once; the one that begins when it has begun."""

    def __init__(self, connection: sqlite3.Connection, *statements: str) -> None:
        self._connection = connection
        self._failing = list(statements)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, query: str) -> object:
        if query in self._failing:
            self._failing.remove(query)
            if query == "BEGIN IMMEDIATE":
                self._connection.execute(query)
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(query)


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param(["BEGIN IMMEDIATE"], id="as it begins"),
        pytest.param(["BEGIN IMMEDIATE", "ROLLBACK"], id="as it begins, and as that is undone"),
        pytest.param(["COMMIT"], id="as it is committed"),
        pytest.param(["COMMIT", "ROLLBACK"], id="as it is committed, and as that is undone"),
    ],
)
@pytest.mark.parametrize("together", [False, True], ids=["alone", "batch"])
def test_whatever_fails_of_a_transaction_nothing_of_it_stays_and_the_next_one_is_whole(
    store: SQLiteLedger, failing: list[str], together: bool
) -> None:
    store._transaction._connection = Failing(store._writer, *failing)  # type: ignore[assignment]
    with pytest.raises(LedgerUnavailable, match="disk I/O error"), store.batch() if together else nullcontext():
        grant(store, "a", tokens(100), most=10)
    grant(store, "b", tokens(100), most=7)
    assert counts(store) == {"tokens": (0, 7)}
    assert [row.call_id for row in store.journal()] == ["b"]
    assert not store._writer.in_transaction


def test_an_interrupted_batch_leaves_nothing_half_done_and_keeps_nobody_waiting(store: SQLiteLedger) -> None:
    def batch() -> None:
        with store.batch():
            grant(store, "a", tokens(100), most=10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch()
    run_in_threads(2, lambda n: grant(store, f"{n}", tokens(100), most=10) and None)
    assert counts(store) == {"tokens": (0, 20)}


@contextmanager
def no_room() -> Iterator[None]:
    """No file may grow any more, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_fails_within_a_batch_fails_all_of_it_at_once(store: SQLiteLedger) -> None:
    def batch() -> None:
        with store.batch():
            grant(store, "a", tokens(100), most=10)
            store._writer.execute("PRAGMA query_only = 1")  # as on a disk that was mounted anew
            with pytest.raises(LedgerUnavailable, match="readonly"):
                grant(store, "b", tokens(100), most=10)
            store._writer.execute("PRAGMA query_only = 0")
            with pytest.raises(LedgerUnavailable, match="together with this"):
                grant(store, "c", tokens(100), most=10)

    with pytest.raises(LedgerUnavailable, match=r"Nothing of this batch could be kept: .*readonly"):
        batch()
    assert (counts(store), list(store.journal())) == ({}, [])
    grant(store, "a", tokens(100), most=10)
    assert counts(store) == {"tokens": (0, 10)}


def test_an_empty_batch_does_not_wait_for_the_file(store: SQLiteLedger, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with store.batch():
            pass


def test_changes_tell_of_others_only(store: SQLiteLedger, path: Path) -> None:
    with closing(SQLiteLedger(path)) as other:
        seen = store.changes()
        grant(store, "a", slots(1))
        assert store.changes() == seen
        other.settle("a", Amounts(), Source.PROVIDER, NOON)
        assert store.changes() != seen
        seen = store.changes()
        grant(store, "b", slots(1))
        store.sync()
        store.tidy()
        assert store.changes() == seen


def test_a_hold_that_another_process_renewed_is_settled_here_with_its_deadline(store: SQLiteLedger, path: Path) -> None:
    grant(store, "a", slots(1))
    with closing(SQLiteLedger(path)) as other:
        other.renew("a", NOON + 10**6)
        assert store.hold("a") == other.hold("a")
        assert list(store.expire(NOON + 10**5)) == []
        grant(other, "b", tokens(100), most=10)
    assert store.settle("a", Amounts(), Source.PROVIDER, NOON) is Settlement.SETTLED
    hold = store.hold("a")
    assert hold is not None
    assert hold.deadline == NOON + 10**6


def test_a_call_that_meets_only_what_is_remembered_reads_nothing(store: SQLiteLedger) -> None:
    """Statements of one call in a batch: its hold goes in, and all the rest with that of the others."""
    limits = requests(10**6), tokens(10**9), slots(100)
    grant(store, "first", *limits, most=10)
    statements: list[str] = []
    with store.batch():
        grant(store, "second", *limits, most=10)
        store._writer.set_trace_callback(statements.append)
        for n in range(3):
            grant(store, f"{n}", *limits, most=10)
            assert store.hold(f"{n}") is not None
            store.settle(f"{n}", Amounts(), Source.PROVIDER, NOON)
        store._writer.set_trace_callback(None)
    assert [statement.split()[:3] for statement in statements] == [["INSERT", "INTO", "holds"]] * 3


def test_reading_does_not_wait_for_writing(store: SQLiteLedger, path: Path) -> None:
    grant(store, "a", tokens(100), most=10)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.hold("a") is not None
        assert counts(store) == {"tokens": (0, 10)}
        assert store.verify() == []


def test_a_file_that_stays_locked_is_an_unavailable_ledger_and_changes_nothing(store: SQLiteLedger, path: Path) -> None:
    grant(store, "a", tokens(100), most=10)
    store._writer.execute("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="locked"):
            ask(store, "b", tokens(100), most=10)
    assert counts(store) == {"tokens": (0, 10)}
    grant(store, "b", tokens(100), most=10)


def test_a_counter_first_seen_in_a_transaction_that_failed_is_seen_again(store: SQLiteLedger) -> None:
    store._writer.execute("CREATE TEMP TRIGGER fails BEFORE INSERT ON holds BEGIN SELECT raise(ABORT, 'no room'); END")
    with pytest.raises(LedgerUnavailable, match="no room"):
        ask(store, "a", tokens(100), most=10)
    store._writer.execute("DROP TRIGGER fails")
    assert (counts(store), list(store.journal())) == ({}, [])
    grant(store, "a", tokens(100), most=10)
    assert counts(store) == {"tokens": (0, 10)}


def test_a_sum_beyond_64_bits_stops_instead_of_becoming_a_float(store: SQLiteLedger) -> None:
    grant(store, "a", tokens(100), most=10)
    store._writer.execute("UPDATE buckets SET used = 9223372036854775000")
    with pytest.raises(LedgerUnavailable, match="REAL"):
        store.settle("a", Amounts(output_tokens=10**6), Source.PROVIDER, NOON)
    store._writer.execute("UPDATE buckets SET used = 0")
    assert store.verify() == []


# Surviving.


@pytest.mark.parametrize(("load", "threads"), [("single", 1), ("single", 8), ("batches", 1), ("batches", 3)])
def test_a_process_killed_under_load_leaves_every_acknowledged_grant(path: Path, load: str, threads: int) -> None:
    with closing(SQLiteLedger(path)):
        pass
    for life in range(3):
        acknowledged = kill_under_load(path, f"life{life}", load, threads)
        assert len(acknowledged) > 50
        with closing(SQLiteLedger(path)) as ledger:
            assert ledger.verify() == []
            for what, call in acknowledged:
                hold = ledger.hold(call)
                assert hold is not None
                assert what == "granted" or hold.source is Source.PROVIDER
            open_holds = [row.call_id for row in ledger.journal() if row.kind is RowKind.GRANT]
            standing = [hold for hold in map(ledger.hold, open_holds) if hold is not None and hold.source is None]
            held = {state.counter.limit: state.held for state in ledger.counters(worker.NOW)}
            assert held == {"tokens": sum(hold.size for hold in standing), "requests": len(standing)}
            batches = Counter(call.rpartition("-")[0] for call in open_holds)
            assert load == "single" or set(batches.values()) == {worker.BATCH}


def kill_under_load(path: Path, name: str, load: str, threads: int) -> list[tuple[str, str]]:
    """What a process said before it was killed in the middle of it."""
    with working(path, name, load, threads) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(200)]
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(each[0], each[1]) for each in whole if len(each) == 2]


def working(path: Path, name: str, load: str, threads: int) -> subprocess.Popen[str]:
    command = [sys.executable, worker.__file__, str(path), name, load, str(threads)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_8_processes_against_one_limit_are_granted_exactly_what_it_allows(path: Path) -> None:
    SQLiteLedger(path).close()
    racing = [working(path, f"{n}", "race", 1) for n in range(8)]
    told = [process.communicate()[0].split() for process in racing]
    assert [process.returncode for process in racing] == [0] * 8
    granted = sum(len(words) // 2 for words in told)
    with closing(SQLiteLedger(path)) as ledger:
        assert granted == worker.RACED_FOR == sum(row.kind is RowKind.GRANT for row in ledger.journal())
        assert sum(counts(ledger, worker.NOW)["race"]) == worker.RACED_FOR
        assert ledger.verify() == []


def test_a_restart_keeps_holds_counters_limits_and_checkpoints(path: Path) -> None:
    with closing(SQLiteLedger(path)) as before:
        grant(before, "a", tokens(100), most=10)
        before.set_checkpoint("log", "7")
    with closing(SQLiteLedger(path)) as after:
        assert after.checkpoint("log") == "7"
        assert counts(after) == {"tokens": (0, 10)}
        with pytest.raises(DuplicateHold):
            ask(after, "a", tokens(100), most=10)
        after.settle("a", Amounts(output_tokens=4), Source.PROVIDER, NOON - 10**9)
        assert [row.at for row in after.journal()] == [NOON, NOON]


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_a_closed_ledger_is_one_whole_file_only_its_owner_may_read(path: Path, durability: str) -> None:
    with closing(SQLiteLedger(path, durability=durability)) as ledger:  # type: ignore[arg-type]
        grant(ledger, "a", tokens(100), most=10)
        assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    assert [each.name for each in path.parent.iterdir()] == ["ledger.db"]


def test_tidying_keeps_the_log_small_without_any_caller_doing_it(store: SQLiteLedger, path: Path) -> None:
    wal = path.with_name("ledger.db-wal")
    for n in range(3_000):
        store.record_refusal(Refused(f"{n}", facts(price="p" * 900), "r", "m" * 900), NOON)
        if n % 100 == 0:
            store.tidy()
    assert wal.stat().st_size < 8 << 20
    assert sum(1 for _ in store.journal()) == 3_000


# Telling the truth.


def test_verifying_names_a_bucket_that_does_not_add_up(store: SQLiteLedger, path: Path) -> None:
    grant(store, "a", tokens(100), most=10)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE buckets SET used = used + 1")
    (mismatch,) = store.verify()
    assert (mismatch.counter, mismatch.stored, mismatch.recomputed) == (tokens(1).counter, (10, 1), (10, 0))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM buckets")
    assert [each.stored for each in store.verify()] == [(0, 0)]


@pytest.mark.parametrize(
    "filter_", [pytest.param(CallFilter(call_id="a"), id="call"), pytest.param(CallFilter(agent=AGENT), id="agent")]
)
def test_the_rows_of_a_call_or_an_agent_are_found_without_reading_the_others(
    store: SQLiteLedger, filter_: CallFilter
) -> None:
    grant(store, "a", tokens(100), most=10)
    queries: list[str] = []
    store._reader.set_trace_callback(queries.append)
    assert len(list(journal.rows(store._reader, Counters(store._reader).of, filter_))) == 1
    plans = [row[3] for query in queries for row in store._reader.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()]
    assert len(plans) >= 3
    assert not [plan for plan in plans if plan.startswith("SCAN") and not plan.startswith("SCAN json_each")]


# Files that stop.


def test_a_file_that_is_no_database_stops(path: Path) -> None:
    path.write_text("This is a letter to my grandmother. " * 100)
    with pytest.raises(UnusableLedger, match=r"no SQLite database.*Restore it from a backup"):
        SQLiteLedger(path)
    assert path.read_text().startswith("This is a letter")


def test_an_empty_file_stops_instead_of_starting_afresh(path: Path) -> None:
    path.touch()
    with pytest.raises(UnusableLedger, match="is empty"):
        SQLiteLedger(path)
    assert path.stat().st_size == 0


def test_a_database_of_something_else_stops(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE letters (text)")
    with pytest.raises(UnusableLedger, match="not a ledger of Tollway"):
        SQLiteLedger(path)


def test_a_file_of_a_newer_version_stops_and_says_which(path: Path) -> None:
    SQLiteLedger(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(UnusableLedger, match=f"schema version {VERSION + 1}; this Tollway knows version {VERSION}"):
        SQLiteLedger(path)


@pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 0.9])
def test_a_damaged_file_stops(path: Path, at: float) -> None:
    fill(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * at) // 4096 * 4096)
        file.write(os.urandom(4096))
    with pytest.raises(UnusableLedger, match=r"damaged|no SQLite database"):
        SQLiteLedger(path)


@pytest.mark.parametrize(("table", "stops"), [("buckets", True), ("counters", True), ("journal", False)])
def test_of_a_large_file_only_what_decisions_stand_on_is_looked_at_before_the_first(
    path: Path, monkeypatch: pytest.MonkeyPatch, table: str, *, stops: bool
) -> None:
    fill(path)
    monkeypatch.setattr(schema, "CHECKED_WHOLE", 0)
    SQLiteLedger(path).close()
    with closing(sqlite3.connect(path)) as other:
        (page,) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * schema.PAGE_SIZE)
        file.write(os.urandom(schema.PAGE_SIZE))
    if stops:
        with pytest.raises(UnusableLedger, match="damaged"):
            SQLiteLedger(path)
        return
    with closing(SQLiteLedger(path)) as ledger, pytest.raises(LedgerUnavailable):
        grant(ledger, "one more", slots(1))


def test_a_file_that_lost_its_end_stops(path: Path) -> None:
    fill(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UnusableLedger, match="damaged"):
        SQLiteLedger(path)


def test_a_file_that_is_gone_while_its_log_is_there_stops(path: Path) -> None:
    path.with_name("ledger.db-wal").write_bytes(b"x" * 100)
    with pytest.raises(UnusableLedger, match="is gone"):
        SQLiteLedger(path)
    assert not path.exists()


def test_a_path_that_cannot_be_opened_says_so(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UnusableLedger, match="cannot be opened"):
        SQLiteLedger(path)


def test_many_processes_may_make_the_file_at_once(path: Path) -> None:
    ledgers: list[SQLiteLedger] = []
    run_in_threads(8, lambda _: ledgers.append(SQLiteLedger(path)))
    for n, ledger in enumerate(ledgers):
        grant(ledger, f"{n}", tokens(10**6), most=10)
    assert counts(ledgers[0]) == {"tokens": (0, 80)}
    for ledger in ledgers:
        ledger.close()
    assert [each.name for each in path.parent.iterdir()] == ["ledger.db"]


def test_what_a_grant_costs_does_not_grow_with_what_ended(path: Path) -> None:
    fill(path)
    with closing(SQLiteLedger(path)) as ledger:
        steps = [cost_of_a_grant(ledger, "before")]
        for n in range(2_000):
            grant(ledger, f"more-{n}", tokens(10**9, name=f"limit-{n % 500}"), most=1)
            ledger.settle(f"more-{n}", Amounts(output_tokens=1), Source.PROVIDER, NOON)
        steps.append(cost_of_a_grant(ledger, "after"))
    assert steps[1] < 1.5 * steps[0]


def cost_of_a_grant(ledger: SQLiteLedger, hold_id: str) -> int:
    """In steps of SQLite's machine, which no other process disturbs."""
    grant(ledger, f"{hold_id}-0", tokens(10**9), most=1)
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    ledger._writer.set_progress_handler(count, 1)
    grant(ledger, hold_id, tokens(10**9), most=1)
    ledger._writer.set_progress_handler(None, 1)
    return steps[0]


def fill(path: Path) -> None:
    with closing(SQLiteLedger(path)) as ledger:
        for n in range(300):
            grant(ledger, f"{n}", tokens(10**9, name=f"limit-{n}"), most=1)
