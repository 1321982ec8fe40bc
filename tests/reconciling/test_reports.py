"""What the gateway's replicas report, and what becomes of it in status: how much, how often, and how it is said."""

from typing import Any

import pytest

from reconciling.builders import NOW, TEAM, World, conditions, only
from tollway.ledger.units import Unit
from tollway.pricing.data import default_book
from tollway.usage_report import QuotaUsage, Tight, UsageReport, decimal, key_of, tightest
from tollway_operator.cluster import kinds
from tollway_operator.reconciling.actions import Key, Plan, Say, Topic, WriteStatus
from tollway_operator.reconciling.plan import plan
from tollway_operator.reconciling.reporting import (
    MOST_AT_ONCE,
    TOLD_EVERY_MS,
    USAGE_EVERY_MS,
    Counted,
    Pace,
    Report,
    combined,
)

SECOND = 1_000
QUOTA = (TEAM, "quota")
Json = Any


def tight(used: int = 0, key: str = "", limit: str = "rpm", amount: int = 60, **more: Any) -> Tight:
    return Tight(limit, key, Unit.REQUESTS, amount, used, **{"held": 0, **more})


def told(*counters: Tight, providers: tuple[str, ...] = ("openai",), name: str = "quota") -> UsageReport:
    return UsageReport(1, providers, (QuotaUsage(TEAM, name, counters),))


def reported(*counters: Tight, **more: Any) -> Report:
    return combined([told(*counters, **more)], 0)


# --- the vocabulary ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "unit", "text"),
    [
        (0, Unit.COST, "0.00"),
        (25_000_000_000, Unit.COST, "25.00"),
        (1_234_500_000, Unit.COST, "1.2345"),
        (1, Unit.COST, "0.000000001"),
        (9_007_199_254_740_993, Unit.TOKENS, "9007199254740993"),
    ],
)
def test_amounts_are_exact_decimals(amount: int, unit: Unit, text: str) -> None:
    assert decimal(amount, unit) == text


def test_a_counter_is_named_by_its_namespace_first() -> None:
    assert key_of([("Agent", "researcher"), ("Model", "gpt-5"), ("Namespace", "team-a")]) == "team-a/researcher/gpt-5"
    assert key_of([]) == ""


def test_the_tightest_are_those_that_are_spent_and_then_by_what_is_used_and_held_of_the_amount() -> None:
    found = tightest(
        [
            tight(30, "half"),
            tight(1, "spent", spent=True),
            tight(0, "nothing allowed", amount=0),
            tight(20, "held", held=15),
            tight(59, "large", amount=6_000),
        ]
    )
    assert [each.key for each in found] == ["spent", "nothing allowed", "held", "half", "large"]
    assert len(tightest(tight(n, str(n)) for n in range(50))) == 20


# --- several replicas ----------------------------------------------------------------------------------------------


def test_a_provider_is_served_and_a_quota_counted_only_where_every_replica_does() -> None:
    one = UsageReport(1, ("openai", "new"), (QuotaUsage(TEAM, "quota"), QuotaUsage(TEAM, "new")))
    other = UsageReport(1, ("openai",), (QuotaUsage(TEAM, "quota"),))
    found = combined([one, other], 0)
    assert (found.providers, found.quotas) == ({"openai"}, {QUOTA})
    assert combined([one], 0).quotas == {QUOTA, (TEAM, "new")}


def test_of_a_shared_counter_the_tightest_reading_is_shown_once() -> None:
    found = combined([told(tight(3, "a"), tight(9, "b")), told(tight(7, "a"), tight(8, "b"))], 0)
    assert [(each.key, each.used) for each in found.usage[QUOTA]] == [("b", "9"), ("a", "7")]


def test_where_nobody_answers_nothing_is_known() -> None:
    found = combined([], 2)
    assert (found.providers, found.silent, found.was_asked) == (None, 2, True)
    assert not Report().was_asked


# --- how often -----------------------------------------------------------------------------------------------------


def used(report: Report, name: str = "quota") -> str:
    return report.usage[TEAM, name][0].used


def test_usage_of_a_quota_changes_at_most_every_thirty_seconds() -> None:
    pace = Pace()
    assert used(pace.take(reported(tight(1)), NOW)) == "1"
    assert used(pace.take(reported(tight(2)), NOW + 10 * SECOND)) == "1"
    assert used(pace.take(reported(tight(3)), NOW + USAGE_EVERY_MS - 1)) == "1"
    assert used(pace.take(reported(tight(4)), NOW + USAGE_EVERY_MS)) == "4"
    assert used(pace.take(reported(tight(5)), NOW + USAGE_EVERY_MS + 1)) == "4"


@pytest.mark.parametrize(
    "after",
    [tight(60, spent=True), tight(2, amount=120)],
    ids=["a limit is spent", "an amount was changed"],
)
def test_what_a_person_waits_for_is_shown_at_once(after: Tight) -> None:
    pace = Pace()
    pace.take(reported(tight(1)), NOW)
    assert used(pace.take(reported(after), NOW + 1)) == str(after.used)
    assert used(pace.take(reported(tight(1)), NOW + 2)) == "1"


