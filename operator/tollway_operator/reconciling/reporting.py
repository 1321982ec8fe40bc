"""What the gateway says of itself, for status: which configuration it runs, and what was counted.

The seam to the data plane: the operator asks a `ReportSource` now and then, and status follows what it says. Usage
changes with every call, and status must not: `Pace` lets through what is worth a write.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from tollway.usage_report import QuotaUsage, Tight, Tried, Trusted, UsageReport, decimal, tightest
from tollway_operator.authority.authority import Authority

USAGE_EVERY_MS: Final = 30_000
"""How often the usage of one quota is written at most."""
MOST_AT_ONCE: Final = 100
"""Quotas whose usage is written after one report; the others come after the next ones."""
TOLD_EVERY_MS: Final = 100
"""When replicas cease to answer, or answer again, all quotas have to say so: one of them in this time."""
_LONGEST_KEY: Final = 1_024
Name = tuple[str, str]
"""Namespace and name of an AIQuota."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One counter of a quota's limit. Amounts are decimal strings in the limit's unit (cost in USD)."""

    limit: str
    key: str
    """Whose it is, by the values of `per`; empty where all share it."""
    amount: str
    used: str
    held: str
    resets_at: int | None
    spent: bool = False


@dataclass(frozen=True, slots=True)
class Proved:
    """A sidecar that trusts a bundle: by its pod's UID, where its certificate names it, or else by its address."""

    pod: str
    address: str
    bundle: str


@dataclass(frozen=True, slots=True)
class Report:
    """`providers` is None where nothing is known; else those that every replica runs that says so."""

    providers: frozenset[str] | None = None
    quotas: frozenset[Name] = frozenset()
    """Those by which every such replica counts."""
    usage: Mapping[Name, tuple[Counted, ...]] = field(default_factory=dict)
    """Of quotas their tightest counters, the tightest first; not of all, where there would be too much to write."""
    silent: int = 0
    """How many replicas did not say anything for too long."""
    trusted: frozenset[Trusted] = frozenset()
    """What the replicas have proved to trust."""
    tried: frozenset[Proved] = frozenset()
    """Sidecars that have."""
    since: int = field(default=0, compare=False)
    """When so many became silent, or answered again, milliseconds since the epoch."""

    @property
    def was_asked(self) -> bool:
        """Whether there was time to hear of the gateway at all."""
        return self.providers is not None or self.silent > 0


class ReportSource(Protocol):
    async def ask(self, authority: Authority | None) -> Report:
        """`authority`: by which the operator says who it is; None while it does not lead, and need not ask.

        Never raises for a gateway that does not answer: then it is the last report, or an empty one.
        """
        ...


class Silence:
    """Where there is no gateway to ask."""

    async def ask(self, authority: Authority | None) -> Report:  # noqa: ARG002 - the port's
        return Report()


# --- one report of several -----------------------------------------------------------------------------------------


def combined(reports: Sequence[UsageReport], silent: int) -> Report:
    """What all replicas run; of a counter that several tell of (they share the ledger) the tightest reading."""
    if not reports:
        return Report(silent=silent)
    trusted = frozenset(report.trusted for report in reports if report.trusted is not None)
    providers = frozenset.intersection(*(frozenset(report.providers) for report in reports))
    quotas: defaultdict[Name, list[QuotaUsage]] = defaultdict(list)
    for report in reports:
        for quota in report.quotas:
            quotas[quota.namespace, quota.name].append(quota)
    usage = {name: _usage(told) for name, told in quotas.items() if len(told) == len(reports)}
    return Report(providers, frozenset(usage), usage, silent, trusted, frozenset(_proved(reports)))


def _proved(reports: Iterable[UsageReport]) -> Iterator[Proved]:
    """Of each sidecar what it proved last, to whichever replica."""
    latest: dict[tuple[str, str], Tried] = {}
    for tried in (each for report in reports for each in report.trust):
        key = tried.pod, "" if tried.pod else tried.address
        if key not in latest or latest[key].at < tried.at:
            latest[key] = tried
    return (Proved(pod, address, tried.bundle) for (pod, address), tried in latest.items())


def _usage(told: Iterable[QuotaUsage]) -> tuple[Counted, ...]:
    found: defaultdict[Name, list[Tight]] = defaultdict(list)
    for quota in told:
        for counter in quota.counters:
            found[counter.limit, counter.key].append(counter)
    return tuple(map(_counted, tightest(tightest(same)[0] for same in found.values())))


def _counted(tight: Tight) -> Counted:
    amount, used, held = (decimal(each, tight.unit) for each in (tight.amount, tight.used, tight.held))
    return Counted(tight.limit, tight.key[:_LONGEST_KEY], amount, used, held, tight.resets_at, tight.spent)


# --- what is worth a write -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shown:
    counters: tuple[Counted, ...]
    at: int


class Pace:
    """Holds usage back: what was let through for a quota stays for a while, unless one of its limits is spent now, or
    no longer; and few quotas change at once, those first that waited longest."""

    def __init__(self) -> None:
        self._shown: dict[Name, _Shown] = {}
        self._silence: tuple[bool, int] | None = None
        self._since = 0

    def take(self, report: Report, now: int) -> Report:
        """`report` with the usage that may be shown at `now`."""
        silence = report.providers is None, report.silent
        if silence != self._silence:
            self._silence, self._since = silence, now
        waiting = [name for name in report.usage if self._may_change(name, report.usage[name], now)]
        for name in sorted(waiting, key=lambda name: self._order(name, report.usage[name]))[:MOST_AT_ONCE]:
            self._shown[name] = _Shown(report.usage[name], now)
        if report.providers is not None:
            self._shown = {name: shown for name, shown in self._shown.items() if name in report.usage}
        shown = {name: shown.counters for name, shown in self._shown.items()}
        return replace(report, usage=shown, since=self._since)

    def _may_change(self, name: Name, counters: tuple[Counted, ...], now: int) -> bool:
        shown = self._shown.get(name)
        if shown is None:
            return True
        if shown.counters == counters:
            return False
        return now - shown.at >= USAGE_EVERY_MS or _asks_for_attention(shown.counters, counters)

    def _order(self, name: Name, counters: tuple[Counted, ...]) -> tuple[bool, int]:
        shown = self._shown.get(name)
        if shown is None:
            return False, 0
        return not _asks_for_attention(shown.counters, counters), shown.at


def _asks_for_attention(before: Iterable[Counted], after: Iterable[Counted]) -> bool:
    """Whether another limit is spent, or one no longer is, or somebody changed an amount."""
    return _spent(before) != _spent(after) or _changed(_amounts(before), _amounts(after))


def _spent(counters: Iterable[Counted]) -> frozenset[tuple[str, str]]:
    return frozenset((each.limit, each.key) for each in counters if each.spent)


def _amounts(counters: Iterable[Counted]) -> Mapping[str, str]:
    return {each.limit: each.amount for each in counters}


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    return any(before[limit] != after[limit] for limit in before.keys() & after.keys())
