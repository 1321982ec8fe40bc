"""The ledger's operations over the few reads and writes that a store offers: load, decide, write.

Every store runs these same operations, one or many inside a transaction. Nothing is written before the decision is
complete, so an operation that raises has changed nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

from tollway.ledger import holds, windows
from tollway.ledger.arithmetic import BucketUse, Line, Use, granted_size, short_lines, shortage, window_of
from tollway.ledger.holds import MAX_AMOUNT, Change, Claim, Record
from tollway.ledger.port import (
    CallFacts,
    Counter,
    Demand,
    DuplicateHold,
    Granted,
    JournalRow,
    Policy,
    Refused,
    RowKind,
    Settlement,
    Short,
    Shortage,
    Sizes,
    Source,
)
from tollway.ledger.seeding import Seeding, Unseeded
from tollway.ledger.tallies import INT64, Tally, taken_whole
from tollway.ledger.units import Amounts, WindowKind

MAX_TEXT: Final = 1_024
"""Characters of any one text in a refusal's row: much of it is the caller's own, and refusals are cheap to provoke."""
MAX_CHECKS: Final = 64
_line: Final = attrgetter("line")
_FACT_TEXTS: Final = tuple(each.name for each in fields(CallFacts) if each.type is str)


class Tables(Protocol):
    """What a store reads and writes for the book, within one transaction."""

    def clock(self) -> int:
        """The time of the latest row; 0 before the first."""
        ...

    def record(self, hold_id: str) -> Record | None: ...

    def tallies(self, demands: Sequence[Demand], now: int) -> Sequence[Tally] | None:
        """What counts at `now` on the counters of `demands`, in order.

        None unless each was seen with its very limit, and its limit is counted like it now (see `see`).
        """
        ...

    def grant(self, asked: "Asked", amounts: Sequence[int], tallies: Sequence[Tally], size: int, now: int) -> None:
        """Write what `holds.granted` says of a new hold, which takes `amounts` on the counters of `tallies`.

        Raises `DuplicateHold`, and then has changed nothing, if there is a hold of this id.
        """
        ...

    def settle_unaltered(self, hold_id: str, amounts: Amounts, source: Source, now: int) -> bool:
        """Write what `holds.settled` says of this hold; False, and nothing is written, where it takes a longer way.

        A store may know that the hold is open and still as it was granted. None has to.
        """
        ...

    def overdue(self, now: int, at_most: int) -> Sequence[Record]:
        """Open records whose deadline is not after `now`, the oldest deadlines first."""
        ...

    def older(self, granted_before: int, at_most: int) -> Sequence[Record]:
        """Open records that were granted before that moment, the oldest deadlines first."""
        ...

    def see(self, counter: Counter, limit: int) -> int | None:
        """Remember the limit in force of `counter`, which may be new.

        None where this limit is counted as it was, or is new. Else `counter` misses the calls that counted on others
        of its limit, of another shape, from their grants after the row returned; until `seeded` says otherwise.
        """
        ...

    def seeded(self, counter: Counter) -> None:
        """From now on the limit of `counter` is counted in its shape, and no call up to the latest row is missing."""
        ...

    def rows_since(self, after: int, since: int) -> Iterable[JournalRow]:
        """The rows behind the row `after`, from the moment `since` on, in order."""
        ...

    def history(self, call_id: str) -> Iterable[JournalRow]:
        """All rows of a call that was granted, in order."""
        ...

    def open_records(self) -> Iterable[Record]: ...

    def keep(self, record: Record) -> None:
        """Keep `record`, which was granted before, as it is from now on. No row tells of it."""
        ...

    def limit(self, counter: Counter) -> int:
        """The limit last seen in force of a counter that was seen."""
        ...

    def use(self, counter: Counter, first: int, last: int) -> Use:
        """The sum over the buckets from `first` to `last`, both included."""
        ...

    def buckets(self, counter: Counter, first: int, last: int) -> Sequence[BucketUse]:
        """The buckets from `first` to `last` in order; empty ones may be missing."""
        ...

    def renew(self, hold_id: str, deadline: int) -> bool:
        """Move the deadline of an open record; False if there is none."""
        ...

    def shorten(self, deadline: int) -> int:
        """Bring all open records' deadlines down to this one; how many were behind it."""
        ...

    def write(self, row: JournalRow, record: Record | None) -> None:
        """Append `row`, add its entries to their buckets, and keep `record` as it is from now on."""
        ...


