"""The metrics of the data plane. Labels are bounded: names from resources and codes from tables, never from callers."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tollway.ledger.port import CallFacts
from tollway.ledger.units import Amounts

_NOTHING = Amounts()
_CHECK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._checks = Counter(
            "tollway_checks",
            "Decisions, by provider and reason (empty: granted).",
            ("provider", "reason"),
            registry=self.registry,
        )
        self._check_seconds = Histogram(
            "tollway_check_seconds",
            "Time of a decision, waiting included.",
            buckets=_CHECK_SECONDS,
            registry=self.registry,
        )
        self._settlements = Counter(
            "tollway_settlements",
            "Ended holds, by how their amounts are known.",
            ("provider", "source"),
            registry=self.registry,
        )
        self._tokens = Counter("tollway_tokens", "Settled tokens.", ("provider", "type"), registry=self.registry)
        self._cost = Counter(
            "tollway_cost_nano_usd", "Settled cost in nano-USD.", ("provider",), registry=self.registry
        )
        self._over = Counter(
            "tollway_over_ceiling", "Calls that consumed more than they held.", ("provider",), registry=self.registry
        )
        self._log_lines = Counter(
            "tollway_access_log_entries", "Access-log entries read, by way.", ("way",), registry=self.registry
        )
        self.generation = Gauge("tollway_rules_generation", "Generation of the rules in force.", registry=self.registry)

    def checked(self, provider: str, reason: str, seconds: float) -> None:
        self._checks.labels(provider, reason).inc()
        self._check_seconds.observe(seconds)

    def ended(self, facts: CallFacts, amounts: Amounts, source: str, before: Amounts = _NOTHING) -> None:
        """`before` is what an end counted that is corrected now. A counter never falls: a correction downwards is not
        seen here, only in the ledger."""
        self._settlements.labels(facts.provider, source).inc()
        self._tokens.labels(facts.provider, "input").inc(max(0, amounts.input_tokens - before.input_tokens))
        self._tokens.labels(facts.provider, "output").inc(max(0, amounts.output_tokens - before.output_tokens))
        self._cost.labels(facts.provider).inc(max(0, amounts.cost - before.cost))

    def over_ceiling(self, facts: CallFacts) -> None:
        self._over.labels(facts.provider).inc()

    def log_entries(self, way: str, entries: int) -> None:
        self._log_lines.labels(way).inc(entries)
