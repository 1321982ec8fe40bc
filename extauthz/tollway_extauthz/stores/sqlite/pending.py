"""What a transaction writes, gathered, and written at once before it ends or anything of it is read.

Many calls change the same few buckets: each is written once. Rows of a kind go in together, by one statement.
"""

import sqlite3
from collections.abc import Iterable
from typing import Final

from tollway_extauthz.stores.sqlite.rows import ROW_COLUMNS, Value

_ADD_TO_BUCKET: Final = (
    "INSERT INTO buckets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
    "SET held = held + excluded.held, used = used + excluded.used"
)
_INSERT_ROW: Final = f"INSERT INTO journal ({', '.join(ROW_COLUMNS)}) VALUES ({', '.join('?' * len(ROW_COLUMNS))})"  # noqa: S608
_END: Final = "UPDATE holds SET ended = ? WHERE granted = ?"


class Pending:
    """`rows` in the order of ROW_COLUMNS; `ends` by `granted`, see the schema."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.rows: list[tuple[Value, ...]] = []
        self.ends: dict[int, int] = {}
        self.changes: dict[tuple[int, int], list[int]] = {}
        """By counter and bucket: what is added to (held, used)."""

    def add(self, counter: int, bucket: int, held: int, used: int) -> None:
        change = self.changes.get((counter, bucket))
        if change is None:
            self.changes[counter, bucket] = [held, used]
        else:
            change[0] += held
            change[1] += used

    def write(self) -> None:
        if self.rows:
            self._write(_INSERT_ROW, self.rows)
        if self.ends:
            self._write(_END, ((ended, granted) for granted, ended in self.ends.items()))
        self.write_changes()
        self.forget()

    def write_changes(self) -> None:
        if self.changes:
            self._write(_ADD_TO_BUCKET, ((*place, *change) for place, change in self.changes.items()))
            self.changes.clear()

    def forget(self) -> None:
        self.rows.clear()
        self.ends.clear()
        self.changes.clear()

    def _write(self, statement: str, values: Iterable[tuple[Value, ...]]) -> None:
        self._connection.executemany(statement, values)
