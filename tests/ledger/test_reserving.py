"""What a call gets, and what it is told when it gets nothing. Every test runs against every store."""

import pytest

from ledger.builders import (
    HOUR,
    MINUTE,
    NOON,
    PER_MINUTE,
    TODAY,
    ask,
    counter,
    counts,
    facts,
    grant,
    reasons,
    refuse,
    requests,
    slots,
    tokens,
)
from tollway.ledger.port import Demand, DuplicateHold, Granted, Ledger, Sizes, Source
from tollway.ledger.units import LIFETIME, Amounts, Unit, Window, WindowKind

MIDNIGHT = NOON + 12 * HOUR


def test_a_worst_case_that_is_small_against_what_is_left_is_held_whole(ledger: Ledger) -> None:
    assert grant(ledger, "a", tokens(800), most=100, useful=1).size == 100


def test_a_worst_case_that_is_not_small_gets_the_largest_size_within_a_quarter_of_what_is_left(ledger: Ledger) -> None:
    cost = Demand(counter("cost", Unit.COST), limit=1000, base=10_500, rate=3_000)
    granted = grant(ledger, "a", cost, most=100, useful=1)
    assert granted.size == 79  # 10.5 + 3 * 79 = 247.5, rounded up 248; at 80 it would be 251
    assert granted.taken[0].amount == 248
    assert granted.taken[0].remaining == 752


def test_a_worst_case_within_a_quarter_is_never_exceeded(ledger: Ledger) -> None:
    assert grant(ledger, "a", tokens(500), most=100, useful=1).size == 100


def test_a_useful_answer_is_granted_while_that_much_is_left(ledger: Ledger) -> None:
    assert grant(ledger, "a", tokens(100), most=1000, useful=100).size == 100


def test_less_than_a_useful_answer_is_refused(ledger: Ledger) -> None:
    refuse(ledger, "a", tokens(99), most=1000, useful=100)


def test_one_size_is_granted_for_all_counters_by_the_tightest(ledger: Ledger) -> None:
    granted = grant(ledger, "a", tokens(400, name="tight"), tokens(2000, name="wide"), most=1000, useful=1)
    assert [taken.amount for taken in granted.taken] == [100, 100]


def test_a_counter_without_a_rate_does_not_shrink_a_call(ledger: Ledger) -> None:
    assert grant(ledger, "a", requests(1), tokens(8000), most=1000, useful=1).size == 1000


def test_a_rigid_limit_takes_the_full_size_or_refuses(ledger: Ledger) -> None:
    assert grant(ledger, "a", tokens(100, rigid=True), most=100, useful=1).size == 100
    assert reasons(refuse(ledger, "b", tokens(150, rigid=True), most=100, useful=1)) == [
        ("tokens", "held", NOON + 1000)
    ]


def test_a_rigid_limit_says_how_much_it_needed(ledger: Ledger) -> None:
    assert refuse(ledger, "a", tokens(50, rigid=True), most=100, useful=1).shortages[0].needed == 100


def test_a_shadow_limit_counts_but_neither_shrinks_nor_refuses(ledger: Ledger) -> None:
    granted = grant(ledger, "a", tokens(10, shadow=True), most=1000, useful=1)
    assert granted.size == 1000
    assert granted.taken[0].remaining == 0
    assert counts(ledger) == {"tokens": (0, 1000)}


def test_a_call_without_counters_is_granted_whole(ledger: Ledger) -> None:
    assert grant(ledger, "a", most=1000, useful=1).size == 1000


def test_a_call_short_on_one_of_nine_counters_changes_none(ledger: Ledger) -> None:
    demands = [tokens(1000, name=f"limit-{n}") for n in range(9)]
    grant(ledger, "a", *demands, most=100)
    before = counts(ledger)
    demands[6] = tokens(199, name="limit-6")
    assert [name for name, _, _ in reasons(refuse(ledger, "b", *demands, most=100))] == ["limit-6"]
    assert counts(ledger) == before
    assert ledger.hold("b") is None


def test_every_limit_that_is_short_is_named(ledger: Ledger) -> None:
    grant(ledger, "a", slots(1), tokens(100, TODAY), most=100)
    short = refuse(ledger, "b", slots(1), tokens(100, TODAY), requests(5), most=10)
    assert [name for name, _, _ in reasons(short)] == ["parallel", "tokens"]


