"""Limits and counters in their tables: how each limit is counted, and what id a counter has."""

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

from tollway.ledger.port import Counter
from tollway_extauthz.stores.sqlite.rows import Value, counter_from, json_text, limit_columns

MOST_CACHED: Final = 400_000
"""As many as a hundred thousand agents may have: what is not remembered is read anew with each call."""
_LIMIT: Final = ("namespace", "quota", "name", "unit", "window", "length_ms", "time_zone", "per")
_COUNTERS: Final = (
    "SELECT c.id, c.limit_id, c.amount, "
    "l.namespace, l.quota, l.name, l.unit, l.window, l.length_ms, l.time_zone, c.per "
    "FROM counters c JOIN limits l ON l.id = c.limit_id"
)
_FIND: Final = f"{_COUNTERS} WHERE {' AND '.join(f'l.{each} = ?' for each in _LIMIT)} AND c.per = ?"
_OF_LINE: Final = "WHERE namespace = ? AND quota = ? AND name = ? AND unit = ?"
_SHAPES: Final = f"SELECT id, in_force, seeded, window, length_ms, time_zone, per FROM limits {_OF_LINE}"  # noqa: S608
_FORMER: Final = f"UPDATE limits SET in_force = 0 {_OF_LINE}"  # noqa: S608 - constants
_IN_FORCE: Final = "UPDATE limits SET in_force = 1, seeded = (SELECT coalesce(max(seq), 0) FROM journal) WHERE id = ?"
_INSERT: Final = f"INSERT INTO limits ({', '.join(_LIMIT)}, in_force, seeded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"  # noqa: S608


class Known(NamedTuple):
    """A counter that was seen, and the amount last seen in force."""

    counter_id: int
    limit_id: int
    amount: int
    counter: Counter


def all_counters(connection: sqlite3.Connection) -> Iterator[Known]:
    for counter_id, limit_id, amount, *columns in connection.execute(_COUNTERS).fetchall():
        yield Known(counter_id, limit_id, amount, counter_from(columns))


def find_counter(connection: sqlite3.Connection, counter: Counter) -> Known | None:
    found = connection.execute(_FIND, (*limit_columns(counter), json_text(counter.per))).fetchone()
    return None if found is None else Known(found[0], found[1], found[2], counter)


class Counters:
    """Counters by their id, remembered: ids never change. Reads on the connection it was given."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[int, Counter] = {}

    def of(self, counter_id: int) -> Counter:
        known = self._known.get(counter_id)
        if known is None:
            if len(self._known) >= MOST_CACHED:
                self._known.clear()
            known = self._known[counter_id] = self._read(counter_id)
        return known

    def forget(self) -> None:
        self._known.clear()

    def _read(self, counter_id: int) -> Counter:
        _, _, _, *columns = self._connection.execute(f"{_COUNTERS} WHERE c.id = ?", (counter_id,)).fetchone()
        return counter_from(columns)


class Limits:
    """How each limit was counted since the beginning, and how it is now. Inside a transaction somebody else makes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._latest: dict[tuple[str, ...], tuple[object, int, int | None]] = {}
        """Of each limit the shape it was asked in last, with what `of` says of it."""

    def forget(self) -> None:
        self._latest.clear()

    def of(self, counter: Counter) -> tuple[int, int | None]:
        """The id of a counter's limit in its shape, and what `tollway.ledger.book.Tables.see` says of it."""
        known = self._latest.get(counter.line)
        if known is None or known[0] != counter.shape:
            if len(self._latest) >= MOST_CACHED:
                self.forget()
            known = self._latest[counter.line] = (counter.shape, *self._find(counter))
        return known[1], known[2]

    def seeded(self, counter: Counter) -> None:
        limit_id, _ = self.of(counter)
        self._connection.execute(_FORMER, limit_columns(counter)[:4])
        self._connection.execute(_IN_FORCE, (limit_id,))
        self.forget()

    def _find(self, counter: Counter) -> tuple[int, int | None]:
        columns = limit_columns(counter)
        shapes = self._connection.execute(_SHAPES, columns[:4]).fetchall()
        for limit_id, in_force, seeded, *shape in shapes:
            if tuple(shape) == columns[4:]:
                return limit_id, None if in_force else seeded
        # The first shape of a limit is in force at once; any other when it is seeded.
        values: tuple[Value, ...] = (*columns, int(not shapes))
        return self._connection.execute(_INSERT, values).lastrowid or 0, 0 if shapes else None
