"""The journal's rows, read in order: all of them, those of some calls, or those since a moment.

They come a page at a time: a slow reader must not keep the file from being checkpointed.
"""

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from tollway.ledger.port import ALL_CALLS, CallFilter, JournalRow
from tollway_extauthz.stores.sqlite.rows import ROW_SELECT, CounterOf, row_from

_PAGE: Final = 500
_PAGE_AFTER: Final = f"{ROW_SELECT} WHERE j.seq > ? ORDER BY j.seq LIMIT {_PAGE}"
_OF_HOLDS: Final = (
    "SELECT value AS seq FROM ({0}) h, json_each('[' || h.granted || h.rows || coalesce(',' || h.ended, '') || ']')"
)
_HOLD: Final = "SELECT granted, rows, ended FROM holds"
_OF_CALL: Final = (
    f"{_OF_HOLDS.format(f'{_HOLD} WHERE hold_id = ?1')} "  # noqa: S608 - constants
    "UNION SELECT seq FROM journal WHERE call_id = ?1 AND kind = 'refuse'"
)
_TOLD: Final = "FROM facts f CROSS JOIN journal j ON j.facts = f.id"
_GRANTED: Final = (
    f"SELECT h.granted, h.rows, h.ended {_TOLD} CROSS JOIN holds h ON h.granted = j.seq WHERE f.agent = ?1"
)
_OF_AGENT: Final = f"{_OF_HOLDS.format(_GRANTED)} UNION SELECT j.seq {_TOLD} WHERE f.agent = ?1"


def rows(connection: sqlite3.Connection, of: CounterOf, calls: CallFilter = ALL_CALLS) -> Iterator[JournalRow]:
    """The rows of `calls` in order."""
    before = first_since(connection, calls.since) - 1 if calls.since else 0
    if calls.call_id is None and calls.agent is None:
        return rows_after(connection, of, before)
    return _rows_at(connection, of, [seq for seq in _seqs(connection, calls) if seq > before])


def rows_after(connection: sqlite3.Connection, of: CounterOf, last: int) -> Iterator[JournalRow]:
    """All rows behind the row `last`."""
    while page := connection.execute(_PAGE_AFTER, (last,)).fetchall():
        yield from (row_from(columns, of) for columns in page)
        last = page[-1][0]


def first_since(connection: sqlite3.Connection, since: int) -> int:
    """The first `seq` from the moment `since` on: time never goes back in the journal, so it needs no index."""

    def at(seq: int) -> int:
        query = "SELECT at FROM journal WHERE seq >= ? ORDER BY seq LIMIT 1"
        return int(connection.execute(query, (seq,)).fetchone()[0])

    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()
    return 1 + bisect_left(range(1, last + 1), since, key=at)


def _seqs(connection: sqlite3.Connection, calls: CallFilter) -> Sequence[int]:
    """Where the rows of one call or of one agent's calls are, in order."""
    wanted = [(_OF_CALL, calls.call_id), (_OF_AGENT, calls.agent)]
    found = [{seq for (seq,) in connection.execute(query, (key,))} for query, key in wanted if key is not None]
    return sorted(set.intersection(*found))


def _rows_at(connection: sqlite3.Connection, of: CounterOf, seqs: Sequence[int]) -> Iterator[JournalRow]:
    for first in range(0, len(seqs), _PAGE):
        page = seqs[first : first + _PAGE]
        query = f"{ROW_SELECT} WHERE j.seq IN ({', '.join('?' * len(page))}) ORDER BY j.seq"
        yield from (row_from(columns, of) for columns in connection.execute(query, page).fetchall())
