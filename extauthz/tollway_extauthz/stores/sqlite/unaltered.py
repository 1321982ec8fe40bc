"""Holds that are open and as they were granted: nearly all, until they end, mostly in the process that granted them.

They are kept as the values that their end needs, so that it reads and decodes nothing.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tollway.ledger.book import Asked
from tollway.ledger.holds import Claim, Lot, Record
from tollway.ledger.port import Hold
from tollway.ledger.tallies import Tally

_MOST: Final = 10_000
_AS_GRANTED: Final = "SELECT deadline FROM holds WHERE granted = ? AND ended IS NULL AND claims IS NULL"

Granted = tuple[int, int, int, int, int, int, int, bool]
"""An entry of a grant, as `rows.EntryJSON` reads it."""


class Unaltered:
    """`granted` is its row. `entries` are what it changed, `tallies` on what; both in the order of its demands."""

    __slots__ = ("asked", "deadline", "entries", "granted", "granted_at", "size", "tallies", "version")

    def __init__(
        self,
        asked: Asked,
        size: int,
        granted: int,
        granted_at: int,
        entries: Sequence[Granted],
        tallies: Sequence[Tally],
        version: int,
    ) -> None:
        self.asked = asked
        self.deadline = asked.deadline
        self.size = size
        self.granted = granted
        self.granted_at = granted_at
        self.entries = entries
        self.tallies = tallies
        self.version = version

    @property
    def hold(self) -> Hold:
        return Hold(self.asked.hold_id, self.asked.facts, self.size, self.deadline, self.granted_at)

    @property
    def record(self) -> Record:
        parts = zip(self.asked.demands, self.entries, strict=True)
        return Record(
            self.hold,
            tuple(Claim(replace(of, rigid=False), (Lot(bucket, amount),)) for of, (_, bucket, amount, *_) in parts),
        )


class UnalteredHolds:
    """By their id, the latest. `version` tells what others changed: one of an older version is looked at again."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._holds: dict[str, Unaltered] = {}
        self.version = 1
        self.most = _MOST

    def doubt(self) -> None:
        self.version += 1

    def forget(self) -> None:
        self._holds.clear()

    def keep(self, hold: Unaltered) -> None:
        if len(self._holds) >= self.most:
            del self._holds[next(iter(self._holds))]
        self._holds[hold.asked.hold_id] = hold

    def drop(self, hold_id: str) -> None:
        self._holds.pop(hold_id, None)

    def renew(self, hold_id: str, deadline: int) -> None:
        if (hold := self._holds.get(hold_id)) is not None:
            hold.deadline = deadline

    def get(self, hold_id: str) -> Unaltered | None:
        hold = self._holds.get(hold_id)
        return hold if hold is None or hold.version == self.version or self._is_still(hold) else None

    def known(self, hold_id: str) -> Unaltered | None:
        """As nobody else can have changed it meanwhile."""
        hold = self._holds.get(hold_id)
        return hold if hold is not None and hold.version == self.version else None

    def _is_still(self, hold: Unaltered) -> bool:
        found = self._connection.execute(_AS_GRANTED, (hold.granted,)).fetchone()
        if found is None:
            self.drop(hold.asked.hold_id)
            return False
        hold.version, hold.deadline = self.version, found[0]
        return True
