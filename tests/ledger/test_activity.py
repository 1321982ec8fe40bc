"""What is going on: who spends what on which model, since a moment and right now."""

from ledger.builders import HOUR, MINUTE, NOON, facts, tokens
from tollway.ledger.port import Ledger, Refusals, Refused, Sizes, Source, Spending
from tollway.ledger.units import Amounts

BY_ANNA = ("spiffe://td/anna", "team-a", "openai", "gpt-5-mini")


def begin(ledger: Ledger, hold_id: str, agent: str = "anna", at: int = NOON, **more: object) -> None:
    ledger.reserve(hold_id, facts(agent, **more), [tokens(1_000_000)], Sizes(10, 10), at, at + MINUTE)


def end(ledger: Ledger, hold_id: str, cost: int, at: int = NOON, source: Source = Source.PROVIDER) -> None:
    ledger.settle(hold_id, Amounts(1, 30, 10, cost), source, at)


def test_an_empty_ledger_has_no_activity(ledger: Ledger) -> None:
    found = ledger.activity(0)
    assert (found.latest, found.first_deadline, found.spending) == (None, None, ())


def test_calls_are_added_up_by_agent_provider_and_model(ledger: Ledger) -> None:
    for number in range(3):
        begin(ledger, f"a{number}")
        end(ledger, f"a{number}", 7)
    begin(ledger, "other model", model="gpt-5")
    end(ledger, "other model", 100)
    begin(ledger, "other agent", "zoe")
    end(ledger, "other agent", 1000)
    found = ledger.activity(0).spending
    assert [(each.agent[-4:], each.model, each.ended, each.amounts.cost) for each in found] == [
        ("anna", "gpt-5", 1, 100),
        ("anna", "gpt-5-mini", 3, 21),
        ("/zoe", "gpt-5-mini", 1, 1000),
    ]
    assert found[1].amounts == Amounts(3, 90, 30, 21)


def test_what_ended_before_the_moment_does_not_count_and_what_began_before_it_does(ledger: Ledger) -> None:
    begin(ledger, "old")
    begin(ledger, "long")
    end(ledger, "old", 5)
    end(ledger, "long", 50, at=NOON + MINUTE)
    assert [each.amounts.cost for each in ledger.activity(NOON + 1).spending] == [50]
    assert [each.amounts.cost for each in ledger.activity(NOON).spending] == [55]
    assert ledger.activity(NOON + HOUR).spending == ()


def test_an_open_call_is_counted_whenever_it_began_with_its_ceiling(ledger: Ledger) -> None:
    begin(ledger, "open")
    found = ledger.activity(NOON + HOUR)
    ceiling = facts("anna").ceiling(10).cost
    assert found.spending == (Spending(*BY_ANNA, open=1, held=ceiling),)
    assert (found.latest, found.first_deadline) == (NOON, NOON + MINUTE)
    end(ledger, "open", 1)
    assert ledger.activity(0).first_deadline is None


def test_a_correction_changes_what_the_call_cost_and_is_no_second_call(ledger: Ledger) -> None:
    begin(ledger, "a")
    end(ledger, "a", 90, source=Source.CEILING)
    end(ledger, "a", 9)
    (one,) = ledger.activity(0).spending
    assert (one.ended, one.amounts.cost) == (1, 9)


def test_refusals_and_expired_holds_are_counted(ledger: Ledger) -> None:
    begin(ledger, "left alone")
    ledger.expire(NOON + HOUR)
    ledger.record_refusal(Refused("no", facts("anna"), "quota.none", "No."), NOON + HOUR)
    (one,) = ledger.activity(NOON + HOUR).spending
    assert (one.ended, one.refused, one.open) == (1, 1, 0)
    assert one.amounts == facts("anna").ceiling(10)
    assert ledger.activity(NOON + HOUR).refusals == (Refusals("spiffe://td/anna", "quota.none", 1),)
    assert ledger.activity(NOON + 2 * HOUR).refusals == ()


def test_counters_can_be_asked_for_by_name(ledger: Ledger) -> None:
    wanted, other = tokens(100, name="wanted"), tokens(100, name="other")
    ledger.reserve("a", facts(), [wanted, other], Sizes(10, 10), NOON, NOON + MINUTE)
    unknown = tokens(1, name="never seen").counter
    (state,) = ledger.counters(NOON, {wanted.counter, unknown})
    assert (state.counter, state.held) == (wanted.counter, 10)
    assert ledger.counters(NOON, ()) == []
