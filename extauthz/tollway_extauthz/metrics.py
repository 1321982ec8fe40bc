"""The metrics of the data plane. Labels are bounded: names from resources and codes from tables, never from callers.

Counting happens with every call and is adding to plain numbers; what a scrape wants is made of them when one comes.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from tollway.ledger.port import CallFacts
from tollway.ledger.units import Amounts

Counts = dict[tuple[str, ...], int | float]
"""By the name of a counter and the values of its labels. What several processes counted is their sum."""

_NOTHING: Final = Amounts()
_CHECK_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_BOUNDS: Final = (*map(str, _CHECK_SECONDS), "+Inf")
_BUCKETS: Final = "tollway_check_seconds"
_SUM: Final = "tollway_check_seconds_sum"
_TOKENS: Final = "tollway_tokens"
_COST: Final = "tollway_cost_nano_usd"
_LINES: Final = "tollway_access_log_entries"
_COUNTERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "tollway_checks": ("Decisions, by provider and reason (empty: granted).", ("provider", "reason")),
    "tollway_settlements": ("Ended holds, by how their amounts are known.", ("provider", "source")),
    _TOKENS: ("Settled tokens.", ("provider", "type")),
    _COST: ("Settled cost in nano-USD.", ("provider",)),
    "tollway_over_ceiling": ("Calls that consumed more than they held.", ("provider",)),
    _LINES: ("Lines of the gateway's access log that were taken.", ()),
}


class Metrics:
    """What one process counts. `generation`, `issuers`: of the rules in force, and the digest of the signing CAs."""

    def __init__(self) -> None:
        self.generation = 0
        self.issuers: str | None = None
        self._counted: Counts = {}
        self._check_seconds = [0] * len(_BOUNDS)
        self._check_seconds_sum = 0.0
        self._consumed: dict[str, tuple[int, int, int]] = {}

    def checked(self, provider: str, reason: str, seconds: float) -> None:
        """A decision; `reason` is empty where the call was granted."""
        self._count("tollway_checks", provider, reason)
        self._check_seconds[bisect_left(_CHECK_SECONDS, seconds)] += 1
        self._check_seconds_sum += seconds

    def ended(self, facts: CallFacts, amounts: Amounts, source: str, before: Amounts = _NOTHING) -> None:
        """`before` is what an end counted that is corrected now. A counter never falls: a correction downwards is not
        seen here, only in the ledger."""
        provider = facts.provider
        self._count("tollway_settlements", provider, source)
        read, written, cost = self._consumed.get(provider, (0, 0, 0))
        self._consumed[provider] = (
            read + max(0, amounts.input_tokens - before.input_tokens),
            written + max(0, amounts.output_tokens - before.output_tokens),
            cost + max(0, amounts.cost - before.cost),
        )

    def over_ceiling(self, facts: CallFacts) -> None:
        """A call consumed more than it held."""
        self._count("tollway_over_ceiling", facts.provider)

    def lines_taken(self, lines: int) -> None:
        """So many lines of the access log were taken."""
        key = (_LINES,)
        self._counted[key] = self._counted.get(key, 0) + lines

    def counts(self) -> Counts:
        """All of it, as it is now. May run beside the counting, in another thread."""
        found = self._counted.copy()
        found |= {(_BUCKETS, bound): count for bound, count in zip(_BOUNDS, self._check_seconds, strict=True)}
        found[_SUM,] = self._check_seconds_sum
        for provider, (read, written, cost) in self._consumed.copy().items():
            found |= {
                (_TOKENS, provider, "input"): read,
                (_TOKENS, provider, "output"): written,
                (_COST, provider): cost,
            }
        return found

    def _count(self, *key: str) -> None:
        self._counted[key] = self._counted.get(key, 0) + 1


def total(several: Iterable[Counts]) -> Counts:
    """What they counted together."""
    found: Counts = {}
    for counts in several:
        for key, count in counts.items():
            found[key] = found.get(key, 0) + count
    return found


def families(counts: Counts, generation: int) -> Iterator[Metric]:
    """`counts` as Prometheus takes them."""
    for name, (says, labels) in _COUNTERS.items():
        family = CounterMetricFamily(name, says, labels=labels)
        for key, count in counts.items():
            if key[0] == name:
                family.add_metric(key[1:], count)
        yield family
    reached = accumulate(counts.get((_BUCKETS, bound), 0) for bound in _BOUNDS)
    yield HistogramMetricFamily(
        "tollway_check_seconds",
        "Time of a decision, waiting included.",
        list(zip(_BOUNDS, reached, strict=True)),
        counts.get((_SUM,), 0.0),
    )
    yield GaugeMetricFamily("tollway_rules_generation", "Generation of the rules in force.", generation)
