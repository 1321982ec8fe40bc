"""What this gateway reports: the providers it serves, and of each quota the counters nearest to their limit.

It is made in a thread of its own, and of ten thousand counters it sees only the few that it tells.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager

from tollway.deciding.rulebook import RuleBook, amount_in_force
from tollway.ledger import windows
from tollway.ledger.arithmetic import window_of
from tollway.ledger.port import Counter
from tollway.ledger.units import LIFETIME, WindowKind
from tollway.resources.models import AIQuota, Limit
from tollway.usage_report import (
    MOST_COUNTERS,
    QuotaUsage,
    Tight,
    Tried,
    Trusted,
    UsageReport,
    key_of,
    tightest,
)
from tollway_extauthz.rules import Rules
from tollway_extauthz.stores.sqlite.tightest import Found, Look
from tollway_extauthz.usage.shortfalls import Shortfalls

Trusting = Callable[[Rules], tuple[Trusted | None, tuple[Tried, ...]]]
"""What this gateway has proved to trust, and which sidecars have."""
Looking = Callable[[int], AbstractContextManager[Look]]
"""A look at the ledger at a moment, as `tollway_extauthz.stores.sqlite.tightest.looking`."""


class Reporting:
    """For one thread. `rules` gives those in force, `clock` milliseconds since the epoch."""

    def __init__(
        self,
        looking: Looking,
        rules: Callable[[], Rules | None],
        shortfalls: Shortfalls,
        clock: Callable[[], int],
        trusting: Trusting = lambda _: (None, ()),
    ) -> None:
        self._trusting = trusting
        self._looking = looking
        self._rules = rules
        self._shortfalls = shortfalls
        self._clock = clock
        self._book: RuleBook | None = None
        self._expected: Mapping[tuple[str, str], list[Counter]] = {}

    def report(self) -> UsageReport | None:
        """None while no rules are in force. Raises `LedgerUnavailable`."""
        rules = self._rules()
        if rules is None:
            return None
        if rules.book is not self._book:
            self._book, self._expected = rules.book, _some_of_each(rules.book.declared_counters())
        providers = tuple(provider.meta.name for provider in rules.resources.providers)
        now = self._clock()
        with self._looking(now) as look:
            quotas = tuple(self._usage(look, quota, now) for quota in rules.resources.quotas)
        return UsageReport(rules.generation, providers, quotas, *self._trusting(rules))

    def _usage(self, look: Look, quota: AIQuota, now: int) -> QuotaUsage:
        meta = quota.meta
        counted = [
            self._tight(limit, found, amount_in_force(declared, now))
            for declared, limit in _limits(quota)
            for found in look.tightest(limit, MOST_COUNTERS)
        ]
        return QuotaUsage(meta.namespace, meta.name, tightest((*counted, *self._untouched(quota, counted, now))))

    def _untouched(self, quota: AIQuota, counted: Iterable[Tight], now: int) -> Iterator[Tight]:
        """Counters that are known before any call: a limit is to be seen before it is used."""
        seen = {(each.limit, each.key) for each in counted}
        amounts = {limit.name: amount_in_force(limit, now) for limit in quota.limits}
        for counter in self._expected.get((quota.meta.namespace, quota.meta.name), ()):
            key = key_of(counter.per)
            if (counter.limit, key) not in seen:
                yield Tight(counter.limit, key, counter.unit, amounts[counter.limit], 0, 0, _ends_at(counter, now))

    def _tight(self, limit: Counter, found: Found, amount: int) -> Tight:
        used, held = found.use
        spent = self._shortfalls.leaves_none(limit, found.per, used, amount)
        resets_at = windows.leaves_at(window_of(limit), found.oldest)
        return Tight(limit.limit, key_of(found.per), limit.unit, amount, used, held, resets_at, spent)


def _ends_at(counter: Counter, now: int) -> int | None:
    """Of a counter on which nothing stands: a rolling one has nothing to free."""
    window = window_of(counter)
    rolls = window is None or window.kind is WindowKind.ROLLING
    return None if rolls else windows.resets_at(window, now)


def _limits(quota: AIQuota) -> Iterator[tuple[Limit, Counter]]:
    """Each limit, and what all of its counters share."""
    for limit in quota.limits:
        yield limit, Counter(quota.meta.namespace, quota.meta.name, limit.name, limit.unit, limit.window or LIFETIME)


def _some_of_each(declared: Iterable[Counter]) -> Mapping[tuple[str, str], list[Counter]]:
    """By quota, as many as could be told at all."""
    found: defaultdict[tuple[str, str], list[Counter]] = defaultdict(list)
    for counter in declared:
        of_quota = found[counter.namespace, counter.quota]
        if len(of_quota) < MOST_COUNTERS:
            of_quota.append(counter)
    return found
