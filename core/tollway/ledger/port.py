"""The port of the ledger: what every store does, in the words of the domain.

A call *reserves* on all its counters at once and gets a hold of one *size* (its output cap in tokens), or is *short*.
The hold is extended, lowered and renewed while the call runs, and ends once: settled with real amounts, released
(settled with nothing) or expired (charged at its ceiling). A better source may correct an ended hold later.

All operations are atomic over all counters of the call. `now` and deadlines are integer milliseconds since the
Unix epoch; a store never lets `now` go back. The arithmetic is in `arithmetic`, pure; stores only read and write.
"""

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, Protocol

from tollway.ledger.units import Amounts, Unit, Window
from tollway.values import value


@dataclass(frozen=True, slots=True)
class Counter:
    """Where a limit is counted. Two limits with equal fields share one counter; the amount is not part of it.

    `per` holds the values that `AIQuota.spec.per` separates by, as sorted ("Agent", "researcher") pairs.
    """

    namespace: str
    quota: str
    limit: str
    unit: Unit
    window: Window
    per: tuple[tuple[str, str], ...] = ()

    def __hash__(self) -> int:
        # Every grant looks its counters up several times; what else may differ seldom does.
        return hash((self.namespace, self.quota, self.limit, self.per))

    @property
    def line(self) -> tuple[str, str, str, str]:
        """Which limit is counted: the same before and after its window, time zone or separation changed."""
        return self.namespace, self.quota, self.limit, self.unit._value_

    @property
    def shape(self) -> tuple[Window, tuple[str, ...]]:
        """How the limit is counted: over which window, and separately by what."""
        return self.window, tuple([key for key, _ in self.per])

    @property
    def order(self) -> tuple[object, ...]:
        """Counters are listed in the order of this."""
        window = self.window
        return (
            self.namespace,
            self.quota,
            self.limit,
            self.per,
            self.unit,
            window.kind,
            window.length_ms,
            window.time_zone,
        )


