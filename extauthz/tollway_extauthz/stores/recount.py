"""Verifying: what the journal adds up to, against what the counters say."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tollway.ledger.port import Counter, JournalRow, Mismatch

Amounts = dict[tuple[Counter, int], tuple[int, int]]
"""(held, used) of each (counter, bucket)."""


def recount(rows: Iterable[JournalRow]) -> Amounts:
    """Add up all entries of the whole journal."""
    amounts: Amounts = defaultdict(lambda: (0, 0))
    for row in rows:
        for entry in row.entries:
            held, used = amounts[entry.counter, entry.bucket]
            amounts[entry.counter, entry.bucket] = (held + entry.held, used + entry.used)
    return amounts


def mismatches(stored: Mapping[tuple[Counter, int], tuple[int, int]], recomputed: Amounts) -> Sequence[Mismatch]:
    """Every bucket where the two differ; a missing one counts as empty."""
    nothing = (0, 0)
    keys = sorted({**stored, **recomputed}, key=lambda key: (key[0].order, key[1]))
    pairs = ((key, stored.get(key, nothing), recomputed.get(key, nothing)) for key in keys)
    return [Mismatch(*key, was, adds_up_to) for key, was, adds_up_to in pairs if was != adds_up_to]
