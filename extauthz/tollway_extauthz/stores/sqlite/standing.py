"""What stands on each counter, remembered from call to call for as long as nobody else writes."""

import sqlite3
from collections.abc import Callable
from typing import Final

from tollway.ledger.port import Counter
from tollway.ledger.tallies import Tally
from tollway_extauthz.stores.sqlite.counters import MOST_CACHED, find_counter

_LOAD: Final = """
SELECT c.amount, l.in_force, b.bucket, b.used, b.held FROM counters c JOIN limits l ON l.id = c.limit_id
LEFT JOIN buckets b ON b.counter = c.id AND b.bucket BETWEEN ?2 AND ?3 WHERE c.id = ?1
"""


class Standing:
    """Tallies by counter. One is right in its `generation`, of which every change of the file by others begins a new.

    `flush` is called before sums are read: what the transaction changed has to be in them.
    """

    def __init__(self, connection: sqlite3.Connection, flush: Callable[[], None]) -> None:
        self._connection = connection
        self._flush = flush
        self._tallies: dict[Counter, Tally] = {}
        self.by_identity: Final[dict[int, Tally]] = {}
        """By `id(tally.counter)`. The rules hand out the same counters from call to call: comparing them is dear."""
        self.generation = 1
        self.most = MOST_CACHED

    def doubt(self) -> None:
        """Trust nothing before it is read again."""
        self.generation += 1

    def forget(self) -> None:
        """Nothing that was remembered goes on: also tallies that somebody still holds are of the past."""
        self.doubt()
        self._tallies.clear()
        self.by_identity.clear()

    def at(self, counter: Counter, now: int) -> Tally | None:
        """The tally of `counter` at `now`; None if it was never seen."""
        tally = self.of(counter)
        if tally is None:
            return None
        self._identify(tally, counter)
        if tally.generation != self.generation or not tally.stands_at(now):
            self._load(tally, now)
        return tally

    def of(self, counter: Counter) -> Tally | None:
        """A tally that may be of the past, but for its key."""
        return self._tallies.get(counter) or self._find(counter)

    def remembered(self, counter: Counter) -> Tally | None:
        """The tally that whoever asks for `counter` next will get, if there is one yet."""
        return self._tallies.get(counter)

    def _find(self, counter: Counter) -> Tally | None:
        found = find_counter(self._connection, counter)
        if found is None:
            return None
        if len(self._tallies) >= self.most:
            self.forget()
        tally = self._tallies[counter] = Tally(counter, found.counter_id, found.limit_id)
        return tally

    def _identify(self, tally: Tally, counter: Counter) -> None:
        # An id means something only as long as its object lives, so the tally keeps the very counter it is found by.
        self.by_identity.pop(id(tally.counter), None)
        tally.counter = counter
        self.by_identity[id(counter)] = tally

    def _load(self, tally: Tally, now: int) -> None:
        self._flush()
        span = tally.turn_to(now)
        found = self._connection.execute(_LOAD, (tally.key, *span)).fetchall()
        tally.limit, in_force, bucket, *_ = found[0]
        tally.fill([] if bucket is None else [part for _, _, *part in found])
        tally.in_force = bool(in_force)
        tally.generation = self.generation
