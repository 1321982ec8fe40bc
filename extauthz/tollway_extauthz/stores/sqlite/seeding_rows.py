"""The rows that a seeding needs, out of a journal that may be long: its limit's own, and only what it reads of them."""

import sqlite3
from collections.abc import Iterator
from typing import Final

from tollway.ledger.port import JournalRow, RowKind, Source
from tollway.ledger.seeding import Seeding
from tollway_extauthz.stores.sqlite.counters import Counters
from tollway_extauthz.stores.sqlite.journal import first_since
from tollway_extauthz.stores.sqlite.rows import decode_entries, entry_from, facts_from

_PAGE: Final = 2_000
_ROWS: Final = (
    "SELECT j.seq, j.at, j.kind, j.call_id, j.entries, j.source, f.content, j.input_ceiling "  # noqa: S608
    "FROM journal j LEFT JOIN facts f ON f.id = j.facts "
    f"WHERE j.seq > ? AND j.kind NOT IN ('refuse', 'seed') ORDER BY j.seq LIMIT {_PAGE}"
)


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
        for seq, at, kind, call_id, entries, source, content, ceiling in page:
            ours = [each for each in decode_entries(entries) if concerns(each.counter)]
            if ours:
                yield JournalRow(
                    seq,
                    at,
                    RowKind(kind),
                    call_id,
                    tuple(entry_from(each, counters.of) for each in ours),
                    None if content is None else facts_from(content, ceiling, None),
                    source=None if source is None else Source(source),
                )
        last = page[-1][0]
