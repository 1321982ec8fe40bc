"""A limit that is counted another way from now on begins with what it would hold, had it always been counted so.

Where `window`, `timeZone` or `per` of a limit changes, its counters are new ones. Their values are recomputed from the
journal: `Seeding` goes over the rows of the calls that counted on the limit's former counters, and replays each call
as if it had been admitted on the new one. What can no longer change becomes one row of the journal; a call that is
open, or may still be corrected, gets a claim on its new counter besides those it has, and its end is counted on both.

A call counts on one counter of a limit from its grant on. So each is found by its grant, on a former counter, after
the row up to which the new ones were seeded before; none can come in twice, however often a limit changes to and fro.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from tollway.ledger import windows
from tollway.ledger.arithmetic import window_of
from tollway.ledger.holds import Claim, Lot, Record, added, kept, poured
from tollway.ledger.port import CallFacts, Counter, Demand, Entry, JournalRow, RowKind, Source
from tollway.ledger.units import Unit, WindowKind

ENTRIES_IN_A_ROW: Final = 1_000
"""A limit per agent may have a hundred thousand counters."""
_ENDS: Final = frozenset({RowKind.SETTLE, RowKind.EXPIRE, RowKind.CORRECT})


class Unseeded(NamedTuple):
    """A counter that misses, at `now`, calls granted after the row `after`: its limit was counted another way."""

    counter: Counter
    limit: int
    after: int
    now: int


def separated(
    namespace: str, service_account: str, agent: str | None, *, pod: str, provider: str, model: str
) -> Mapping[str, str]:
    """What calls can be counted separately by, under the names that `AIQuota.spec.per` has for it."""
    return {
        "Agent": agent or f"sa/{service_account}",
        "Pod": pod,
        "ServiceAccount": service_account,
        "Namespace": namespace,
        "Provider": provider,
        "Model": model,
    }


class _Replay(NamedTuple):
    """One call as it would stand on its new counter; `former` is the one it was admitted on."""

    former: Counter
    claim: Claim
    open: bool = True


class Seeding:
    """What the counters of one limit would hold, from the rows taken so far. Rows are taken in order, each once."""

    def __init__(self, unseeded: Unseeded) -> None:
        self._unseeded = unseeded
        self.counter, self.limit, self.after, self._now = unseeded
        self.reached = self.after
        self._window = window_of(unseeded.counter)
        self._former: dict[Counter, bool] = {}
        self._targets: dict[tuple[str, ...], Counter | None] = {}
        self._live: dict[str, _Replay] = {}
        self._final: dict[tuple[Counter, int], int] = {}
        self._strays: set[str] = set()

    @property
    def since(self) -> int | None:
        """The moment before which no row matters; None: none does, only open calls count, whenever they began."""
        if self.counter.unit is Unit.CONCURRENT:
            return None
        return windows.counted_from(self._window, self._now)

    def strays(self, open_records: Iterable[Record]) -> set[str]:
        """Calls that count, or still may, but were granted before the rows taken: their history is asked for.

        A call counts in the calendar window of its grant, and one that was over before this counter existed has no
        room to give: what others used of it then is not known here.
        """
        if self._window is not None and self._window.kind not in (WindowKind.ROLLING, WindowKind.LIFETIME):
            return set()
        still_open = {
            record.hold.hold_id
            for record in open_records
            if any(self._is_former(claim.demand.counter) for claim in record.claims)
        }
        return (self._strays | still_open) - self._live.keys()

    def copy(self) -> "Seeding":
        """One that may go on by itself: a transaction that is undone has read rows that never were."""
        made = Seeding(self._unseeded)
        made.reached, made._strays = self.reached, set(self._strays)
        made._live, made._final = dict(self._live), dict(self._final)
        return made

    def take(self, row: JournalRow) -> None:
        """The next row. One that was taken before is passed over."""
        if row.seq > self.reached:
            self.reached = row.seq
            self._apply(row)

    def recall(self, history: Iterable[JournalRow]) -> None:
        """All rows of one of the `strays`, from its grant on."""
        for row in history:
            if row.seq > self.after:
                self._apply(row)

    def claims(self) -> Iterator[tuple[str, Counter, Claim]]:
        """Of each call that may still change: its id, its former counter, and what it has of its new one."""
        for call_id, replay in self._live.items():
            yield call_id, replay.former, replay.claim

    @property
    def counters(self) -> set[Counter]:
        """All that come to hold something."""
        return {counter for counter, _ in self._final} | {each.claim.demand.counter for each in self._live.values()}

    def rows(self, now: int) -> Iterator[JournalRow]:
        """What is to be written (`seq` is the store's to give): at least one row, so that the clock never goes back."""
        entries = self._entries()
        for first in range(0, len(entries) or 1, ENTRIES_IN_A_ROW):
            part = tuple(entries[first : first + ENTRIES_IN_A_ROW])
            yield JournalRow(seq=0, at=now, kind=RowKind.SEED, call_id="", entries=part, message=self._message())

    def _apply(self, row: JournalRow) -> None:
        if row.kind is RowKind.GRANT:
            self._begin(row)
            return
        replay = self._live.get(row.call_id)
        if replay is not None:
            self._go_on(row, replay)
        elif row.kind is RowKind.EXTEND and self._rolls and any(self._is_former(each.counter) for each in row.entries):
            self._strays.add(row.call_id)

    def _begin(self, row: JournalRow) -> None:
        entry = next((each for each in row.entries if self._is_former(each.counter)), None)
        if entry is None or row.facts is None:
            return
        target = self._target(row.facts)
        if target is not None:
            lot = Lot(windows.bucket(self._window, row.at), entry.held)
            self._live[row.call_id] = _Replay(entry.counter, Claim(Demand(target, self.limit, 0), (lot,)))

    def _go_on(self, row: JournalRow, replay: _Replay) -> None:
        entries = [each for each in row.entries if each.counter == replay.former]
        if row.kind in _ENDS:
            charged = replay.claim.charged + sum(each.used for each in entries)
            self._end(row, replay._replace(claim=replay.claim._replace(charged=charged), open=False))
            return
        change = sum(each.held for each in entries)
        claim = replay.claim
        lots = added(claim, change, row.at) if row.kind is RowKind.EXTEND else kept(claim.lots, claim.held + change)
        self._live[row.call_id] = replay._replace(claim=claim._replace(lots=lots))

    def _end(self, row: JournalRow, replay: _Replay) -> None:
        if row.source is not Source.PROVIDER:
            self._live[row.call_id] = replay
            return
        # Nothing corrects the provider's own number.
        del self._live[row.call_id]
        for counter, bucket, _, used in _standing(replay):
            self._final[counter, bucket] = self._final.get((counter, bucket), 0) + used

    @property
    def _rolls(self) -> bool:
        return self._window is not None and self._window.kind is WindowKind.ROLLING

    def _is_former(self, counter: Counter) -> bool:
        known = self._former.get(counter)
        if known is None:
            ours = self.counter
            known = self._former[counter] = counter.line == ours.line and counter.shape != ours.shape
        return known

    def _target(self, facts: CallFacts) -> Counter | None:
        key = (facts.agent, facts.pod, facts.provider, facts.model)
        if key not in self._targets:
            self._targets[key] = counter_like(self.counter, facts)
        return self._targets[key]

    def _entries(self) -> list[Entry]:
        sums = {key: (0, used) for key, used in self._final.items()}
        for replay in self._live.values():
            for counter, bucket, held, used in _standing(replay):
                before = sums.get((counter, bucket), (0, 0))
                sums[counter, bucket] = (before[0] + held, before[1] + used)
        ordered = sorted(sums, key=lambda key: (key[0].order, key[1]))
        return [Entry(*key, *sums[key], self.limit) for key in ordered if any(sums[key])]

    def _message(self) -> str:
        counter = self.counter
        return (
            f"limit {counter.limit} of AIQuota {counter.namespace}/{counter.quota} is counted another way from now on"
        )


def counter_like(counter: Counter, facts: CallFacts) -> Counter | None:
    """The counter of the same limit that a call of `facts` counts on; None: it would not count on any."""
    # The ID was proven before it was written, so here it is only taken apart (`tollway.identity.spiffe_id`).
    segments = facts.agent.split("/")[3:]
    path = dict(zip(segments[::2], segments[1::2], strict=False))
    if [*path] not in (["ns", "sa"], ["ns", "sa", "agent"]):
        return None
    of_call = separated(
        path["ns"], path["sa"], path.get("agent"), pod=facts.pod, provider=facts.provider, model=facts.model
    )
    values = tuple((key, of_call[key]) for key, _ in counter.per)
    return replace(counter, per=values) if all(value for _, value in values) else None


def _standing(replay: _Replay) -> Iterator[tuple[Counter, int, int, int]]:
    """(counter, bucket, held, used)."""
    claim = replay.claim
    amounts = [lot.amount for lot in claim.lots] if replay.open else poured(claim.lots, claim.charged)
    for lot, amount in zip(claim.lots, amounts, strict=True):
        yield claim.demand.counter, lot.bucket, *((amount, 0) if replay.open else (0, amount))