class Asked(NamedTuple):
    """What a call asks for."""

    hold_id: str
    facts: CallFacts
    demands: Sequence[Demand]
    deadline: int


class Book:
    """The operations of `port.Ledger` that change something; see there for what each promises.

    `now` is never taken as earlier than the latest row. Deadlines are compared with the caller's own `now`: both come
    from the same clock, and a clock that was put back must not end every hold at once.
    """

    def __init__(self, tables: Tables, policy: Policy) -> None:
        self._tables = tables
        self._policy = policy

    def reserve(
        self, hold_id: str, facts: CallFacts, demands: Sequence[Demand], sizes: Sizes, now: int, deadline: int
    ) -> Granted | Short | Unseeded:
        _require_sizes(sizes)
        _require_moment(deadline)
        now = self._not_before(now)
        tallies = self._tables.tallies(demands, now)
        if tallies is not None and _each_once(tallies):
            amounts = taken_whole(demands, tallies, sizes.most, self._policy.small)
            if amounts is not None:
                asked = Asked(hold_id, facts, demands, deadline)
                return self._grant(asked, amounts, tallies, sizes.most, now)
        return self._reserve_part(Asked(hold_id, facts, demands, deadline), sizes, now)

    def _reserve_part(self, asked: Asked, sizes: Sizes, now: int) -> Granted | Short | Unseeded:
        """The long way: a limit is new or was changed, or the worst case is much of what is left."""
        demands = asked.demands
        _require_countable(demands, sizes)
        _require_limits_once(demands)
        if self._tables.record(asked.hold_id) is not None:
            raise DuplicateHold.of(asked.hold_id)
        tallies = self._tables.tallies(demands, now)
        if tallies is None:
            for demand in demands:
                if (unseeded := self.unseeded(demand.counter, demand.limit, now)) is not None:
                    return unseeded
            tallies = self._tables.tallies(demands, now)
            assert tallies is not None  # noqa: S101 - all were seen
        lines = [Line(demand, tally.use) for demand, tally in zip(demands, tallies, strict=True)]
        size = granted_size(lines, sizes, self._policy)
        if size is None:
            return Short(tuple(self._shortage(line, sizes, now, None) for line in short_lines(lines, sizes)))
        return self._grant(asked, [demand.at(size) for demand in demands], tallies, size, now)

    def _grant(self, asked: Asked, amounts: Sequence[int], tallies: Sequence[Tally], size: int, now: int) -> Granted:
        limits = zip(asked.demands, tallies, amounts, strict=True)
        lefts = [demand.limit - tally.used - tally.held - amount for demand, tally, amount in limits]
        self._tables.grant(asked, amounts, tallies, size, now)
        return Granted(asked.hold_id, size, asked.deadline, asked.demands, amounts, lefts)

    def extend(self, hold_id: str, least: int, most: int, now: int) -> Granted | Short | None:
        record = self._open(hold_id)
        if record is None:
            return None
        now = self._not_before(now)
        sizes = _raised(record.hold.size, least, most)
        lines = [self._extension(claim, now) for claim in record.claims]
        _require_countable([line.demand for line in lines], sizes)
        size = granted_size(lines, sizes, self._policy)
        if size is None:
            claims = {claim.demand.counter: claim for claim in record.claims}
            short = short_lines(lines, sizes)
            return Short(tuple(self._shortage(line, sizes, now, claims[line.demand.counter]) for line in short))
        if size > record.hold.size:
            record = self._write(holds.extended(record, [line.demand for line in lines], size, now))
        return _extended(record, lines)

    def lower(self, hold_id: str, to: int, now: int) -> bool:
        record = self._open(hold_id)
        if record is not None and to < record.hold.size:
            self._write(holds.lowered(record, max(0, to), self._not_before(now)))
        return record is not None

    def renew(self, hold_id: str, deadline: int) -> bool:
        _require_moment(deadline)
        return self._tables.renew(hold_id, deadline)

    def shorten(self, deadline: int) -> int:
        _require_moment(deadline)
        return self._tables.shorten(deadline)

    def settle(self, hold_id: str, amounts: Amounts, source: Source, now: int) -> Settlement:
        _require_recordable(amounts)
        if self._tables.settle_unaltered(hold_id, amounts, source, self._not_before(now)):
            return Settlement.SETTLED
        record = self._tables.record(hold_id)
        if record is None:
            return Settlement.UNKNOWN
        if record.hold.source is not None and source <= record.hold.source:
            return Settlement.UNCHANGED
        self._write(holds.settled(record, amounts, source, self._not_before(now)))
        return Settlement.SETTLED if record.open else Settlement.CORRECTED

    def expire(self, now: int, granted_before: int, at_most: int) -> Sequence[str]:
        """End at most `at_most` holds: a transaction that ends thousands would keep every caller waiting."""
        _require_moment(now)
        ending = self._tables.overdue(now, at_most)
        if granted_before and not ending:
            ending = self._tables.older(granted_before, at_most)
        for record in ending:
            self._write(holds.expired(record, self._not_before(now)))
        return [record.hold.hold_id for record in ending]

    def record_refusal(self, refused: Refused, now: int) -> None:
        row = JournalRow(
            seq=0,
            at=self._not_before(now),
            kind=RowKind.REFUSE,
            call_id=refused.call_id[:MAX_TEXT],
            facts=_bounded(refused.facts),
            reason=refused.reason[:MAX_TEXT],
            message=refused.message[:MAX_TEXT],
        )
        self._tables.write(row, None)

    def unseeded(self, counter: Counter, limit: int, now: int) -> Unseeded | None:
        """See `counter` with its limit in force; what it must be seeded with before a call may count on it."""
        after = self._tables.see(counter, limit)
        return None if after is None else Unseeded(counter, limit, after, self._not_before(now))

    def seed(self, seeding: Seeding, now: int) -> None:
        """Finish `seeding` with the rows that it has not taken yet, and write what it comes to."""
        if self._tables.see(seeding.counter, seeding.limit) != seeding.after:
            return  # another process was faster
        now, seeding = self._not_before(now), seeding.copy()
        if seeding.since is not None:
            for row in self._tables.rows_since(seeding.reached, seeding.since):
                seeding.take(row)
        for call_id in seeding.strays(self._tables.open_records()):
            seeding.recall(self._tables.history(call_id))
        self._adopt(seeding, now)

    def _adopt(self, seeding: Seeding, now: int) -> None:
        for counter in seeding.counters:
            self._tables.see(counter, seeding.limit)
        for call_id, former, claim in seeding.claims():
            record = self._tables.record(call_id)
            assert record is not None  # noqa: S101 - it was granted
            self._tables.keep(holds.also_counted(record, former, claim))
        for row in seeding.rows(now):
            self._tables.write(row, None)
        self._tables.seeded(seeding.counter)

    def _not_before(self, now: int) -> int:
        _require_moment(now)
        latest = self._tables.clock()
        return max(now, latest)

    def _open(self, hold_id: str) -> Record | None:
        record = self._tables.record(hold_id)
        return record if record is not None and record.open else None

    def _write(self, change: Change) -> Record:
        self._tables.write(change.row, change.record)
        return change.record

    def _extension(self, claim: Claim, now: int) -> Line:
        """The line of a claim that asks for more, under the limit in force now, which may not be that of admission."""
        counter = claim.demand.counter
        span = _extension_span(claim, now)
        used, held = self._tables.use(counter, *span)
        own = holds.own(claim, *span)
        demand = replace(claim.demand, limit=self._tables.limit(counter))
        return Line(demand, Use(used + own, held - own), taken=claim.held, extends=True)

    def _shortage(self, line: Line, sizes: Sizes, now: int, claim: Claim | None) -> Shortage:
        window = line.window
        if window is None or window.kind is not WindowKind.ROLLING:
            return shortage(line, sizes, now, self._policy, ())
        buckets = self._tables.buckets(line.demand.counter, *_span(line.demand.counter, now))
        if claim is not None:
            buckets = [_own_as_used(claim, each) for each in buckets]
        return shortage(line, sizes, now, self._policy, buckets)


