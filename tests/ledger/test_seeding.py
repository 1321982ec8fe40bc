"""A limit whose window, time zone or separation changes goes on from what it has counted. Every test: every store."""

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.builders import HOUR, MINUTE, NOON, TODAY, counter, facts
from tollway.deciding.rulebook import RuleBook
from tollway.ledger.port import (
    ALL_CALLS,
    CallFacts,
    Demand,
    Granted,
    JournalRow,
    Ledger,
    LedgerUnavailable,
    RowKind,
    Short,
    Sizes,
    Source,
)
from tollway.ledger.seeding import Seeding, Unseeded, counter_like
from tollway.ledger.units import LIFETIME, Amounts, Unit, Window, WindowKind
from tollway.pricing.table import PriceBook
from tollway.resources.models import AgentIdentity, AIQuota, Limit, Meta, Per, ResourceSet, Selector
from tollway_extauthz.stores.memory import MemoryLedger
from tollway_extauthz.stores.sqlite import SQLiteLedger

ANNA, BERT = (facts(f"ns/team-a/sa/{name}/agent/{name}") for name in ("anna", "bert"))
MONTH = Window(WindowKind.MONTH)
EACH_AGENT = ("Agent", "Namespace")


def limit(window: Window = TODAY, per: tuple[str, ...] = (), of: CallFacts = ANNA, amount: int = 1000) -> Demand:
    """Output tokens, as many as the size."""
    values = {"Agent": of.agent.rpartition("/")[2], "Namespace": "team-a", "Model": of.model, "Pod": of.pod}
    counted = replace(counter("tokens", window=window), per=tuple((key, values[key]) for key in per))
    return Demand(counted, amount, base=0, rate=1000)


def call(
    ledger: Ledger, name: str, demand: Demand, size: int, now: int = NOON, of: CallFacts = ANNA
) -> Granted | Short:
    return ledger.reserve(name, of, [demand], Sizes(size, size), now, now + HOUR)


def ended(ledger: Ledger, name: str, demand: Demand, size: int, now: int = NOON, of: CallFacts = ANNA) -> None:
    assert isinstance(call(ledger, name, demand, size, now, of), Granted)
    ledger.settle(name, Amounts(1, 0, size, 0), Source.PROVIDER, now)


def used(ledger: Ledger, like: Demand, now: int = NOON) -> dict[tuple[str, ...], tuple[int, int]]:
    """(used, held) of every counter of the same shape, by what it is separated by."""
    return {
        tuple(value for _, value in each.counter.per): (each.used, each.held)
        for each in ledger.counters(now)
        if each.counter.shape == like.counter.shape
    }


@pytest.mark.parametrize(
    "window",
    [MONTH, LIFETIME, Window(WindowKind.DAY, time_zone="Europe/Berlin"), Window(WindowKind.ROLLING, 5 * HOUR)],
    ids=["month", "lifetime", "another zone", "rolling"],
)
def test_another_window_goes_on_from_what_was_spent(ledger: Ledger, window: Window) -> None:
    ended(ledger, "a", limit(), 900)
    assert isinstance(call(ledger, "b", limit(window), 101), Short)
    assert isinstance(call(ledger, "c", limit(window), 100), Granted)
    assert used(ledger, limit(window)) == {(): (900, 100)}


def test_only_what_the_new_window_counts_is_taken_over(ledger: Ledger) -> None:
    month = limit(MONTH)
    ended(ledger, "last year", month, 1, NOON - 13 * HOUR)
    ended(ledger, "last night", month, 10, NOON - 11 * HOUR)
    ended(ledger, "a minute ago", month, 100, NOON - MINUTE)
    rolling = limit(Window(WindowKind.ROLLING, HOUR))
    call(ledger, "x", rolling, 0)
    assert used(ledger, rolling) == {(): (100, 0)}
    call(ledger, "y", limit(), 0)
    assert used(ledger, limit()) == {(): (110, 0)}
    call(ledger, "z", limit(LIFETIME), 0)
    assert used(ledger, limit(LIFETIME)) == {(): (111, 0)}