@value(frozen=True, slots=True)
class Demand:
    """What one call asks of one counter: `ceil((base + rate * size) / 1000)` at an output cap of `size` tokens.

    `base` and `rate` are in thousandths of the counter's unit (for cost: pico-USD), so that an amount is rounded
    once, upwards. `limit` is the amount in force at this moment.
    `rigid`: the quota says `onShortfall: Refuse`, so the full size must fit. `shadow`: counted, never refuses.
    """

    counter: Counter
    limit: int
    base: int
    rate: int = 0
    rigid: bool = False
    shadow: bool = False

    def at(self, size: int) -> int:
        """The amount this call takes of the counter at `size`, rounded up."""
        return -(-(self.base + self.rate * size) // 1000)


@value(frozen=True, slots=True)
class Sizes:
    """The sizes (output caps in tokens) a call may be granted.

    `most` is the worst case; `useful` the smallest answer worth having, `useful <= most`.
    For a call without output (embeddings) all are 0.
    """

    useful: int
    most: int


@value(frozen=True, slots=True)
class CallFacts:
    """What is known of a call when it is admitted, kept in the journal for settlement and explanation.

    `price` is the price row it was admitted with (`tollway.pricing`, as JSON); `ceiling` what it may consume at most
    at the size it asked for; `checks` each check's name and what it said, in order.
    """

    agent: str
    """The SPIFFE ID."""
    namespace: str
    provider: str
    model: str
    operation: str
    stream: bool = False
    pod: str = ""
    price: str = ""
    input_ceiling: int = 0
    """Upper bound of input tokens."""
    answers: int = 1
    """The request's `n`: output is at most `size * answers`."""
    input_rate: int = 0
    output_rate: int = 0
    """Pico-USD per token at the dearest class this call can lead to."""
    family: str = ""
    """The provider's type, so that its usage can be read even when the provider is gone."""
    visible_output: bool = False
    """All output that is billed is also sent: no hidden reasoning, no audio."""
    checks: tuple[tuple[str, str], ...] = ()
    # Seams: filled by later features, columns of the journal from the first day.
    task: str = ""
    on_behalf_of: str = ""
    parent_call: str = ""
    policy_digest: str = ""

    def ceiling(self, size: int) -> Amounts:
        """All that the call may consume at `size`; what it is charged when nothing better is ever known."""
        output = size * self.answers
        cost = -(-(self.input_ceiling * self.input_rate + output * self.output_rate) // 1000)
        return Amounts(1, self.input_ceiling, output, cost)


class Shortness(StrEnum):
    SPENT = "spent"
    """It would not fit even if no hold were open, and no rolling window frees enough within 60 s."""
    HELD = "held"
    """It would fit if open holds ended, or a rolling window frees enough within 60 s."""


@value(frozen=True, slots=True)
class Shortage:
    demand: Demand
    needed: int
    """The least amount that would be useful."""
    used: int
    held: int
    shortness: Shortness
    available_at: int | None
    """When waiting helps: the earliest moment it may fit; None where nothing but a raised limit helps."""


@value(frozen=True, slots=True)
class Taken:
    """What a grant took of one counter."""

    counter: Counter
    amount: int
    """What the hold has of it now: of an extension all, not only what it added."""
    limit: int
    remaining: int
    """What is left for others after this grant; never negative."""


@value(frozen=True, slots=True)
class Granted:
    """`amounts` is what the hold has of each of `demands` now, `lefts` what is left of each limit in force after it."""

    hold_id: str
    size: int
    deadline: int
    demands: Sequence[Demand]
    amounts: Sequence[int]
    lefts: Sequence[int]

    @property
    def taken(self) -> tuple[Taken, ...]:
        """Limit by limit; made when it is asked for: most callers want to know only that they may go on."""
        parts = zip(self.demands, self.amounts, self.lefts, strict=True)
        return tuple(Taken(of.counter, amount, of.limit, max(0, left)) for of, amount, left in parts)


@value(frozen=True, slots=True)
class Short:
    shortages: tuple[Shortage, ...]

    @property
    def held_only(self) -> bool:
        """Whether every shortage is one that ends soon by itself."""
        return all(shortage.shortness is Shortness.HELD for shortage in self.shortages)


class Source(IntEnum):
    """How an ended hold's amounts are known; a higher one corrects a lower one, never the other way round."""

    CEILING = 1
    BOUNDED = 2
    METERED = 3
    PROVIDER = 4


class Settlement(StrEnum):
    SETTLED = "settled"
    CORRECTED = "corrected"
    UNCHANGED = "unchanged"
    UNKNOWN = "unknown"


@value(frozen=True, slots=True)
class Hold:
    """A hold as the store knows it, open or ended."""

    hold_id: str
    facts: CallFacts
    size: int
    deadline: int
    granted_at: int
    source: Source | None = None
    """None while it is open."""
    amounts: Amounts | None = None


@value(frozen=True, slots=True)
class CounterState:
    """One counter as a person wants to see it. `limit` is the amount last seen in force."""

    counter: Counter
    limit: int
    used: int
    held: int
    resets_at: int | None


@value(frozen=True, slots=True)
class Entry:
    """What one journal row changes in one bucket of one counter (see `windows` for buckets)."""

    counter: Counter
    bucket: int
    """Start of the bucket, milliseconds; 0 for Lifetime and concurrent."""
    held: int
    used: int
    limit: int
    """The limit in force when the call was admitted or last extended."""


class RowKind(StrEnum):
    GRANT = "grant"
    EXTEND = "extend"
    LOWER = "lower"
    SETTLE = "settle"
    EXPIRE = "expire"
    CORRECT = "correct"
    REFUSE = "refuse"
    SEED = "seed"
    """What counters begin with whose limit was counted another way before; of no call of its own."""


@value(frozen=True, slots=True)
class JournalRow:
    """One line of the journal: what happened to one call, and its changes of every counter.

    `facts` stand on grants and refusals; `amounts` and `source` on ends and corrections; `reason` on refusals. A seed
    is of many calls, and names none.
    """

    seq: int
    at: int
    kind: RowKind
    call_id: str
    entries: tuple[Entry, ...] = ()
    facts: CallFacts | None = None
    size: int = 0
    amounts: Amounts | None = None
    source: Source | None = None
    reason: str = ""
    message: str = ""
    previous_hash: str = ""
    """Seam for a tamper-evident journal."""


@value(frozen=True, slots=True)
class Refused:
    """A decision against a call, for the journal."""

    call_id: str
    facts: CallFacts
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class CallFilter:
    agent: str | None = None
    since: int = 0
    call_id: str | None = None


ALL_CALLS: Final = CallFilter()


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A bucket whose stored counters differ from what the journal adds up to."""

    counter: Counter
    bucket: int
    stored: tuple[int, int]
    recomputed: tuple[int, int]
    """(held, used) each."""


NOTHING: Final = Amounts()


@value(frozen=True, slots=True)
class Spending:
    """What one agent did with one model of one provider since some moment.

    `amounts` is what the calls that ended since then consumed, as it is known now; `held` (nano-USD) is the ceiling of
    those that are open, whenever they began.
    """

    agent: str
    namespace: str
    provider: str
    model: str
    ended: int = 0
    refused: int = 0
    open: int = 0
    amounts: Amounts = NOTHING
    held: int = 0

    @property
    def order(self) -> tuple[str, ...]:
        """Spendings are listed in the order of this."""
        return self.agent, self.provider, self.model, self.namespace


@dataclass(frozen=True, slots=True)
class Refusals:
    """How often one agent was refused for one reason."""

    agent: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Activity:
    """What is going on in a ledger."""

    latest: int | None
    """When the journal's last row was written; None while it is empty."""
    first_deadline: int | None
    """The earliest deadline of an open hold."""
    spending: tuple[Spending, ...]
    refusals: tuple[Refusals, ...] = ()
    """Ordered by agent and reason."""


class Ledger(Protocol):
    """What a store offers. Every store passes the one contract suite in `tests/ledger`."""

    def batch(self) -> AbstractContextManager[None]:
        """All that is changed inside is kept together, or not at all; nothing may be acted on before it ends well.

        Inside, each operation is atomic by itself: one that is short or raises `DuplicateHold`, `ValueError` or
        `LimitRecounting` changed nothing and hurts no other. Where the store itself fails, that operation, all later
        ones and the end of the batch raise `LedgerUnavailable`, and nothing of the batch was kept; so it is where
        only its end fails. Any exception that leaves it undoes all of it. A batch inside another is part of it; other
        threads' changes wait for its end. Outside of any, each operation is a batch of its own.
        """
        ...

    def changes(self) -> int:
        """Another number than before once somebody else, not this `Ledger`, has changed anything. Cheap."""
        ...

    def reserve(
        self, hold_id: str, facts: CallFacts, demands: Sequence[Demand], sizes: Sizes, now: int, deadline: int
    ) -> Granted | Short:
        """Take `demands` at one size for the whole call, or nothing. A known `hold_id` raises `DuplicateHold`."""
        ...

    def extend(self, hold_id: str, least: int, most: int, now: int) -> Granted | Short | None:
        """Raise an open hold to a size between `least` and `most`; None if there is no such open hold."""
        ...

    def lower(self, hold_id: str, to: int, now: int) -> bool:
        """Give back what an open hold has above size `to`; False if there is no such open hold."""
        ...

    def renew(self, hold_id: str, deadline: int) -> bool:
        """Move an open hold's deadline; False if there is no such open hold."""
        ...

    def shorten(self, deadline: int) -> int:
        """Let no open hold last beyond `deadline`: the clock may have been put back. Returns how many would have."""
        ...

    def settle(self, hold_id: str, amounts: Amounts, source: Source, now: int) -> Settlement:
        """End a hold with what it consumed (nothing: a release), or correct it. Idempotent per hold and source."""
        ...

    def expire(self, now: int, granted_before: int = 0) -> Sequence[str]:
        """End every hold past its deadline, charged at its ceiling; returns their ids.

        `granted_before`: and every open hold that is older, because the gateway that carried them is gone. A ledger has
        the holds of one gateway; one that several share would have to tell them apart.
        """
        ...

    def record_refusal(self, refused: Refused, now: int) -> None: ...

    def hold(self, hold_id: str) -> Hold | None: ...

    def counters(self, now: int, only: Collection[Counter] | None = None) -> Sequence[CounterState]:
        """All counters (of `only`) with anything in their current window, ordered by counter."""
        ...

    def activity(self, since: int) -> Activity:
        """What happened since a moment; costs the rows since then and the open holds, not the whole journal."""
        ...

    def journal(self, calls: CallFilter = ALL_CALLS) -> Iterable[JournalRow]:
        """Rows in order."""
        ...

    def verify(self) -> Sequence[Mismatch]:
        """Recompute every counter from the journal; nothing returned means that all add up."""
        ...


class DuplicateHold(Exception):  # noqa: N818 - named for what happened
    """A hold of this id exists already: a call id must never be reused."""

    @classmethod
    def of(cls, hold_id: str) -> "DuplicateHold":
        return cls(f"The ledger already knows a call {hold_id!r}; every call needs an id of its own.")


class LedgerUnavailable(Exception):  # noqa: N818 - named for what happened
    """The store cannot be read or written now, so no call can be decided. What was acknowledged before stays."""


class LimitRecounting(LedgerUnavailable):
    """The limit is counted another way now, and is still being recounted from the journal; soon it is not."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers of elastic holds (DESIGN: worst case if at most `small` of what is left, else at most `share`)."""

    small: int = 8
    """Hold the worst case where it is at most 1/small of what is left on every counter."""
    share: int = 4
    """Else at most 1/share of what is left."""
    soon_ms: int = 60_000
    """A rolling limit that frees within this is never spent."""


DEFAULT_POLICY: Final = Policy()
