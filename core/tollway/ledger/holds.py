"""The life of a hold: granted, extended, lowered, ended once, perhaps corrected. Pure: a record in, a record out.

What a record has standing in its counters follows from the record alone (`_standing`), and the entries of a journal
row are always the difference between two records. So the journal, the holds and the counters cannot tell different
stories, whatever the order of events.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, zip_longest
from typing import Final, NamedTuple

from tollway.ledger import windows
from tollway.ledger.arithmetic import window_of
from tollway.ledger.port import CallFacts, Counter, Demand, Entry, Hold, JournalRow, RowKind, Source
from tollway.ledger.units import Amounts, Unit, WindowKind

MAX_AMOUNT: Final = 9_000_000_000_000_000
"""The largest amount of one call in one unit (9 million USD): sums of many stay far within 64 bits, and within the
53 bits that every store can count exactly."""


class Lot(NamedTuple):
    """A part of a claim: what it took in one bucket. A rolling counter has one for each grant or extension."""

    bucket: int
    amount: int


class Claim(NamedTuple):
    """What a hold has of one counter. `lots` are in the order of time; `charged` is what it came to, 0 while open."""

    demand: Demand
    lots: tuple[Lot, ...]
    charged: int = 0

    @property
    def held(self) -> int:
        """The amount at the hold's present size, or at its last one when it has ended."""
        return sum(lot.amount for lot in self.lots)


class Record(NamedTuple):
    """A hold with its claims, in the order of the call's demands: all that a store keeps of it."""

    hold: Hold
    claims: tuple[Claim, ...]

    @property
    def open(self) -> bool:
        return self.hold.source is None


class Change(NamedTuple):
    """What one event writes: the record as it is from now on, and its row (`seq` is the store's to give)."""

    record: Record
    row: JournalRow


def granted(hold_id: str, facts: CallFacts, demands: Sequence[Demand], size: int, now: int, deadline: int) -> Change:
    claims = tuple(_claim(demand, size, now) for demand in demands)
    record = Record(Hold(hold_id, facts, size, deadline, granted_at=now), claims)
    return _change(None, record, RowKind.GRANT, now, facts)


def extended(record: Record, demands: Sequence[Demand], size: int, now: int) -> Change:
    """Raise an open hold to `size`; `demands` are its own, with the limits in force now."""
    claims = tuple(
        claim._replace(demand=demand, lots=added(claim, demand.at(size) - claim.held, now))
        for claim, demand in zip(record.claims, demands, strict=True)
    )
    return _change(record, Record(replace(record.hold, size=size), claims), RowKind.EXTEND, now)


def lowered(record: Record, size: int, now: int) -> Change:
    """Lower an open hold to `size`: what it took last is given back first."""
    claims = tuple(claim._replace(lots=kept(claim.lots, claim.demand.at(size))) for claim in record.claims)
    return _change(record, Record(replace(record.hold, size=size), claims), RowKind.LOWER, now)


def settled(record: Record, amounts: Amounts, source: Source, now: int) -> Change:
    """End an open hold with what it consumed, or correct an ended one, also above what was held: it is a fact."""
    claims = tuple(Claim(claim.demand, claim.lots, amounts.of(claim.demand.counter.unit)) for claim in record.claims)
    hold = record.hold
    ended = Record(Hold(hold.hold_id, hold.facts, hold.size, hold.deadline, hold.granted_at, source, amounts), claims)
    return _change(record, ended, RowKind.SETTLE if record.open else RowKind.CORRECT, now)


def expired(record: Record, now: int) -> Change:
    """End an open hold whose deadline passed: every counter is charged what was held of it."""
    claims = tuple(claim._replace(charged=_ceiling(claim)) for claim in record.claims)
    hold = replace(record.hold, source=Source.CEILING, amounts=ceiling(record.hold))
    return _change(record, Record(hold, claims), RowKind.EXPIRE, now)


def ceiling(hold: Hold) -> Amounts:
    """The most that a hold allowed its call to consume, in every unit, also in those that no limit counts."""
    most = hold.facts.ceiling(hold.size)
    return Amounts(
        *(min(MAX_AMOUNT, each) for each in (most.requests, most.input_tokens, most.output_tokens, most.cost))
    )