def test_a_shared_counter_falls_apart_into_those_of_each_agent(ledger: Ledger) -> None:
    ended(ledger, "a", limit(), 100, of=ANNA)
    ended(ledger, "b", limit(), 30, of=BERT)
    call(ledger, "c", limit(per=EACH_AGENT), 5)
    assert used(ledger, limit(per=EACH_AGENT)) == {("anna", "team-a"): (100, 5), ("bert", "team-a"): (30, 0)}


def test_counters_of_each_agent_flow_together_into_a_shared_one(ledger: Ledger) -> None:
    for agent, size in ((ANNA, 100), (BERT, 30)):
        ended(ledger, agent.agent, limit(per=EACH_AGENT, of=agent), size, of=agent)
    call(ledger, "c", limit(), 5)
    assert used(ledger, limit()) == {(): (130, 5)}


def test_a_call_that_names_no_pod_is_on_no_counter_per_pod(ledger: Ledger) -> None:
    in_a_pod = replace(ANNA, pod="uid-1")
    ended(ledger, "a", limit(), 100)
    ended(ledger, "b", limit(), 30, of=in_a_pod)
    call(ledger, "c", limit(per=("Pod",), of=in_a_pod), 0, of=in_a_pod)
    assert used(ledger, limit(per=("Pod",), of=in_a_pod)) == {("uid-1",): (30, 0)}


def test_a_call_in_flight_settles_on_its_old_counter_and_on_the_new_one(ledger: Ledger) -> None:
    call(ledger, "a", limit(), 400)
    assert isinstance(call(ledger, "b", limit(MONTH), 601), Short)
    assert used(ledger, limit(MONTH)) == {(): (0, 400)}
    ledger.settle("a", Amounts(1, 0, 150, 0), Source.METERED, NOON)
    ledger.settle("a", Amounts(1, 0, 160, 0), Source.PROVIDER, NOON)
    assert used(ledger, limit(MONTH)) == used(ledger, limit()) == {(): (160, 0)}


def test_a_call_in_flight_grows_only_into_what_the_new_limit_leaves(ledger: Ledger) -> None:
    call(ledger, "a", limit(), 400)
    call(ledger, "b", limit(MONTH, amount=500), 60)
    assert isinstance(ledger.extend("a", 441, 441, NOON), Short)
    assert isinstance(ledger.extend("a", 440, 440, NOON), Granted)


@pytest.mark.parametrize("over", [True, False], ids=["over", "still running"])
def test_what_an_old_call_took_lately_counts_in_a_rolling_window(ledger: Ledger, over: bool) -> None:
    rolling = limit(Window(WindowKind.ROLLING, MINUTE))
    call(ledger, "a", limit(Window(WindowKind.ROLLING, HOUR)), 100)
    ledger.extend("a", 130, 130, NOON + 10 * MINUTE)
    if over:
        ledger.settle("a", Amounts(1, 0, 120, 0), Source.PROVIDER, NOON + 10 * MINUTE)
    call(ledger, "b", rolling, 0, NOON + 10 * MINUTE)
    assert used(ledger, rolling, NOON + 10 * MINUTE) == {(): (20, 0) if over else (0, 30)}


def test_an_old_call_that_still_runs_grows_under_the_new_limit(ledger: Ledger) -> None:
    rolling = limit(Window(WindowKind.ROLLING, MINUTE), amount=50)
    call(ledger, "a", limit(), 100)
    call(ledger, "b", rolling, 20, NOON + 10 * MINUTE)
    assert isinstance(ledger.extend("a", 131, 131, NOON + 10 * MINUTE), Short)
    assert isinstance(ledger.extend("a", 130, 130, NOON + 10 * MINUTE), Granted)
    assert used(ledger, rolling, NOON + 10 * MINUTE) == {(): (0, 50)}


