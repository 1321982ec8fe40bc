"""The provider's bill against the ledger, call by call, when everything has ended."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bench.soak.wire import MODEL
from tollway.ledger.port import Hold
from tollway.pricing.data import default_book
from tollway.pricing.usage import Usage

UNBILLED: Final = 10
"""So many ids of calls that are not in order are kept to be shown."""


class Holds(Protocol):
    """As much of a ledger as is asked."""

    def hold(self, hold_id: str) -> Hold | None: ...


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in money that is meant to be short: of an agent, in nano-USD, in any `window_ms` (None: ever)."""

    agent: str
    amount: int
    window_ms: int | None


@dataclass(frozen=True, slots=True)
class Spent:
    """The most that was billed, and charged, for calls granted within one window of a limit. Nano-USD."""

    limit: Limit
    billed: int
    charged: int

    @property
    def overspend(self) -> int:
        return max(0, max(self.billed, self.charged) - self.limit.amount)


@dataclass(frozen=True, slots=True)
class Books:
    """`billed`: calls on the provider's bill. Of these: `unknown` to the ledger, `open` in it, `undercharged`, and
    billed `twice`; `shown` are ids of such. `sources`: how the amounts of the others are known. Money in nano-USD."""

    billed: int
    unknown: int
    open: int
    undercharged: int
    twice: int
    shown: tuple[str, ...]
    sources: Mapping[str, int]
    billed_cost: int
    charged_cost: int
    spent: tuple[Spent, ...]

    @property
    def unaccounted(self) -> int:
        return self.unknown + self.open + self.undercharged + self.twice


@dataclass(frozen=True, slots=True)
class _Line:
    call: str
    input: int
    output: int


@dataclass(frozen=True, slots=True)
class _Charge:
    granted_at: int
    billed: int
    charged: int


def audited(bill: Path, ledger: Holds, limits: Iterable[Limit]) -> Books:
    """Raises `ValueError` where a line of the bill is none."""
    audit = _Audit(ledger)
    with bill.open() as lines:
        for line in lines:
            call, input_tokens, output_tokens = line.split()
            audit.take(_Line(call, int(input_tokens), int(output_tokens)))
    return audit.books(limits)


class _Audit:
    def __init__(self, ledger: Holds) -> None:
        priced = default_book().find("OpenAI", MODEL)
        assert priced is not None
        self._row = priced.row
        self._ledger = ledger
        self._seen: set[str] = set()
        self._faults: Counter[str] = Counter()
        self._shown: list[str] = []
        self._sources: Counter[str] = Counter()
        self._charges: dict[str, list[_Charge]] = {}
        self._billed = self._billed_cost = self._charged_cost = 0

    def take(self, line: _Line) -> None:
        self._billed += 1
        cost = self._row.cost(Usage(input=line.input, output=line.output))
        self._billed_cost += cost
        hold = self._ledger.hold(line.call)
        if (fault := self._fault(line, cost, hold)) is not None:
            self._faults[fault] += 1
            self._shown.append(f"{line.call} ({fault})")
            del self._shown[UNBILLED:]
        self._seen.add(line.call)
        if hold is None or hold.amounts is None:
            return
        self._sources[hold.source.name.lower() if hold.source else "open"] += 1
        self._charged_cost += hold.amounts.cost
        name = hold.facts.agent.rpartition("/")[2]
        self._charges.setdefault(name, []).append(_Charge(hold.granted_at, cost, hold.amounts.cost))

    def _fault(self, line: _Line, cost: int, hold: Hold | None) -> str | None:
        if line.call in self._seen:
            return "twice"
        if hold is None:
            return "unknown"
        if hold.amounts is None:
            return "open"
        amounts = hold.amounts
        covered = amounts.input_tokens >= line.input and amounts.output_tokens >= line.output and amounts.cost >= cost
        return None if covered else "undercharged"

    def books(self, limits: Iterable[Limit]) -> Books:
        return Books(
            self._billed,
            self._faults["unknown"],
            self._faults["open"],
            self._faults["undercharged"],
            self._faults["twice"],
            tuple(self._shown),
            dict(self._sources),
            self._billed_cost,
            self._charged_cost,
            tuple(_spent(limit, self._charges.get(limit.agent, [])) for limit in limits),
        )


def _spent(limit: Limit, charges: list[_Charge]) -> Spent:
    """The most within any interval that is shorter than the window: what was granted at its ends may be in two."""
    window: deque[_Charge] = deque()
    billed = charged = most_billed = most_charged = 0
    for charge in sorted(charges, key=lambda each: each.granted_at):
        window.append(charge)
        billed, charged = billed + charge.billed, charged + charge.charged
        while limit.window_ms is not None and charge.granted_at - window[0].granted_at >= limit.window_ms:
            gone = window.popleft()
            billed, charged = billed - gone.billed, charged - gone.charged
        most_billed, most_charged = max(most_billed, billed), max(most_charged, charged)
    return Spent(limit, most_billed, most_charged)
