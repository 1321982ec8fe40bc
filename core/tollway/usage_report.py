"""What a gateway tells the operator: which providers it serves, and of each quota the counters nearest to their limit.

The data plane writes it and the control plane reads it, as JSON. Names, amounts and moments; never a prompt or a key.
"""

from collections.abc import Iterable, Sequence
from heapq import nsmallest
from typing import Final

import msgspec

from tollway.ledger.units import Unit

MOST_COUNTERS: Final = 20
"""Of one quota."""
PATH: Final = "/report"
_NANO: Final = 1_000_000_000


class Tight(msgspec.Struct, frozen=True, rename="camel"):
    """One counter. Amounts are integers in `unit` (cost in nano-USD), `resets_at` milliseconds since the epoch."""

    limit: str
    """The limit's name."""
    key: str
    """Whose it is, by the values of `per`; empty where all share it."""
    unit: Unit
    amount: int
    """What is in force."""
    used: int
    held: int
    resets_at: int | None = None
    """When its window ends, or a rolling one next frees something; None where nothing is to be freed."""
    spent: bool = False
    """What is used already leaves no room for a call, and nothing that is held would."""

    @property
    def fraction(self) -> float:
        """What is used and held, of the amount. A limit of nothing is always full."""
        return (self.used + self.held) / self.amount if self.amount else 1.0


class QuotaUsage(msgspec.Struct, frozen=True, rename="camel"):
    """A quota by which the gateway counts, and at most `MOST_COUNTERS` of its counters."""

    namespace: str
    name: str
    counters: tuple[Tight, ...] = ()


class Tried(msgspec.Struct, frozen=True, rename="camel"):
    """A sidecar that completed a handshake with the trial certificate for a trust bundle, by its digest.

    What is known of it is what its certificate says (`pod`: the UID, where it names one), and where it came from.
    """

    peer: str
    pod: str
    address: str
    bundle: str
    at: int


class Trusted(msgspec.Struct, frozen=True, rename="camel"):
    """What a gateway has proved to run: digests of the trust bundle (empty: none that is tried) and of the signing
    CAs."""

    replica: str
    bundle: str
    issuers: str


class UsageReport(msgspec.Struct, frozen=True, rename="camel"):
    """`generation` is that of the rules in force; `providers` are those open to calls."""

    generation: int
    providers: tuple[str, ...] = ()
    quotas: tuple[QuotaUsage, ...] = ()
    trusted: Trusted | None = None
    trust: tuple[Tried, ...] = ()


def tightest(counters: Iterable[Tight]) -> tuple[Tight, ...]:
    """The nearest to their limit, the nearest first: those that are spent, and then by what is left."""
    return tuple(nsmallest(MOST_COUNTERS, counters, key=_order))


def _order(counter: Tight) -> tuple[bool, float, str, str]:
    return not counter.spent, -counter.fraction, counter.limit, counter.key


def key_of(per: Sequence[tuple[str, str]]) -> str:
    """Whose counter it is, as people name it: a namespace stands before what is in it."""
    in_order = sorted(per, key=lambda each: (each[0] != "Namespace", each[0]))
    return "/".join(value for _, value in in_order)


def decimal(amount: int, unit: Unit) -> str:
    """An amount as a decimal string: money in USD, exact, with two decimals at least."""
    if unit is not Unit.COST:
        return str(amount)
    whole, nano = divmod(abs(amount), _NANO)
    return f"{'-' if amount < 0 else ''}{whole}.{f'{nano:09d}'.rstrip('0').ljust(2, '0')}"
