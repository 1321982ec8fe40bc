"""The ledger in one SQLite file (WAL): the embedded default.

`ledger` is the store, `schema` makes and checks the file, `tables` writes, `reading`, `journal` and `activity` read,
`counters` knows limits and counters by their ids, `seeding_rows` is for limits that changed, `commits` puts what many
threads want into few transactions, `rows` is how values look in columns.
"""

from tollway_extauthz.stores.sqlite.ledger import SQLiteLedger
from tollway_extauthz.stores.sqlite.schema import UnusableLedger

__all__ = ["SQLiteLedger", "UnusableLedger"]
