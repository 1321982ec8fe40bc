"""A seed is a row of many calls: whoever lists calls passes it over. Every test runs against every store."""

from ledger.builders import NOON, TODAY, facts
from ledger.test_batches import MONTH, begin, settle, shared
from tollway.ledger.port import CallFilter, Ledger, Refusals, Refused, RowKind
from tollway_extauthz.reports import explanation, summaries, totals
from tollway_extauthz.stores.memory import MemoryLedger
from tollway_extauthz.stores.sqlite import SQLiteLedger

AGENT = facts("ns/team-a/sa/anna/agent/anna").agent


def seeded(ledger: Ledger) -> None:
    """Two calls, a limit that is counted another way between them, and a refusal that names no call either."""
    begin(ledger, "a", shared(100, TODAY), 60)
    settle(ledger, "a", 50)
    begin(ledger, "b", shared(100, MONTH), 30)
    ledger.record_refusal(Refused("", facts("ns/team-a/sa/anna/agent/anna"), "identity.missing", "No."), NOON)
    assert [row.kind for row in ledger.journal()].count(RowKind.SEED) == 1


def test_a_list_of_calls_and_its_sums_know_no_seed(ledger: Ledger) -> None:
    seeded(ledger)
    for which in (CallFilter(), CallFilter(since=NOON), CallFilter(agent=AGENT)):
        calls = summaries(ledger.journal(which))
        assert [(call["id"], call["outcome"]) for call in calls] == [("a", "settled"), ("b", "open"), ("", "refused")]
        assert totals(calls) == {"calls": 3, "refused": 1, "input_tokens": 0, "output_tokens": 50, "cost": 0}


def test_a_seed_is_neither_of_an_agent_nor_of_a_call(ledger: Ledger) -> None:
    seeded(ledger)
    for which in (CallFilter(agent=AGENT), CallFilter(call_id=""), CallFilter(agent=AGENT, call_id="")):
        rows = list(ledger.journal(which))
        assert RowKind.SEED not in {row.kind for row in rows}
        assert explanation(rows)["id"] in ("a", "")


def test_what_is_going_on_counts_no_seed(ledger: Ledger) -> None:
    seeded(ledger)
    found = ledger.activity(0)
    (spending,) = found.spending
    assert (spending.agent, spending.ended, spending.open, spending.refused) == (AGENT, 1, 1, 1)
    assert found.refusals == (Refusals(AGENT, "identity.missing", 1),)
    assert found.latest == NOON


def test_a_seed_is_nothing_to_learn_from(ledger: MemoryLedger | SQLiteLedger) -> None:
    seeded(ledger)
    assert [output for _, _, output in ledger.learned(10)] == [50]
