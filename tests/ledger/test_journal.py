"""The journal tells everything, and everything can be recomputed from it. Every test runs against every store."""

from collections.abc import Sequence

from ledger.builders import HOUR, MINUTE, NOON, TODAY, facts, grant, requests, tokens
from tollway.ledger.port import ALL_CALLS, CallFilter, Entry, Ledger, Refused, RowKind, Sizes, Source
from tollway.ledger.units import Amounts
from tollway_extauthz.stores.memory import MemoryLedger
from tollway_extauthz.stores.sqlite import SQLiteLedger


def kinds(ledger: Ledger, calls: CallFilter = ALL_CALLS) -> Sequence[tuple[str, RowKind]]:
    return [(row.call_id, row.kind) for row in ledger.journal(calls)]


def test_every_event_is_a_row_with_what_it_changed(ledger: Ledger) -> None:
    limit = tokens(1000, TODAY)
    grant(ledger, "a", limit, most=50)
    ledger.extend("a", 80, 80, NOON + 1)
    ledger.lower("a", 60, NOON + 2)
    ledger.settle("a", Amounts(1, 10, 40, 5), Source.METERED, NOON + 3)
    ledger.settle("a", Amounts(1, 10, 45, 5), Source.PROVIDER, NOON + 4)
    rows = list(ledger.journal())
    bucket = NOON - 12 * HOUR
    changes = [(50, 0), (30, 0), (-20, 0), (-60, 40), (0, 5)]
    assert [row.entries for row in rows] == [(Entry(limit.counter, bucket, *change, 1000),) for change in changes]
    assert [row.kind.value for row in rows] == ["grant", "extend", "lower", "settle", "correct"]
    assert [row.size for row in rows] == [50, 80, 60, 60, 60]
    assert [row.at - NOON for row in rows] == [0, 1, 2, 3, 4]
    assert [row.source for row in rows] == [None, None, None, Source.METERED, Source.PROVIDER]
    assert rows[4].amounts == Amounts(1, 10, 45, 5)
    assert [row.facts for row in rows] == [facts(), None, None, None, None]
    assert [row.seq for row in rows] == sorted({row.seq for row in rows})


def test_all_facts_of_a_call_come_back(ledger: Ledger) -> None:
    told = facts(
        stream=True, pod="pod-1", price='{"input": 1}', answers=3, input_rate=7, task="t", on_behalf_of="alice",
        parent_call="p", policy_digest="d", checks=(("identity", "valid"), ("limits", 'said "yes"')),
    )  # fmt: skip
    ledger.reserve("a", told, [tokens(100)], Sizes(1, 1), NOON, NOON + MINUTE)
    assert next(iter(ledger.journal())).facts == told
    hold = ledger.hold("a")
    assert hold is not None
    assert hold.facts == told


def test_what_changes_nothing_leaves_no_row(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=10)
    ledger.reserve("b", facts(), [tokens(100)], Sizes(100, 100), NOON, NOON + MINUTE)
    ledger.extend("a", 5, 10, NOON)
    ledger.lower("a", 20, NOON)
    ledger.renew("a", NOON + HOUR)
    ledger.settle("b", Amounts(), Source.PROVIDER, NOON)
    ledger.expire(NOON)
    assert kinds(ledger) == [("a", RowKind.GRANT)]


def test_a_refusal_is_a_row_of_bounded_size(ledger: Ledger) -> None:
    ledger.record_refusal(Refused("r", facts(model="m" * 10**6), "model.unknown", "n" * 10**6), NOON)
    (row,) = ledger.journal()
    assert (row.kind, row.call_id, row.reason, row.entries) == (RowKind.REFUSE, "r", "model.unknown", ())
    assert row.facts is not None
    assert len(row.message) + len(row.facts.model) <= 2048


def test_rows_are_found_by_call_by_agent_and_by_time(ledger: Ledger) -> None:
    for n, agent in enumerate(("x", "y", "x")):
        ledger.reserve(f"c{n}", facts(agent), [tokens(100)], Sizes(1, 1), NOON + n, NOON + MINUTE)
        ledger.settle(f"c{n}", Amounts(), Source.PROVIDER, NOON + n + 10)
    assert kinds(ledger, CallFilter(call_id="c1")) == [("c1", RowKind.GRANT), ("c1", RowKind.SETTLE)]
    assert {call for call, _ in kinds(ledger, CallFilter(agent="spiffe://td/x"))} == {"c0", "c2"}
    for since in (0, NOON, NOON + 10, NOON + 11, NOON + 12, NOON + 13):
        expected = [row for row in ledger.journal() if row.at >= since]
        assert list(ledger.journal(CallFilter(since=since))) == expected
    assert kinds(ledger, CallFilter(agent="nobody")) == []


def test_a_long_journal_is_read_whole_and_in_order(ledger: Ledger) -> None:
    for n in range(1234):
        ledger.record_refusal(Refused(f"{n}", facts(), "r", ""), NOON + n)
    assert [row.call_id for row in ledger.journal()] == [f"{n}" for n in range(1234)]
    assert len(list(ledger.journal(CallFilter(since=NOON + 1000)))) == 234


def test_counters_are_listed_in_order_with_when_they_reset(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, name="z"), requests(5, name="b"), tokens(100, TODAY, name="c"), most=3)
    ledger.settle("a", Amounts(1, 0, 2, 0), Source.PROVIDER, NOON)
    states = ledger.counters(NOON)
    assert [(each.counter.limit, each.used, each.held, each.limit) for each in states] == [
        ("b", 1, 0, 5),
        ("c", 2, 0, 100),
        ("z", 2, 0, 100),
    ]
    assert [each.resets_at for each in states] == [NOON + 61_000, NOON + 12 * HOUR, None]


def test_a_counter_with_nothing_in_its_window_is_not_listed(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, TODAY), most=3)
    assert ledger.counters(NOON + 24 * HOUR) == []


def test_the_latest_answers_that_providers_counted_are_learned_in_order(
    ledger: MemoryLedger | SQLiteLedger,
) -> None:
    for n, source in enumerate((Source.PROVIDER, Source.METERED, Source.PROVIDER, Source.PROVIDER)):
        grant(ledger, f"c{n}", tokens(1000), most=10)
        ledger.settle(f"c{n}", Amounts(output_tokens=n), source, NOON)
    ledger.settle("c1", Amounts(output_tokens=7), Source.PROVIDER, NOON)
    assert list(ledger.learned(3)) == [("spiffe://td/researcher", "gpt-5-mini", n) for n in (2, 3, 7)]
    assert list(ledger.learned(0)) == []


def test_a_checkpoint_is_what_was_last_set(ledger: MemoryLedger | SQLiteLedger) -> None:
    assert ledger.checkpoint("access-log") is None
    ledger.set_checkpoint("access-log", "1 2")
    ledger.set_checkpoint("access-log", "1 3")
    assert ledger.checkpoint("access-log") == "1 3"