def test_the_id_of_a_call_is_never_taken_twice_even_after_it_ended(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=10)
    with pytest.raises(DuplicateHold, match="'a'"):
        ask(ledger, "a", tokens(100), most=10)
    ledger.settle("a", Amounts(), Source.PROVIDER, NOON)
    with pytest.raises(DuplicateHold):
        ask(ledger, "a", tokens(100), most=10)
    assert counts(ledger) == {}


def test_a_free_call_passes_an_overspent_limit(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(10), most=10)
    ledger.settle("a", Amounts(output_tokens=50), Source.PROVIDER, NOON)
    assert grant(ledger, "b", tokens(10), most=0).size == 0
    refuse(ledger, "c", tokens(10), most=1)


def test_a_changed_amount_keeps_the_counter(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=60)
    refuse(ledger, "b", tokens(100), most=60)
    assert grant(ledger, "b", tokens(200), most=60).taken[0].remaining == 80
    refuse(ledger, "c", tokens(50), most=1)
    assert [state.limit for state in ledger.counters(NOON)] == [50]


def test_another_window_is_another_counter(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, TODAY), most=100)
    grant(ledger, "b", tokens(100, Window(WindowKind.DAY, time_zone="Europe/Berlin")), most=100)


def test_the_worst_case_may_be_far_beyond_64_bits(ledger: Ledger) -> None:
    cost = Demand(counter("cost", Unit.COST), limit=9 * 10**15, base=9 * 10**18, rate=9 * 10**18)
    refuse(ledger, "a", cost, most=10**15, useful=1)


@pytest.mark.parametrize(
    ("demands", "sizes"),
    [
        pytest.param([tokens(10), tokens(20)], Sizes(1, 1), id="one counter twice"),
        pytest.param([Demand(counter("a"), 10, base=-1)], Sizes(1, 1), id="negative base"),
        pytest.param([Demand(counter("a"), -1, base=1)], Sizes(1, 1), id="negative limit"),
        pytest.param([Demand(counter("a"), 10, base=1, rate=-1)], Sizes(1, 1), id="negative rate"),
        pytest.param([tokens(10)], Sizes(2, 1), id="useful above most"),
        pytest.param([tokens(10)], Sizes(-1, 1), id="negative size"),
        pytest.param([tokens(2**63)], Sizes(1, 1), id="limit beyond 64 bits"),
        pytest.param([tokens(1, shadow=True)], Sizes(1, 9 * 10**15 + 1), id="amount beyond what is counted"),
    ],
)
def test_what_cannot_be_counted_exactly_is_rejected(ledger: Ledger, demands: list[Demand], sizes: Sizes) -> None:
    with pytest.raises(ValueError, match=r"call|demand"):
        ledger.reserve("a", facts(), demands, sizes, NOON, NOON + MINUTE)
    assert ledger.hold("a") is None
    assert counts(ledger) == {}


# Spent or held, and until when.


def test_what_open_holds_take_is_held_and_comes_back_in_a_moment(ledger: Ledger) -> None:
    for window in (LIFETIME, TODAY, PER_MINUTE):
        name = window.kind.value
        grant(ledger, name, tokens(100, window, name), most=100)
        assert reasons(refuse(ledger, "b", tokens(100, window, name), most=1)) == [(name, "held", NOON + 1000)]


def test_what_ended_calls_took_is_spent_until_the_window_ends(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, TODAY), most=100)
    ledger.settle("a", Amounts(output_tokens=100), Source.PROVIDER, NOON)
    short = refuse(ledger, "b", tokens(100, TODAY), most=1)
    assert reasons(short) == [("tokens", "spent", MIDNIGHT)]
    assert not short.held_only
    grant(ledger, "c", tokens(100, TODAY), most=100, now=MIDNIGHT)


def test_held_in_the_last_second_of_a_window_is_held_until_the_window_ends(ledger: Ledger) -> None:
    late = MIDNIGHT - 10
    grant(ledger, "a", tokens(100, TODAY), most=100, now=late)
    assert reasons(refuse(ledger, "b", tokens(100, TODAY), most=1, now=late)) == [("tokens", "held", MIDNIGHT)]