def test_a_seeding_that_finds_nothing_is_a_row_too_so_that_time_never_goes_back(ledger: Ledger) -> None:
    ended(ledger, "a", limit(), 900)
    rolling = limit(Window(WindowKind.ROLLING, MINUTE))
    assert isinstance(call(ledger, "b", rolling, 2000, NOON + HOUR), Short)
    assert [(row.at, row.entries) for row in ledger.journal() if row.kind is RowKind.SEED] == [(NOON + HOUR, ())]
    call(ledger, "c", rolling, 10, NOON)
    assert [row.at for row in ledger.journal()][-1] == NOON + HOUR


def test_a_late_correction_reaches_the_new_counter(ledger: Ledger) -> None:
    call(ledger, "a", limit(), 400)
    ledger.expire(NOON + HOUR)
    call(ledger, "b", limit(MONTH), 0)
    assert used(ledger, limit(MONTH)) == {(): (400, 0)}
    ledger.settle("a", Amounts(1, 0, 150, 0), Source.PROVIDER, NOON + HOUR)
    assert used(ledger, limit(MONTH)) == {(): (150, 0)}


def test_changing_to_and_fro_counts_every_call_once(ledger: Ledger) -> None:
    for n in range(12):
        ended(ledger, f"{n}", limit((TODAY, MONTH, LIFETIME)[n % 3]), 10)
    call(ledger, "open", limit(MONTH), 7)
    for n in range(6):
        call(ledger, f"more {n}", limit((TODAY, MONTH, LIFETIME)[n % 3]), 0)
    for window in (TODAY, MONTH, LIFETIME):
        assert used(ledger, limit(window)) == {(): (120, 7)}


def test_the_same_limit_made_again_goes_on_where_it_was(ledger: Ledger) -> None:
    ended(ledger, "a", limit(amount=1000), 900)
    assert isinstance(call(ledger, "b", limit(amount=950), 51), Short)
    assert [row.kind for row in ledger.journal()] == [RowKind.GRANT, RowKind.SETTLE]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"limit": "more-tokens"}, id="limit"),
        pytest.param({"quota": "another"}, id="quota"),
        pytest.param({"namespace": "team-b"}, id="namespace"),
        pytest.param({"unit": Unit.INPUT_TOKENS}, id="unit"),
    ],
)
def test_another_limit_begins_at_nothing(ledger: Ledger, other: dict[str, str]) -> None:
    ended(ledger, "a", limit(), 900)
    new = limit(MONTH)
    new = replace(new, counter=replace(new.counter, **other))
    assert isinstance(call(ledger, "b", new, 1000), Granted)


def test_a_slot_that_is_taken_stays_taken_when_slots_are_counted_by_agent(ledger: Ledger) -> None:
    shared = Demand(counter("parallel", Unit.CONCURRENT), 2, base=1000)
    shared = replace(shared, counter=replace(shared.counter, per=()))
    own = replace(shared, limit=1, counter=replace(shared.counter, per=(("Agent", "anna"), ("Namespace", "team-a"))))
    ended(ledger, "ended", shared, 0)
    call(ledger, "a", shared, 0)
    assert isinstance(call(ledger, "b", own, 0), Short)
    ledger.settle("a", Amounts(), Source.METERED, NOON)
    assert isinstance(call(ledger, "c", own, 0), Granted)


def test_a_seed_is_a_row_that_says_which_limit_and_belongs_to_no_call(ledger: Ledger) -> None:
    ended(ledger, "a", limit(), 900)
    call(ledger, "b", limit(MONTH), 50)
    (seed,) = [row for row in ledger.journal(ALL_CALLS) if row.kind is RowKind.SEED]
    (entry,) = seed.entries
    assert (entry.counter, entry.held, entry.used, seed.call_id) == (limit(MONTH).counter, 0, 900, "")
    assert "limit tokens of AIQuota team-a/research" in seed.message


def test_a_limit_of_thousands_of_agents_is_seeded_in_rows_of_bounded_length(ledger: Ledger) -> None:
    shared = limit(amount=10**6)
    for n in range(1_100):
        agent = facts(f"ns/team-a/sa/x/agent/a{n}")
        ended(ledger, f"{n}", shared, 1, of=agent)
    call(ledger, "x", limit(per=EACH_AGENT), 0)
    seeds = [row for row in ledger.journal() if row.kind is RowKind.SEED]
    assert [len(row.entries) for row in seeds] == [1000, 100]
    assert len(used(ledger, limit(per=EACH_AGENT))) == 1_100


