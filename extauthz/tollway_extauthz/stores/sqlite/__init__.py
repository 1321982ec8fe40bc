"""The ledger in one SQLite file (WAL): the embedded default.

`ledger` is the store, `schema` makes and checks the file, `transaction` begins and ends one, `tables` is what the book
writes with: `standing` remembers what counts on each counter, `unaltered` the holds that are open, `facts` what calls
share, `pending` what is not written yet. `reading`, `journal` and `activity` read, `counters` knows limits and counters
by their ids, `seeding_rows` is for limits that changed, `rows` is how values look in columns.
"""

from tollway_extauthz.stores.sqlite.ledger import SQLiteLedger
from tollway_extauthz.stores.sqlite.schema import UnusableLedger

__all__ = ["SQLiteLedger", "UnusableLedger"]