def test_thousands_of_quotas_change_a_hundred_at_a_time_and_every_one_in_its_turn() -> None:
    pace = Pace()
    count = 4 * MOST_AT_ONCE

    def all_told(used: int) -> Report:
        quotas = tuple(QuotaUsage(TEAM, f"q{n:04}", (tight(used),)) for n in range(count))
        return combined([UsageReport(1, (), quotas)], 0)

    shown: dict[Any, Any] = {}
    for turn in range(8):
        now = pace.take(all_told(turn), NOW + turn * 10 * SECOND).usage
        changed = [name for name in now if shown.get(name) != now[name]]
        assert len(changed) == MOST_AT_ONCE
        shown = dict(now)
        if turn == 3:
            assert len(shown) == count
    assert {int(counters[0].used) for counters in shown.values()} == set(range(4, 8))


def test_a_spent_limit_is_shown_before_usage_that_waits() -> None:
    pace = Pace()
    quotas = [f"q{n:04}" for n in range(2 * MOST_AT_ONCE)]

    def all_told(used: int, spent: str = "") -> Report:
        usages = tuple(QuotaUsage(TEAM, name, (tight(used, spent=name == spent),)) for name in quotas)
        return combined([UsageReport(1, (), usages)], 0)

    pace.take(all_told(1), NOW)
    pace.take(all_told(1), NOW)
    later = pace.take(all_told(2, quotas[-1]), NOW + USAGE_EVERY_MS)
    assert later.usage[TEAM, quotas[-1]][0].spent


def test_a_quota_that_is_gone_is_forgotten_and_silence_forgets_nothing() -> None:
    pace = Pace()
    pace.take(reported(tight(1)), NOW)
    assert used(pace.take(combined([], 1), NOW + 1)) == "1"
    assert not pace.take(combined([UsageReport(2, ())], 0), NOW + 2).usage


def test_it_is_known_since_when_replicas_are_silent_and_since_when_they_are_not() -> None:
    pace, silent = Pace(), combined([], 1)
    reports = [reported(tight(1)), reported(tight(2)), silent, silent, combined([told()], 1), reported(tight(3))]
    since = [pace.take(report, NOW + turn).since - NOW for turn, report in enumerate(reports)]
    assert since == [0, 0, 2, 2, 4, 5]


# --- what status says ----------------------------------------------------------------------------------------------


def planned(world: World, topic: Topic, report: Report, now: int = NOW) -> Plan:
    return plan(Key(topic), world.snapshot(report=report), default_book(), now)


def written(plan: Plan, name: str = "quota") -> Json:
    found = [each.status for each in only(plan, WriteStatus) if each.me.name == name]
    return found[0] if found else None


def with_quota(status: Json = None, generation: int = 1, **spec: Json) -> World:
    world = World()
    limits = [{"name": "rpm", "requests": 60, "window": "1m"}]
    meta = {"generation": generation}
    world.put(kinds.AI_QUOTA, "quota", spec={"limits": limits, **spec}, status=status or {}, metadata=meta)
    return world


def with_provider(status: Json = None, generation: int = 1) -> World:
    world = World()
    spec = {"type": "OpenAI", "endpoint": "http://127.0.0.1:1", "allowPlaintext": True}
    world.put(kinds.AI_PROVIDER, "openai", "", spec=spec, status=status or {}, metadata={"generation": generation})
    return world


def test_a_quota_shows_its_counters_and_whether_one_is_spent() -> None:
    spent = tight(60, f"{TEAM}/researcher", resets_at=NOW + 60 * SECOND, spent=True)
    found = written(planned(with_quota(), Topic.QUOTAS, reported(tight(3, f"{TEAM}/writer"), spent)))
    assert found["limits"] == [
        {
            "name": "rpm",
            "key": f"{TEAM}/researcher",
            "limit": "60",
            "used": "60",
            "held": "0",
            "resetsAt": "2027-01-15T08:01:00Z",
        },
        {"name": "rpm", "key": f"{TEAM}/writer", "limit": "60", "used": "3", "held": "0"},
    ]
    assert conditions(found)["Exceeded"] == ("True", "Spent")
    assert conditions(found)["Enforced"] == ("True", "Enforced")


def test_what_is_only_held_is_not_exceeded() -> None:
    found = written(planned(with_quota(), Topic.QUOTAS, reported(tight(0, held=60))))
    assert conditions(found)["Exceeded"] == ("False", "WithinLimits")


def test_an_event_tells_when_a_limit_is_spent_and_the_same_report_writes_nothing() -> None:
    calm = written(planned(with_quota(), Topic.QUOTAS, reported(tight(1))))
    spent = reported(tight(60, spent=True))
    plan = planned(with_quota(calm), Topic.QUOTAS, spent, NOW + 5)
    [event] = only(plan, Say)
    assert (event.type, event.reason) == ("Warning", "Spent")
    assert not planned(with_quota(written(plan)), Topic.QUOTAS, spent, NOW + 9_000).chains