def also_counted(record: Record, former: Counter, claim: Claim) -> Record:
    """`record` with one claim more: what it has of `former` counts on `claim`'s counter too, from now on."""
    demand = next(each.demand for each in record.claims if each.demand.counter == former)
    demand = replace(demand, counter=claim.demand.counter, limit=claim.demand.limit)
    return record._replace(claims=(*record.claims, claim._replace(demand=demand)))


def _ceiling(claim: Claim) -> int:
    return 0 if claim.demand.counter.unit is Unit.CONCURRENT else claim.held


def _claim(demand: Demand, size: int, now: int) -> Claim:
    # `rigid` was about the admission; an extension takes what there is.
    demand = replace(demand, rigid=False) if demand.rigid else demand
    return Claim(demand, (Lot(windows.bucket(window_of(demand.counter), now), demand.at(size)),))


def added(claim: Claim, amount: int, now: int) -> tuple[Lot, ...]:
    """`claim.lots` and `amount` more: of a rolling counter in the bucket of now, else in that of the admission."""
    *earlier, last = claim.lots
    bucket = extension_bucket(claim, now)
    if amount == 0 or bucket == last.bucket:
        return (*earlier, Lot(last.bucket, last.amount + amount))
    return (*claim.lots, Lot(bucket, amount))


def extension_bucket(claim: Claim, now: int) -> int:
    """The bucket that an extension at `now` counts in."""
    counter = claim.demand.counter
    rolls = counter.window.kind is WindowKind.ROLLING
    return windows.bucket(window_of(counter), now) if rolls else claim.lots[-1].bucket


def kept(lots: tuple[Lot, ...], total: int) -> tuple[Lot, ...]:
    """`lots` cut down to `total`, the latest first; the first lot stays, so that its bucket is known."""
    cut = [Lot(lot.bucket, amount) for lot, amount in zip(lots, poured(lots, total), strict=True)]
    return (cut[0], *(lot for lot in cut[1:] if lot.amount))


def poured(lots: Sequence[Lot], total: int) -> list[int]:
    """`total` poured over `lots`, the earliest filled first; what is above them all goes into the last."""
    if len(lots) == 1:
        return [total]
    before = [0, *accumulate(lot.amount for lot in lots)]
    amounts = [max(0, min(lot.amount, total - gone)) for lot, gone in zip(lots, before, strict=False)]
    amounts[-1] += max(0, total - before[-1])
    return amounts


def _change(before: Record | None, after: Record, kind: RowKind, now: int, facts: CallFacts | None = None) -> Change:
    hold = after.hold
    return Change(
        after,
        JournalRow(
            seq=0,
            at=now,
            kind=kind,
            call_id=hold.hold_id,
            entries=tuple(_entries(before, after)),
            facts=facts,
            size=hold.size,
            amounts=hold.amounts,
            source=hold.source,
        ),
    )


def _entries(before: Record | None, after: Record) -> Iterator[Entry]:
    if before is None:
        # Every counter of a grant is named, also one that nothing was taken of: its limit was asked.
        for claim in after.claims:
            for bucket, amount in claim.lots:
                yield _entry(claim, bucket, amount, 0)
        return
    for old, new in zip(before.claims, after.claims, strict=True):
        # Lots only ever come and go at the end, so the n-th of both are in the same bucket.
        lots = max(old.lots, new.lots, key=len)
        for lot, was, stands in zip_longest(lots, _standing(before, old), _standing(after, new), fillvalue=_NOTHING):
            if was != stands:
                yield _entry(new, lot[0], stands[0] - was[0], stands[1] - was[1])


def _standing(record: Record, claim: Claim) -> list[tuple[int, int]]:
    """(held, used) of each lot."""
    if record.open:
        return [(lot.amount, 0) for lot in claim.lots]
    return [(0, used) for used in poured(claim.lots, claim.charged)]


_NOTHING: Final = (0, 0)


def _entry(claim: Claim, bucket: int, held: int, used: int) -> Entry:
    return Entry(claim.demand.counter, bucket, held, used, claim.demand.limit)


def own(claim: Claim, first: int, last: int) -> int:
    """What an open hold itself has standing in the buckets `first` to `last`."""
    return sum(lot.amount for lot in claim.lots if first <= lot.bucket <= last)
