"""The reading side: what people and settlement ask. It never waits for the writers, nor they for it."""

import sqlite3
from collections.abc import Collection, Sequence

from tollway.ledger import windows
from tollway.ledger.arithmetic import Use, window_of
from tollway.ledger.port import Counter, CounterState, Hold, Mismatch, Source
from tollway_extauthz.stores.recount import Amounts, mismatches, recount
from tollway_extauthz.stores.sqlite.counters import Counters, Known, all_counters, find_counter
from tollway_extauthz.stores.sqlite.journal import rows
from tollway_extauthz.stores.sqlite.rows import HOLD_SELECT, hold_from
from tollway_extauthz.stores.sqlite.tables import USE

_LEARNED = """
SELECT f.agent, f.model, e.output_tokens FROM (
    SELECT seq, call_id, output_tokens FROM journal WHERE source = ? ORDER BY seq DESC LIMIT ?
) e JOIN holds h ON h.hold_id = e.call_id JOIN journal g ON g.seq = h.granted JOIN facts f ON f.id = g.facts
ORDER BY e.seq
"""


def find_hold(connection: sqlite3.Connection, hold_id: str) -> Hold | None:
    columns = connection.execute(f"{HOLD_SELECT} WHERE h.hold_id = ?", (hold_id,)).fetchone()
    return None if columns is None else hold_from(columns)


def counter_states(
    connection: sqlite3.Connection, now: int, only: Collection[Counter] | None = None
) -> Sequence[CounterState]:
    """Every counter with anything in its current window; `now` is not taken as earlier than the latest row."""
    latest = connection.execute("SELECT at FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
    now = max(now, 0 if latest is None else latest[0])
    asked = all_counters(connection) if only is None else (find_counter(connection, each) for each in only)
    states = (_state(connection, each, now) for each in asked if each is not None)
    return sorted((each for each in states if each.used or each.held), key=lambda each: each.counter.order)


def _state(connection: sqlite3.Connection, known: Known, now: int) -> CounterState:
    window = window_of(known.counter)
    use = Use(*connection.execute(USE, (known.counter_id, *windows.span(window, now))).fetchone())
    return CounterState(known.counter, known.amount, use.used, use.held, windows.resets_at(window, now))


def find_mismatches(connection: sqlite3.Connection) -> Sequence[Mismatch]:
    """Recount the whole journal against the buckets, both as of one moment: that of `connection`'s first read."""
    connection.execute("BEGIN")
    of = Counters(connection).of
    query = "SELECT counter, bucket, held, used FROM buckets"
    stored: Amounts = {
        (of(counter_id), bucket): (held, used) for counter_id, bucket, held, used in connection.execute(query)
    }
    return mismatches(stored, recount(rows(connection, of)))


def learned(connection: sqlite3.Connection, limit: int) -> Sequence[tuple[str, str, int]]:
    return connection.execute(_LEARNED, (Source.PROVIDER, limit)).fetchall()
