"""The reading side: what people and settlement ask. It never waits for the writers, nor they for it."""

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from tollway.ledger import windows
from tollway.ledger.arithmetic import Use, window_of
from tollway.ledger.port import ALL_CALLS, CallFilter, Counter, CounterState, Hold, JournalRow, Mismatch, Source
from tollway_extauthz.stores.recount import Amounts, mismatches, recount
from tollway_extauthz.stores.sqlite.rows import (
    COUNTER_COLUMNS,
    HOLD_SELECT,
    JOURNAL_COLUMNS,
    counter_from,
    hold_from,
    row_from,
)
from tollway_extauthz.stores.sqlite.tables import USE, Counters

_PAGE = 500
_ROWS = f"SELECT seq, {', '.join(JOURNAL_COLUMNS)} FROM journal"  # noqa: S608 - constants
_LEARNED = """
SELECT g.agent, g.model, e.output_tokens FROM (
    SELECT seq, call_id, output_tokens FROM journal WHERE source = ? ORDER BY seq DESC LIMIT ?
) e JOIN holds h ON h.hold_id = e.call_id JOIN journal g ON g.seq = h.granted ORDER BY e.seq
"""


def find_hold(connection: sqlite3.Connection, hold_id: str) -> Hold | None:
    columns = connection.execute(f"{HOLD_SELECT} WHERE h.hold_id = ?", (hold_id,)).fetchone()
    return None if columns is None else hold_from(columns)


def counter_states(connection: sqlite3.Connection, now: int) -> Sequence[CounterState]:
    """Every counter with anything in its current window; `now` is not taken as earlier than the latest row."""
    latest = connection.execute("SELECT at FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
    now = max(now, 0 if latest is None else latest[0])
    found = connection.execute(f"SELECT id, amount, {', '.join(COUNTER_COLUMNS)} FROM counters").fetchall()  # noqa: S608
    states = (_state(connection, each[0], each[1], counter_from(each[2:]), now) for each in found)
    return sorted((each for each in states if each.used or each.held), key=lambda each: each.counter.order)


def _state(connection: sqlite3.Connection, counter_id: int, limit: int, counter: Counter, now: int) -> CounterState:
    window = window_of(counter)
    span = (windows.counted_from(window, now), windows.bucket(window, now))
    use = Use(*connection.execute(USE, (counter_id, *span)).fetchone())
    return CounterState(counter, limit, use.used, use.held, windows.resets_at(window, now))


def rows(connection: sqlite3.Connection, calls: CallFilter = ALL_CALLS) -> Iterator[JournalRow]:
    """The rows of `calls` in order, a page at a time: a slow reader must not keep the file from being checkpointed."""
    counters = Counters(connection)
    condition, values = _condition(connection, calls)
    query = f"{_ROWS} WHERE seq > ?{condition} ORDER BY seq LIMIT {_PAGE}"
    last = 0
    while page := connection.execute(query, (last, *values)).fetchall():
        yield from (row_from(columns, counters.of) for columns in page)
        last = page[-1][0]


def _condition(connection: sqlite3.Connection, calls: CallFilter) -> tuple[str, Sequence[str | int]]:
    wanted: list[tuple[str, str | int]] = []
    if calls.since:
        wanted.append((" AND seq >= ?", _first_since(connection, calls.since)))
    if calls.call_id is not None:
        wanted.append((" AND call_id = ?", calls.call_id))
    if calls.agent is not None:
        wanted.append((" AND call_id IN (SELECT call_id FROM journal WHERE agent = ?)", calls.agent))
    return "".join(condition for condition, _ in wanted), [value for _, value in wanted]


def _first_since(connection: sqlite3.Connection, since: int) -> int:
    """The first `seq` from the moment `since` on: time never goes back in the journal, so it needs no index."""

    def at(seq: int) -> int:
        query = "SELECT at FROM journal WHERE seq >= ? ORDER BY seq LIMIT 1"
        return int(connection.execute(query, (seq,)).fetchone()[0])

    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()
    return 1 + bisect_left(range(1, last + 1), since, key=at)


def find_mismatches(connection: sqlite3.Connection) -> Sequence[Mismatch]:
    """Recount the whole journal against the buckets, both as of one moment: that of `connection`'s first read."""
    connection.execute("BEGIN")
    of = Counters(connection).of
    query = "SELECT counter, bucket, held, used FROM buckets"
    stored: Amounts = {
        (of(counter_id), bucket): (held, used) for counter_id, bucket, held, used in connection.execute(query)
    }
    return mismatches(stored, recount(rows(connection)))


def learned(connection: sqlite3.Connection, limit: int) -> Sequence[tuple[str, str, int]]:
    return connection.execute(_LEARNED, (Source.PROVIDER, limit)).fetchall()
