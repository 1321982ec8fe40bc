"""What a report tells of the counters in a ledger: the tightest of many, by what is in force and in its window now."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tollway.deciding.rulebook import RuleBook
from tollway.ledger.port import CallFacts, Counter, Demand, Granted, Short, Shortage, Shortness, Sizes, Source
from tollway.ledger.units import LIFETIME, Amounts, Unit, Window, WindowKind
from tollway.pricing.data import default_book
from tollway.resources.models import AgentIdentity, AIQuota, Limit, Meta, Per, ResourceSet, Selector
from tollway.usage_report import MOST_COUNTERS, Tight
from tollway_extauthz.rules import Rules
from tollway_extauthz.stores.sqlite import SQLiteLedger
from tollway_extauthz.stores.sqlite.tightest import looking
from tollway_extauthz.usage.report import Reporting
from tollway_extauthz.usage.shortfalls import Shortfalls

NOW = 1_800_000_000_000
MINUTE = 60_000
HOUR = Window(WindowKind.ROLLING, 60 * MINUTE)
DAY = Window(WindowKind.DAY)
RPM = Limit("rpm", Unit.REQUESTS, 1_000, HOUR)
Seen = dict[tuple[str, str], Tight]


def agents(count: int) -> tuple[AgentIdentity, ...]:
    return tuple(AgentIdentity(Meta(f"a{n:04}", "team-a"), Selector({})) for n in range(count))


def quota(*limits: Limit, per: tuple[Per, ...] = ()) -> AIQuota:
    return AIQuota(Meta("quota", "team-a"), limits, per=per)


class World:
    """A ledger's file, and what is reported of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.ledger = SQLiteLedger(self.path)
        self.shortfalls = Shortfalls()
        self._calls = 0

    def call(self, limit: Limit, number: int = 1, at: int = NOW, held: bool = False, **per: str) -> None:
        """Take `number` of a limit, and, unless it is to be held, use it."""
        self._calls += 1
        counter = Counter("team-a", "quota", limit.name, limit.unit, limit.window or LIFETIME, tuple(per.items()))
        demands = [Demand(counter, limit.amount, number * 1_000)]
        facts = CallFacts("researcher", "team-a", "openai", "gpt-5", "chat")
        granted = self.ledger.reserve(str(self._calls), facts, demands, Sizes(0, 0), at, at + MINUTE)
        assert isinstance(granted, Granted)
        if not held:
            self.ledger.settle(str(self._calls), Amounts(number, number, 0, number), Source.PROVIDER, at)

    def report(self, *quotas: AIQuota, at: int = NOW, declared: int = 0) -> Seen:
        resources = ResourceSet(agents=agents(declared), quotas=quotas)
        rules: Any = Rules(7, RuleBook(resources, default_book()), None, resources)  # type: ignore[arg-type]
        report = Reporting(partial(looking, self.path), lambda: rules, self.shortfalls, lambda: at).report()
        assert report is not None
        return {(each.limit, each.key): each for quota in report.quotas for each in quota.counters}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.ledger.close()


def test_of_a_thousand_counters_the_twenty_tightest_are_told_the_tightest_first(world: World) -> None:
    with world.ledger.batch():
        for n in range(1_000):
            world.call(RPM, 1 + (n * 7) % 999, Agent=f"a{n:04}", Namespace="team-a")
    found = world.report(quota(RPM, per=(Per.AGENT,)), declared=1_000)
    every = {state.counter.per[0][1]: state.used for state in world.ledger.counters(NOW)}
    tightest = sorted(every, key=lambda name: (-every[name], name))[:MOST_COUNTERS]
    assert [(each.key, each.used) for each in found.values()] == [(f"team-a/{n}", every[n]) for n in tightest]


def test_limits_are_told_before_anything_was_used(world: World) -> None:
    found = world.report(quota(RPM, Limit("day", Unit.COST, 5, DAY)))
    assert found["rpm", ""] == Tight("rpm", "", Unit.REQUESTS, 1_000, 0, 0)
    assert found["day", ""].resets_at == NOW - NOW % 86_400_000 + 86_400_000
    assert [key for _, key in world.report(quota(RPM, per=(Per.AGENT,)), declared=2)] == [
        "team-a/a0000",
        "team-a/a0001",
    ]
    assert len(world.report(quota(RPM, per=(Per.AGENT,)), declared=50)) == MOST_COUNTERS


def test_used_and_held_are_told_apart_and_the_amount_is_the_one_in_force(world: World) -> None:
    parallel = Limit("parallel", Unit.CONCURRENT, 4, None)
    world.call(RPM, 3)
    world.call(RPM, 2, held=True)
    world.call(parallel, 1, held=True)
    found = world.report(quota(Limit("rpm", Unit.REQUESTS, 50, HOUR), parallel))
    assert (found["rpm", ""].used, found["rpm", ""].held, found["rpm", ""].amount) == (3, 2, 50)
    assert (found["parallel", ""].used, found["parallel", ""].held, found["parallel", ""].resets_at) == (0, 1, None)


def test_a_rolling_limit_resets_when_its_oldest_use_leaves_and_that_moment_stays(world: World) -> None:
    world.call(RPM, at=NOW)
    world.call(RPM, at=NOW + 20 * MINUTE)
    first = world.report(quota(RPM), at=NOW + 20 * MINUTE)["rpm", ""]
    assert first.resets_at == NOW + 61 * MINUTE
    assert world.report(quota(RPM), at=NOW + 40 * MINUTE)["rpm", ""] == first
    later = world.report(quota(RPM), at=NOW + 61 * MINUTE)["rpm", ""]
    assert (later.used, later.resets_at) == (1, NOW + 81 * MINUTE)


def test_what_was_counted_in_another_window_or_under_a_former_shape_is_not_told(world: World) -> None:
    daily = Limit("rpm", Unit.REQUESTS, 1_000, DAY)
    world.call(daily, 9)
    assert world.report(quota(daily))["rpm", ""].used == 9
    assert world.report(quota(daily), at=NOW + 2 * 86_400_000)["rpm", ""].used == 0
    assert world.report(quota(RPM))["rpm", ""].used == 0


def test_a_quota_that_is_gone_is_not_told(world: World) -> None:
    world.call(RPM)
    assert not world.report()


def short(limit: Limit, needed: int, shortness: Shortness = Shortness.SPENT) -> Short:
    counter = Counter("team-a", "quota", limit.name, limit.unit, limit.window or LIFETIME)
    return Short((Shortage(Demand(counter, limit.amount, 0), needed, 0, 0, shortness, None),))


@pytest.mark.parametrize(
    ("used", "refused", "spent"),
    [
        (995, None, False),
        (1_000, None, True),
        (995, short(RPM, 10), True),
        (980, short(RPM, 10), False),
        (995, short(RPM, 10, Shortness.HELD), False),
        (5, short(RPM, 2_000), False),
    ],
    ids=["nobody refused", "all used", "refused", "freed since", "only held", "a call larger than the limit"],
)
def test_a_limit_is_spent_while_the_smallest_call_that_it_refused_would_be_refused_again(
    world: World, used: int, refused: Short | None, spent: bool
) -> None:
    world.call(RPM, used)
    if refused is not None:
        world.shortfalls.note(refused)
    assert world.report(quota(RPM))["rpm", ""].spent is spent


def test_a_report_waits_for_no_writer(world: World) -> None:
    world.call(RPM)
    with world.ledger.batch():
        world.call(RPM)
        assert world.report(quota(RPM))["rpm", ""].used == 1
    assert world.report(quota(RPM))["rpm", ""].used == 2