def _span(counter: Counter, now: int) -> tuple[int, int]:
    """The first and last bucket that count at `now`."""
    return windows.span(window_of(counter), now)


def _extension_span(claim: Claim, now: int) -> tuple[int, int]:
    """A rolling counter rolls on; every other counts a call in the bucket of its admission, to the end."""
    if claim.demand.counter.window.kind is WindowKind.ROLLING:
        return _span(claim.demand.counter, now)
    return claim.lots[0].bucket, claim.lots[0].bucket


def _own_as_used(claim: Claim, each: BucketUse) -> BucketUse:
    own = holds.own(claim, each.bucket, each.bucket)
    return BucketUse(each.bucket, each.used + own, each.held - own)


def _raised(size: int, least: int, most: int) -> Sizes:
    """The sizes an extension may come to: never below what the hold has."""
    useful = max(size, least)
    return Sizes(useful, max(useful, most))


def _extended(record: Record, lines: Sequence[Line]) -> Granted:
    hold, demands, amounts = record.hold, [line.demand for line in lines], [claim.held for claim in record.claims]
    lefts = [line.left + line.taken - amount for line, amount in zip(lines, amounts, strict=True)]
    return Granted(hold.hold_id, hold.size, hold.deadline, demands, amounts, lefts)


def _each_once(tallies: Sequence[Tally]) -> bool:
    return len(set(map(_line, tallies))) == len(tallies)