def test_a_lifetime_limit_that_is_spent_never_comes_back(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=100)
    ledger.settle("a", Amounts(output_tokens=100), Source.PROVIDER, NOON)
    assert reasons(refuse(ledger, "b", tokens(100), most=1)) == [("tokens", "spent", None)]


@pytest.mark.parametrize("window", [LIFETIME, TODAY, PER_MINUTE], ids=lambda window: window.kind.value)
def test_a_call_larger_than_the_limit_is_spent_and_no_reset_helps(ledger: Ledger, window: Window) -> None:
    assert reasons(refuse(ledger, "a", tokens(100, window), most=101)) == [("tokens", "spent", None)]


def test_a_concurrent_limit_is_held_and_one_of_zero_is_spent(ledger: Ledger) -> None:
    grant(ledger, "a", slots(1))
    assert reasons(refuse(ledger, "b", slots(1))) == [("parallel", "held", NOON + 1000)]
    assert reasons(refuse(ledger, "b", slots(0))) == [("parallel", "spent", None)]


def test_a_rolling_limit_that_frees_within_a_minute_is_held_until_that_very_millisecond(ledger: Ledger) -> None:
    window = Window(WindowKind.ROLLING, 30_000)
    for n in range(3):
        grant(ledger, f"a{n}", requests(3, window), now=NOON + 1000 * n)
        ledger.settle(f"a{n}", Amounts(requests=1), Source.PROVIDER, NOON + 1000 * n)
    short = refuse(ledger, "b", requests(3, window), now=NOON + 5000)
    (_, shortness, free) = reasons(short)[0]
    assert shortness == "held"
    assert short.held_only
    assert free is not None
    assert NOON + 30_000 < free <= NOON + 30_000 + 500
    refuse(ledger, "b", requests(3, window), now=free - 1)
    grant(ledger, "b", requests(3, window), now=free)


def test_a_rolling_limit_that_frees_later_is_spent_until_enough_has_left(ledger: Ledger) -> None:
    window = Window(WindowKind.ROLLING, 5 * HOUR)
    for n, amount in enumerate((10, 20, 70)):
        grant(ledger, f"a{n}", tokens(100, window), most=amount, now=NOON + n * HOUR)
        ledger.settle(f"a{n}", Amounts(output_tokens=amount), Source.PROVIDER, NOON + n * HOUR)
    now = NOON + 3 * HOUR
    (_, shortness, free) = reasons(refuse(ledger, "b", tokens(100, window), most=30, now=now))[0]
    assert shortness == "spent"
    assert free is not None
    refuse(ledger, "b", tokens(100, window), most=30, now=free - 1)
    grant(ledger, "b", tokens(100, window), most=30, now=free)


def test_what_a_rolling_window_holds_comes_free_no_later_than_it_rolls_out(ledger: Ledger) -> None:
    window = Window(WindowKind.ROLLING, 60)
    grant(ledger, "a", requests(1, window))
    assert reasons(refuse(ledger, "b", requests(1, window), now=NOON + 10)) == [("requests", "held", NOON + 61)]
    assert isinstance(ask(ledger, "b", requests(1, window), now=NOON + 61), Granted)


def test_time_never_goes_back(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, TODAY), most=100, now=MIDNIGHT)
    refuse(ledger, "b", tokens(100, TODAY), most=1, now=NOON)
    grant(ledger, "c", tokens(200, TODAY), most=100, now=NOON)
    assert {row.at for row in ledger.journal()} == {MIDNIGHT}
    assert counts(ledger, NOON) == {"tokens": (0, 200)}


def test_time_does_not_go_back_between_two_calls_of_one_transaction(ledger: Ledger) -> None:
    with ledger.batch():
        grant(ledger, "a", tokens(100, TODAY), most=1, now=MIDNIGHT)
        grant(ledger, "b", tokens(100, TODAY), most=1, now=NOON)
    assert counts(ledger, MIDNIGHT) == {"tokens": (0, 2)}


def test_a_clock_put_back_ends_no_hold_before_its_time(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=10, now=NOON + HOUR)
    grant(ledger, "b", tokens(100), most=10, now=NOON)
    assert list(ledger.expire(NOON + MINUTE - 1)) == []
    assert list(ledger.expire(NOON + MINUTE)) == ["b"]