@pytest.mark.parametrize(
    ("report", "enforced"),
    [
        (Report(), ("Unknown", "NotReported")),
        (Report(frozenset()), ("False", "Pending")),
        (combined([told()], 1), ("Unknown", "GatewaySilent")),
        (combined([], 1), ("Unknown", "GatewaySilent")),
        (reported(), ("True", "Enforced")),
    ],
    ids=["not asked", "not counted", "a replica is silent", "all are silent", "counted"],
)
def test_a_quota_is_enforced_when_every_replica_counts_by_it(report: Report, enforced: tuple[str, str]) -> None:
    assert conditions(written(planned(with_quota(), Topic.QUOTAS, report)))["Enforced"] == enforced


def test_that_no_gateway_answers_is_said_of_thousands_of_quotas_one_after_the_other() -> None:
    """And so is that it answers again."""
    world, count = World(), 300
    names = [f"q{n:03}" for n in range(count)]

    def put(name: str, status: Json) -> None:
        limits = [{"name": "rpm", "requests": 60, "window": "1m"}]
        world.put(kinds.AI_QUOTA, name, spec={"limits": limits}, status=status)

    def written_after(report: Report, turns: int) -> int:
        found = planned(world, Topic.QUOTAS, report, NOW + turns * TOLD_EVERY_MS)
        assert (found.again_at is None) is (turns >= count)
        changed = only(found, WriteStatus)
        for each in changed:
            put(each.me.name, each.status)
        return len(changed)

    for name in names:
        put(name, {})
    counted = frozenset((TEAM, name) for name in names)
    well, silent = Report(frozenset(), counted, since=NOW), Report(silent=1, since=NOW)
    assert written_after(well, 0) == count, "what was never said is said at once"
    for report in (silent, well):
        first, *others = [written_after(report, turns) for turns in (count // 3, 2 * count // 3, count, count)]
        assert count // 6 < first < count // 2
        assert first + sum(others) == count
        assert others[-1] == 0


@pytest.mark.parametrize(
    ("report", "programmed"),
    [
        (Report(), ("Unknown", "NotReported")),
        (combined([told(providers=())], 0), ("False", "Pending")),
        (combined([told(providers=())], 1), ("False", "Pending")),
        (combined([told()], 1), ("Unknown", "GatewaySilent")),
        (combined([], 1), ("Unknown", "GatewaySilent")),
        (combined([told(), told()], 0), ("True", "Programmed")),
    ],
    ids=["not asked", "not run", "not run, and one silent", "a replica is silent", "all are silent", "run by all"],
)
def test_a_provider_is_programmed_when_every_replica_runs_it(report: Report, programmed: tuple[str, str]) -> None:
    found = written(planned(with_provider(), Topic.PROVIDERS, report), "openai")
    assert conditions(found)["Programmed"] == programmed


def test_an_operator_that_starts_anew_writes_nothing_before_it_has_asked() -> None:
    quota = written(planned(with_quota(), Topic.QUOTAS, reported(tight(60, spent=True))))
    assert not planned(with_quota(quota), Topic.QUOTAS, Report(), NOW + SECOND).chains
    provider = written(planned(with_provider(), Topic.PROVIDERS, reported()), "openai")
    assert not planned(with_provider(provider), Topic.PROVIDERS, Report(), NOW + SECOND).chains


def test_what_kept_a_provider_from_being_served_is_not_said_after_it_is_over() -> None:
    before = {"type": "Programmed", "status": "False", "reason": "NotServed", "message": "no key"}
    moment = {"observedGeneration": 1, "lastTransitionTime": "2026-11-01T00:00:00Z"}
    found = written(planned(with_provider({"conditions": [before | moment]}), Topic.PROVIDERS, Report()), "openai")
    assert conditions(found)["Programmed"] == ("Unknown", "NotReported")


def test_what_was_said_of_another_generation_is_not_kept() -> None:
    quota = written(planned(with_quota(), Topic.QUOTAS, reported(tight(60, spent=True))))
    found = conditions(written(planned(with_quota(quota, generation=2), Topic.QUOTAS, Report())))
    assert (found["Enforced"][0], found["Exceeded"][0]) == ("Unknown", "Unknown")


def test_usage_that_waits_for_its_turn_keeps_what_status_says() -> None:
    quota = written(planned(with_quota(), Topic.QUOTAS, reported(tight(7))))
    waiting = Report(frozenset({"openai"}), frozenset({QUOTA}))
    assert not planned(with_quota(quota), Topic.QUOTAS, waiting, NOW + SECOND).chains
    assert "limits" not in written(planned(with_quota(quota), Topic.QUOTAS, Report(frozenset()), NOW + SECOND))


def test_a_shadow_quota_shows_what_it_would_refuse_and_is_not_enforced() -> None:
    found = written(planned(with_quota(mode="Shadow"), Topic.QUOTAS, reported(tight(60, spent=True))))
    assert conditions(found)["Enforced"] == ("False", "Shadow")
    assert conditions(found)["Exceeded"] == ("True", "Spent")


def test_a_key_that_is_longer_than_status_takes_is_cut() -> None:
    [counted] = reported(tight(1, "x" * 3_000)).usage[QUOTA]
    assert isinstance(counted, Counted)
    assert len(counted.key) == 1_024