def test_two_processes_with_different_rules_lose_no_call(path: Path) -> None:
    old, new = SQLiteLedger(path), SQLiteLedger(path)
    for n in range(5):
        ended(old, f"old {n}", limit(), 10)
        ended(new, f"new {n}", limit(MONTH), 1)
    call(old, "last", limit(), 0)
    assert used(old, limit()) == used(old, limit(MONTH)) == {(): (55, 0)}
    assert old.verify() == []
    old.close()
    new.close()


class Slow(MemoryLedger):
    """One whose journal takes as long to read as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.reading, self.go_on = threading.Event(), threading.Event()

    def _rows_for(self, seeding: Seeding, since: int) -> Iterable[JournalRow]:
        self.reading.set()
        self.go_on.wait()
        return super()._rows_for(seeding, since)


def test_while_a_limit_is_recounted_its_calls_are_not_kept_and_others_go_on() -> None:
    ledger = Slow()
    ended(ledger, "a", limit(), 900)
    first = threading.Thread(target=call, args=(ledger, "b", limit(MONTH), 10))
    first.start()
    ledger.reading.wait()
    ended(ledger, "meanwhile", replace(limit(), counter=counter("another")), 5)
    ended(ledger, "of old rules", limit(), 20)
    with pytest.raises(LedgerUnavailable, match="Limit tokens of AIQuota team-a/research was changed"):
        call(ledger, "c", limit(MONTH), 10)
    ledger.go_on.set()
    first.join()
    assert used(ledger, limit(MONTH)) == {(): (920, 10)}


def test_a_seeding_that_is_undone_can_be_done_again() -> None:
    ledger = MemoryLedger()
    ended(ledger, "a", limit(), 900)
    seeding = Seeding(Unseeded(limit(MONTH).counter, 1000, 0, NOON))
    rows = list(ledger.journal())
    undone = seeding.copy()
    for row in rows:
        undone.take(row)
    assert next(seeding.rows(NOON)).entries == ()
    for row in [*rows, *rows]:
        seeding.take(row)
    assert [entry.used for entry in next(seeding.rows(NOON)).entries] == [900]


def test_seeding_counts_a_call_where_the_rules_would() -> None:
    meta = Meta("everything", "team-a")
    quota = AIQuota(meta, (Limit("tokens", Unit.TOKENS, 1, TODAY),), per=tuple(Per))
    agent = AgentIdentity(Meta("anna", "team-a"), Selector({"app": "anna"}), service_account="reader")
    book = RuleBook(ResourceSet(agents=(agent,), quotas=(quota,)), PriceBook("", "", {}))
    caller = replace(book.caller_of(agent), pod="uid-1")
    (cover,) = book.covers(caller, "openai", "gpt-5")
    told = replace(facts(model="gpt-5"), agent=caller.spiffe_id, pod="uid-1")
    assert counter_like(cover.counter, told) == cover.counter


def test_an_agent_that_is_no_spiffe_id_of_ours_is_on_no_counter() -> None:
    assert counter_like(limit(per=EACH_AGENT).counter, facts("somebody")) is None
    assert counter_like(limit(per=EACH_AGENT).counter, replace(ANNA, agent="anna")) is None


def test_a_day_of_another_zone_begins_where_that_day_began(ledger: Ledger) -> None:
    late = int(datetime(2026, 3, 28, 23, 30, tzinfo=UTC).timestamp()) * 1000
    berlin = limit(Window(WindowKind.DAY, time_zone="Europe/Berlin"))
    ended(ledger, "a", limit(), 100, late - HOUR)
    ended(ledger, "b", limit(), 30, late)
    call(ledger, "c", berlin, 0, late + MINUTE)
    assert used(ledger, berlin, late + MINUTE) == {(): (30, 0)}
