"""The rows that a seeding needs, out of a journal that may be long: its limit's own, and only what it reads of them."""

import sqlite3
from collections.abc import Iterator
from typing import Final

import msgspec

from tollway.ledger.port import CallFacts, Entry, JournalRow, RowKind, Source
from tollway.ledger.seeding import Seeding
from tollway_extauthz.stores.sqlite.counters import Counters
from tollway_extauthz.stores.sqlite.journal import first_since
from tollway_extauthz.stores.sqlite.rows import EntryJSON

_PAGE: Final = 2_000
_ROWS: Final = (
    "SELECT seq, at, kind, call_id, entries, source, CASE kind WHEN 'grant' THEN facts END FROM journal "  # noqa: S608
    f"WHERE seq > ? AND kind NOT IN ('refuse', 'seed') ORDER BY seq LIMIT {_PAGE}"
)
_decode_entries: Final = msgspec.json.Decoder(list[EntryJSON]).decode
_decode_facts: Final = msgspec.json.Decoder(CallFacts).decode


def seeding_rows(connection: sqlite3.Connection, seeding: Seeding, since: int) -> Iterator[JournalRow]:
    """The rows behind `seeding.reached` and from `since` on that changed a counter of the seeding's limit."""
    counters = Counters(connection)
    line = seeding.counter.line
    of_line: dict[int, bool] = {}

    def concerns(counter_id: int) -> bool:
        known = of_line.get(counter_id)
        if known is None:
            known = of_line[counter_id] = counters.of(counter_id).line == line
        return known

    last = max(seeding.reached, first_since(connection, since) - 1)
    while page := connection.execute(_ROWS, (last,)).fetchall():
        for seq, at, kind, call_id, entries, source, facts in page:
            ours = [each for each in _decode_entries(entries) if concerns(each.counter)]
            if ours:
                yield JournalRow(
                    seq,
                    at,
                    RowKind(kind),
                    call_id,
                    tuple(_entry(each, counters) for each in ours),
                    None if facts is None else _decode_facts(facts),
                    source=None if source is None else Source(source),
                )
        last = page[-1][0]


def _entry(entry: EntryJSON, counters: Counters) -> Entry:
    return Entry(counters.of(entry.counter), entry.bucket, entry.held, entry.used, entry.limit)
