"""What is going on: the rows since a moment, found without an index and added up by SQLite, and the open holds."""

import sqlite3
from collections.abc import Iterator
from typing import Final

from tollway.ledger.port import Activity, Refusals, Spending
from tollway.ledger.units import Amounts
from tollway_extauthz.stores.spending import merged, still_open
from tollway_extauthz.stores.sqlite.journal import first_since
from tollway_extauthz.stores.sqlite.rows import AMOUNT_COLUMNS, facts_from

_WHO: Final = "f.agent, f.namespace, f.provider, f.model"
_AMOUNTS: Final = ", ".join(f"sum(e.{each})" for each in AMOUNT_COLUMNS)
# CROSS JOIN fixes the order: from the few rows to their holds, never from all holds to their rows.
_ENDED: Final = f"""
SELECT {_WHO}, count(*), {_AMOUNTS}
FROM journal s CROSS JOIN holds h ON h.hold_id = s.call_id CROSS JOIN journal e ON e.seq = h.ended
CROSS JOIN journal g ON g.seq = h.granted CROSS JOIN facts f ON f.id = g.facts
WHERE s.seq >= ? AND s.kind IN ('settle', 'expire') GROUP BY g.facts
"""  # noqa: S608 - constants
_REFUSED: Final = f"""
SELECT {_WHO}, count(*) FROM journal r CROSS JOIN facts f ON f.id = r.facts
WHERE r.seq >= ? AND r.kind = 'refuse' GROUP BY r.facts
"""  # noqa: S608 - constants
_REASONS: Final = """
SELECT f.agent, r.reason, count(*) FROM journal r CROSS JOIN facts f ON f.id = r.facts
WHERE r.seq >= ? AND r.kind = 'refuse' GROUP BY 1, 2 ORDER BY 1, 2
"""
_OPEN: Final = """
SELECT h.size, f.content, g.input_ceiling FROM holds h CROSS JOIN journal g ON g.seq = h.granted
CROSS JOIN facts f ON f.id = g.facts WHERE h.ended IS NULL
"""


def activity(connection: sqlite3.Connection, since: int) -> Activity:
    """As of one moment: that of `connection`'s first read."""
    connection.execute("BEGIN")
    latest = connection.execute("SELECT at FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
    (first_deadline,) = connection.execute("SELECT min(deadline) FROM holds WHERE ended IS NULL").fetchone()
    first = first_since(connection, since)
    refusals = (Refusals(*each) for each in connection.execute(_REASONS, (first,)))
    latest_at = None if latest is None else latest[0]
    return Activity(latest_at, first_deadline, merged(_parts(connection, first)), tuple(refusals))


def _parts(connection: sqlite3.Connection, first: int) -> Iterator[Spending]:
    for agent, namespace, provider, model, count, *amounts in connection.execute(_ENDED, (first,)):
        yield Spending(agent, namespace, provider, model, ended=count, amounts=Amounts(*amounts))
    for agent, namespace, provider, model, count in connection.execute(_REFUSED, (first,)):
        yield Spending(agent, namespace, provider, model, refused=count)
    for size, content, input_ceiling in connection.execute(_OPEN):
        yield still_open(facts_from(content, input_ceiling, None), size)
