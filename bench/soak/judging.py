"""From what happened to whether it may. Pure; each verdict is a line of `verdicts`, and says its own bound."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.roads import EXTAUTHZ
from bench.soak.books import Books
from bench.soak.kinds import ANSWERED, PLANNED, REFUSED, WHILE_IT_BREAKS
from bench.soak.watching import Growth, Rise

RECOVERS_WITHIN_S: Final = 5.0
"""After a fault is over."""
NOTICED_WITHIN_S: Final = 2.0
"""What began before that may still fail: a decision is waited for so long, and seconds are counted as a whole."""
MOST_GROWTH: Final = 0.10
"""Of the median, over the last two thirds of the soak."""
LEAST_BYTES: Final = 5_000_000
LEAST_FILES: Final = 8
"""Growth below this is none, whatever its share."""
MOST_BYTES_A_MINUTE: Final = 1_000_000
"""Of an extauthz that is older than two minutes."""


@dataclass(frozen=True, slots=True)
class Second:
    """What ended in about a second before `at`, by agent and kind. Seconds of the soak."""

    at: float
    ended: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault, and until when (seconds of the soak) it lasted."""

    name: str
    at: float
    until: float

    @property
    def excused_until(self) -> float:
        return self.until + RECOVERS_WITHIN_S + NOTICED_WITHIN_S


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What callers had of a fault: `recovered` seconds after it was over the last call failed (None: none did)."""

    fault: Happened
    failures: Mapping[str, int]
    recovered: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    name: str
    fine: bool
    found: str
    bound: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that verdicts are made of. `generous`: agents whose limits are never short. `open_holds` and
    `mismatches` at the end."""

    seconds: Sequence[Second]
    faults: Sequence[Happened]
    books: Books
    growths: Mapping[str, Growth]
    generous: frozenset[str]
    open_holds: int
    mismatches: int


def kinds(seconds: Iterable[Second]) -> Mapping[str, int]:
    """How calls ended, over all agents."""
    found: Counter[str] = Counter()
    for second in seconds:
        for (_, kind), number in second.ended.items():
            found[kind] += number
    return dict(found.most_common())


def aftermaths(seconds: Sequence[Second], faults: Sequence[Happened]) -> Sequence[Aftermath]:
    """Each with what failed from it until the next one."""
    ends = [*(fault.at for fault in faults[1:]), float("inf")]
    return [
        _aftermath(fault, [each for each in seconds if fault.at <= each.at < end])
        for fault, end in zip(faults, ends, strict=True)
    ]


def _aftermath(fault: Happened, seconds: Sequence[Second]) -> Aftermath:
    failed = [each for each in seconds if any(kind in WHILE_IT_BREAKS for _, kind in each.ended)]
    failures = {kind: number for kind, number in kinds(failed).items() if kind in WHILE_IT_BREAKS}
    return Aftermath(fault, failures, max(0.0, failed[-1].at - fault.until) if failed else None)


def unexplained(seconds: Iterable[Second], faults: Sequence[Happened]) -> Mapping[str, int]:
    """Kinds that may never be, and those that may not be at that time."""
    found: Counter[str] = Counter()
    for second in seconds:
        excused = any(fault.at <= second.at <= fault.excused_until for fault in faults)
        for (_, kind), number in second.ended.items():
            may_be = kind in PLANNED or kind.startswith(REFUSED) or (excused and kind in WHILE_IT_BREAKS)
            if not may_be:
                found[kind] += number
    return dict(found)


def false_refusals(seconds: Iterable[Second], generous: frozenset[str]) -> int:
    return sum(
        number
        for second in seconds
        for (agent, kind), number in second.ended.items()
        if agent in generous and kind.startswith(REFUSED)
    )


def verdicts(evidence: Evidence) -> Sequence[Verdict]:
    return [*_of_books(evidence), *_of_callers(evidence), *_of_processes(evidence.growths)]


def _of_books(evidence: Evidence) -> Iterator[Verdict]:
    books = evidence.books
    overspend = sum(each.overspend for each in books.spent)
    shares = ", ".join(f"{each.limit.agent} {each.charged / each.limit.amount:.1%}" for each in books.spent)
    yield Verdict("overspend", overspend == 0, f"{overspend} nano-USD (of their limits at most: {shares})", "0")
    unaccounted = f"{books.unaccounted} of {books.billed:,}"
    shown = f": {', '.join(books.shown)}" if books.shown else ""
    yield Verdict("unaccounted calls", books.unaccounted == 0, unaccounted + shown, "0")
    yield Verdict(
        "the ledger's sum",
        books.charged_cost >= books.billed_cost,
        f"{books.charged_cost / 1e9:.6f} USD for {books.billed_cost / 1e9:.6f} billed",
        "not below the bill",
    )
    yield Verdict("open holds at the end", evidence.open_holds == 0, str(evidence.open_holds), "0")
    yield Verdict("counters that do not add up", evidence.mismatches == 0, str(evidence.mismatches), "0")


def _of_callers(evidence: Evidence) -> Iterator[Verdict]:
    found = unexplained(evidence.seconds, evidence.faults)
    said = ", ".join(f"{number} × {kind}" for kind, number in found.items()) or "none"
    answered = kinds(evidence.seconds).get(ANSWERED, 0)
    yield Verdict("calls that were answered", answered > 0, f"{answered:,}", "some")
    window = RECOVERS_WITHIN_S + NOTICED_WITHIN_S
    yield Verdict(
        "failures that no fault explains",
        not found,
        said,
        f"none; broken connections and shaped 503 until {window:g} s after a fault",
    )
    refused = false_refusals(evidence.seconds, evidence.generous)
    yield Verdict("refusals of agents with room", refused == 0, str(refused), "0")


def _of_processes(growths: Mapping[str, Growth]) -> Iterator[Verdict]:
    for name, each in growths.items():
        yield _flat(f"memory of {name}", each.private, LEAST_BYTES, 1e6, " MB")
        yield _flat(f"file descriptors of {name}", each.files, LEAST_FILES, 1, "")
    ageing = growths[EXTAUTHZ].ageing if EXTAUTHZ in growths else None
    if ageing is not None:
        yield Verdict(
            "memory of an extauthz by its age",
            ageing.certain <= MOST_BYTES_A_MINUTE,
            f"{ageing.amount / 1e6:+.3f} ± {2 * ageing.error / 1e6:.3f} MB a minute",
            f"≤ {MOST_BYTES_A_MINUTE / 1e6:+.1f} MB a minute, older than two minutes",
        )


def _flat(name: str, found: Rise, least: float, size: float, unit: str) -> Verdict:
    bound = max(least, found.median * MOST_GROWTH)
    return Verdict(
        name,
        found.certain <= bound,
        f"{found.amount / size:+.2f} ± {2 * found.error / size:.2f}{unit} at a median of {found.median / size:.1f}",
        f"≤ {bound / size:+.1f}{unit} over the last two thirds",
    )