def _require_moment(moment: int) -> None:
    """Raise ValueError for what is no time at all, before it spoils what others wrote in the same transaction."""
    if not -INT64 <= moment <= INT64:
        raise ValueError(f"No moment is {moment} ms after the epoch.")


def _require_sizes(sizes: Sizes) -> None:
    if not 0 <= sizes.useful <= sizes.most <= MAX_AMOUNT:
        raise ValueError(f"A call needs 0 <= useful <= most <= {MAX_AMOUNT}, not {sizes}.")


def _require_countable(demands: Sequence[Demand], sizes: Sizes) -> None:
    """Raise ValueError for what no store could count exactly, before anything is read."""
    _require_sizes(sizes)
    for demand in demands:
        _require_demand(demand, sizes.most)


def _require_limits_once(demands: Sequence[Demand]) -> None:
    if len({demand.counter.line for demand in demands}) != len(demands):
        raise ValueError("A call may name a limit only once: two demands on one would each see all that is left.")


def _require_demand(demand: Demand, most: int) -> None:
    takes = demand.at(most) if demand.shadow else min(demand.at(most), demand.limit)
    if not (0 <= demand.limit <= INT64 and 0 <= demand.base <= INT64 and 0 <= demand.rate <= INT64):
        raise ValueError(f"Limit, base and rate of a demand must be between 0 and {INT64}: {demand}.")
    if takes > MAX_AMOUNT:
        raise ValueError(f"One call may take at most {MAX_AMOUNT} of a counter: {demand}.")


def _require_recordable(amounts: Amounts) -> None:
    four = (amounts.requests, amounts.input_tokens, amounts.output_tokens, amounts.cost)
    if min(four) < 0 or max(four) > MAX_AMOUNT:
        raise ValueError(f"A call's amounts must be between 0 and {MAX_AMOUNT}, not {amounts}.")


def _bounded(facts: CallFacts) -> CallFacts:
    texts = {name: getattr(facts, name)[:MAX_TEXT] for name in _FACT_TEXTS}
    checks = tuple((name[:MAX_TEXT], said[:MAX_TEXT]) for name, said in facts.checks[:MAX_CHECKS])
    return replace(facts, checks=checks, **texts)
