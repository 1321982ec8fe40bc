"""The counters of a limit that are nearest to it, found by SQLite itself: among many thousands, a few are wanted.

It reads on a connection of its own, waits for no writer, and lets other threads run meanwhile.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tollway.ledger import windows
from tollway.ledger.arithmetic import Use, window_of
from tollway.ledger.port import Counter, LedgerUnavailable
from tollway_extauthz.stores.sqlite.rows import limit_columns
from tollway_extauthz.stores.sqlite.schema import connect

_SHAPE: Final = ("namespace", "quota", "name", "unit", "window", "length_ms", "time_zone")
# CROSS JOIN fixes the order: from one limit to its counters, to their few buckets.
_TIGHTEST: Final = f"""
SELECT c.per, sum(b.used), sum(b.held), min(CASE WHEN b.used + b.held > 0 THEN b.bucket END)
FROM limits l CROSS JOIN counters c ON c.limit_id = l.id
CROSS JOIN buckets b ON b.counter = c.id AND b.bucket BETWEEN ? AND ?
WHERE {" AND ".join(f"l.{each} = ?" for each in _SHAPE)} AND l.in_force
GROUP BY c.id HAVING sum(b.used) + sum(b.held) > 0
ORDER BY sum(b.used) + sum(b.held) DESC, c.per LIMIT ?
"""  # noqa: S608 - constants
_decode_pairs: Final = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


class Found(NamedTuple):
    """What stands on one counter, and the first of its buckets with anything in it."""

    per: tuple[tuple[str, str], ...]
    use: Use
    oldest: int


class Look:
    """One look at a ledger: `now` is not taken as earlier than its latest row."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        latest = connection.execute("SELECT at FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        self._now = max(now, 0 if latest is None else latest[0])

    def tightest(self, limit: Counter, most: int) -> list[Found]:
        """The fullest counters of a limit; of `limit` only what all of its counters share is looked at."""
        span = windows.span(window_of(limit), self._now)
        rows = self._connection.execute(_TIGHTEST, (*span, *limit_columns(limit)[:-1], most)).fetchall()
        return [Found(_decode_pairs(per), Use(used, held), oldest) for per, used, held, oldest in rows]


@contextmanager
def looking(path: Path, now: int) -> Iterator[Look]:
    """Raises `LedgerUnavailable`."""
    try:
        with closing(connect(path)) as connection:
            yield Look(connection, now)
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"The ledger's file cannot be read now: {error}.") from error
