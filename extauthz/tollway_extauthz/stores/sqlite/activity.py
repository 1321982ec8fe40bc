"""What is going on: the rows since a moment, found without an index and added up by SQLite, and the open holds."""

import sqlite3
from collections.abc import Iterator
from typing import Final

import msgspec

from tollway.ledger.port import Activity, CallFacts, Refusals, Spending
from tollway.ledger.units import Amounts
from tollway_extauthz.stores.spending import merged, still_open
from tollway_extauthz.stores.sqlite.journal import first_since
from tollway_extauthz.stores.sqlite.rows import AMOUNT_COLUMNS

_WHO: Final = "{0}.agent, {0}.facts ->> 'namespace', {0}.facts ->> 'provider', {0}.model"
# CROSS JOIN fixes the order: from the few rows to their holds, never from all holds to their rows.
_ENDED: Final = f"""
SELECT {_WHO.format("g")}, count(*), {", ".join(f"sum(h.{each})" for each in AMOUNT_COLUMNS)}
FROM journal e CROSS JOIN holds h ON h.hold_id = e.call_id CROSS JOIN journal g ON g.seq = h.granted
WHERE e.seq >= ? AND e.kind IN ('settle', 'expire') GROUP BY 1, 2, 3, 4
"""  # noqa: S608 - constants
_REFUSED: Final = f"""
SELECT {_WHO.format("r")}, count(*) FROM journal r WHERE r.seq >= ? AND r.kind = 'refuse' GROUP BY 1, 2, 3, 4
"""  # noqa: S608 - constants
_REASONS: Final = (
    "SELECT agent, reason, count(*) FROM journal WHERE seq >= ? AND kind = 'refuse' GROUP BY 1, 2 ORDER BY 1, 2"
)
_OPEN: Final = """
SELECT h.size, g.facts FROM holds h CROSS JOIN journal g ON g.seq = h.granted WHERE h.source IS NULL
"""
_decode_facts: Final = msgspec.json.Decoder(CallFacts).decode


def activity(connection: sqlite3.Connection, since: int) -> Activity:
    """As of one moment: that of `connection`'s first read."""
    connection.execute("BEGIN")
    latest = connection.execute("SELECT at FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
    (first_deadline,) = connection.execute("SELECT min(deadline) FROM holds WHERE source IS NULL").fetchone()
    first = first_since(connection, since)
    refusals = (Refusals(*each) for each in connection.execute(_REASONS, (first,)))
    latest_at = None if latest is None else latest[0]
    return Activity(latest_at, first_deadline, merged(_parts(connection, first)), tuple(refusals))


def _parts(connection: sqlite3.Connection, first: int) -> Iterator[Spending]:
    for agent, namespace, provider, model, count, *amounts in connection.execute(_ENDED, (first,)):
        yield Spending(agent, namespace, provider, model, ended=count, amounts=Amounts(*amounts))
    for agent, namespace, provider, model, count in connection.execute(_REFUSED, (first,)):
        yield Spending(agent, namespace, provider, model, refused=count)
    for size, facts in connection.execute(_OPEN):
        yield still_open(_decode_facts(facts), size)
