"""What becomes of a hold: extended, lowered, renewed, ended once, corrected. Every test runs against every store."""

import pytest

from ledger.builders import (
    HOUR,
    MINUTE,
    NOON,
    PER_MINUTE,
    TODAY,
    counter,
    counts,
    grant,
    reasons,
    refuse,
    requests,
    slots,
    tokens,
)
from tollway.ledger.port import Demand, Granted, Hold, Ledger, Settlement, Short, Source
from tollway.ledger.units import Amounts, Unit, Window, WindowKind

MIDNIGHT = NOON + 12 * HOUR


def used(amount: int) -> Amounts:
    return Amounts(requests=1, output_tokens=amount)


def extended(ledger: Ledger, hold_id: str, least: int, most: int, now: int = NOON) -> Granted:
    outcome = ledger.extend(hold_id, least, most, now)
    assert isinstance(outcome, Granted), outcome
    return outcome


# Extending.


def test_an_extension_takes_only_the_difference(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(10_000), requests(1), most=10)
    granted = extended(ledger, "a", 20, 50)
    assert granted.size == 50
    assert [taken.amount for taken in granted.taken] == [50, 1]
    assert granted.taken[0].remaining == 9950
    assert counts(ledger) == {"tokens": (0, 50), "requests": (0, 1)}


def test_an_extension_gets_a_quarter_of_what_is_left_but_at_least_what_it_needs(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=10)
    assert extended(ledger, "a", 11, 1000).size == 32  # 10 and a quarter of 90
    assert extended(ledger, "a", 100, 1000).size == 100


def test_an_extension_that_does_not_fit_changes_nothing(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=40)
    grant(ledger, "b", tokens(100), most=40)
    short = ledger.extend("a", 61, 100, NOON)
    assert isinstance(short, Short)
    assert short.shortages[0].needed == 21
    assert reasons(short) == [("tokens", "held", NOON + 1000)]
    assert counts(ledger) == {"tokens": (0, 80)}


def test_a_hold_does_not_wait_for_itself(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=90)
    short = ledger.extend("a", 101, 200, NOON)
    assert isinstance(short, Short)
    assert reasons(short) == [("tokens", "spent", None)]


def test_a_hold_that_fills_a_rolling_limit_waits_until_its_own_parts_roll_out(ledger: Ledger) -> None:
    window = Window(WindowKind.ROLLING, 30_000)
    grant(ledger, "a", tokens(100, window), most=20)
    extended(ledger, "a", 90, 90, NOON + 10_000)
    for size, free in ((101, NOON + 30_500), (150, NOON + 40_500)):
        short = ledger.extend("a", size, size, NOON + 20_000)
        assert isinstance(short, Short)
        assert reasons(short) == [("tokens", "held", free)]
    assert isinstance(ledger.extend("a", 150, 150, NOON + 40_499), Short)
    extended(ledger, "a", 150, 150, NOON + 40_500)


def test_no_reset_helps_a_call_that_counts_in_the_window_of_its_admission(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, TODAY), most=90)
    short = ledger.extend("a", 101, 200, MIDNIGHT)
    assert isinstance(short, Short)
    assert reasons(short) == [("tokens", "spent", None)]


def test_a_size_below_the_present_one_extends_nothing(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(1000), most=50)
    assert extended(ledger, "a", 10, 20).size == 50
    assert [row.kind.value for row in ledger.journal()] == ["grant"]


def test_an_overspent_limit_leaves_an_open_hold_what_it_has(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=50)
    grant(ledger, "b", tokens(100), most=10)
    ledger.settle("b", used(500), Source.PROVIDER, NOON)
    assert extended(ledger, "a", 50, 50).size == 50
    assert isinstance(ledger.extend("a", 51, 60, NOON), Short)


def test_an_extension_obeys_the_limit_last_seen_in_force(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(1000), most=50)
    refuse(ledger, "b", tokens(60), most=50)
    assert isinstance(ledger.extend("a", 61, 100, NOON), Short)
    assert extended(ledger, "a", 60, 60).taken[0].limit == 60


def test_an_extension_in_a_rolling_window_counts_at_its_own_time(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, PER_MINUTE), most=50)
    extended(ledger, "a", 80, 80, NOON + 30_000)
    assert counts(ledger, NOON + 30_000) == {"tokens": (0, 80)}
    assert counts(ledger, NOON + 61_000) == {"tokens": (0, 30)}


def test_an_extension_after_midnight_counts_in_the_day_of_admission(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, TODAY), most=50)
    extended(ledger, "a", 80, 80, MIDNIGHT)
    assert counts(ledger, MIDNIGHT) == {}
    assert isinstance(ledger.extend("a", 101, 101, MIDNIGHT), Short)
    grant(ledger, "b", tokens(100, TODAY), most=100, now=MIDNIGHT)


def test_a_rigid_limit_takes_part_in_extensions_like_any_other(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, rigid=True), most=50)
    assert extended(ledger, "a", 60, 1000).size == 62


def test_only_open_holds_are_extended(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=10)
    ledger.settle("a", used(5), Source.METERED, NOON)
    assert ledger.extend("a", 20, 20, NOON) is None
    assert ledger.extend("nobody", 20, 20, NOON) is None


# Lowering and renewing.


def test_lowering_gives_back_what_is_above(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), requests(1), most=80)
    assert ledger.lower("a", 30, NOON)
    assert counts(ledger) == {"tokens": (0, 30), "requests": (0, 1)}
    hold = ledger.hold("a")
    assert hold is not None
    assert hold.size == 30


def test_lowering_keeps_the_price_of_what_stays(ledger: Ledger) -> None:
    cost = Demand(counter("cost", Unit.COST), limit=10_000, base=10_500, rate=3_000)
    grant(ledger, "a", cost, most=80)
    ledger.lower("a", -5, NOON)
    assert counts(ledger) == {"cost": (0, 11)}


def test_lowering_to_more_than_there_is_does_nothing(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=10)
    assert ledger.lower("a", 50, NOON)
    assert counts(ledger) == {"tokens": (0, 10)}


def test_lowering_gives_back_what_was_taken_last(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, PER_MINUTE), most=50)
    extended(ledger, "a", 80, 80, NOON + 30_000)
    ledger.lower("a", 40, NOON + 30_000)
    assert counts(ledger, NOON + 30_000) == {"tokens": (0, 40)}
    assert counts(ledger, NOON + 61_000) == {}


def test_only_open_holds_are_lowered_and_renewed(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=10)
    ledger.settle("a", used(5), Source.METERED, NOON)
    for hold_id in ("a", "nobody"):
        assert not ledger.lower(hold_id, 1, NOON)
        assert not ledger.renew(hold_id, NOON + HOUR)
    assert counts(ledger) == {"tokens": (5, 0)}


def test_a_renewed_hold_lives_to_its_new_deadline(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=10, deadline=NOON + 10)
    assert ledger.renew("a", NOON + 20)
    assert list(ledger.expire(NOON + 19)) == []
    assert list(ledger.expire(NOON + 20)) == ["a"]


# Settling and correcting.


def test_settling_charges_what_was_consumed_and_gives_back_the_rest(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), requests(2), slots(1), most=80)
    assert ledger.settle("a", used(30), Source.PROVIDER, NOON) is Settlement.SETTLED
    assert counts(ledger) == {"tokens": (30, 0), "requests": (1, 0)}


def test_a_release_gives_back_everything_but_the_request_if_its_bytes_left(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), requests(2), slots(1), most=80)
    ledger.settle("a", Amounts(requests=1), Source.METERED, NOON)
    assert counts(ledger) == {"requests": (1, 0)}


def test_what_was_consumed_beyond_the_hold_is_counted_and_shown(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=80)
    ledger.settle("a", used(300), Source.PROVIDER, NOON)
    assert counts(ledger) == {"tokens": (300, 0)}


def test_settling_twice_charges_once(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=80)
    ledger.settle("a", used(30), Source.PROVIDER, NOON)
    assert ledger.settle("a", used(99), Source.PROVIDER, NOON) is Settlement.UNCHANGED
    assert ledger.settle("a", used(99), Source.BOUNDED, NOON) is Settlement.UNCHANGED
    assert counts(ledger) == {"tokens": (30, 0)}


@pytest.mark.parametrize("better", [20, 30, 50])
def test_a_better_source_corrects_up_and_down(ledger: Ledger, better: int) -> None:
    grant(ledger, "a", tokens(100), most=80)
    ledger.settle("a", used(30), Source.BOUNDED, NOON)
    assert ledger.settle("a", used(better), Source.PROVIDER, NOON) is Settlement.CORRECTED
    assert counts(ledger) == {"tokens": (better, 0)}
    hold = ledger.hold("a")
    assert hold is not None
    assert (hold.source, hold.amounts) == (Source.PROVIDER, used(better))


def test_a_correction_lands_in_its_own_window_though_that_is_over(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, TODAY), most=80)
    ledger.settle("a", used(80), Source.BOUNDED, NOON)
    ledger.settle("a", used(10), Source.PROVIDER, MIDNIGHT + HOUR)
    assert counts(ledger, MIDNIGHT + HOUR) == {}
    (entry,) = list(ledger.journal())[-1].entries
    assert (entry.bucket, entry.used) == (MIDNIGHT - 24 * HOUR, -70)


def test_what_a_call_consumed_counts_from_when_it_took_it(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, PER_MINUTE), most=50)
    extended(ledger, "a", 80, 80, NOON + 30_000)
    ledger.settle("a", used(60), Source.METERED, NOON + 31_000)
    assert counts(ledger, NOON + 31_000) == {"tokens": (60, 0)}
    assert counts(ledger, NOON + 61_000) == {"tokens": (10, 0)}
    ledger.settle("a", used(95), Source.PROVIDER, NOON + 61_000)
    assert counts(ledger, NOON + 61_000) == {"tokens": (45, 0)}


def test_settling_an_unknown_hold_says_so(ledger: Ledger) -> None:
    assert ledger.settle("nobody", used(1), Source.PROVIDER, NOON) is Settlement.UNKNOWN


@pytest.mark.parametrize("amount", [-1, 9 * 10**15 + 1])
def test_an_amount_that_cannot_be_true_is_rejected_and_the_hold_stays(ledger: Ledger, amount: int) -> None:
    grant(ledger, "a", tokens(100), most=80)
    with pytest.raises(ValueError, match="amounts"):
        ledger.settle("a", used(amount), Source.PROVIDER, NOON)
    assert counts(ledger) == {"tokens": (0, 80)}


# Expiring.


def test_an_expired_hold_is_charged_at_its_ceiling_and_frees_its_slot(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), requests(2), slots(1), most=80, deadline=NOON + MINUTE)
    assert list(ledger.expire(NOON + MINUTE)) == ["a"]
    assert list(ledger.expire(NOON + MINUTE)) == []
    assert counts(ledger) == {"tokens": (80, 0), "requests": (1, 0)}
    hold = ledger.hold("a")
    assert hold is not None
    assert hold.source is Source.CEILING
    assert hold.amounts == Amounts(requests=1, input_tokens=100, output_tokens=80, cost=160)


def test_an_expired_hold_of_several_moments_is_charged_where_it_was_held(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100, PER_MINUTE), most=50)
    extended(ledger, "a", 80, 80, NOON + 30_000)
    ledger.expire(NOON + MINUTE)
    assert counts(ledger, NOON + 60_000) == {"tokens": (80, 0)}
    assert counts(ledger, NOON + 61_000) == {"tokens": (30, 0)}


def test_the_truth_about_an_expired_hold_corrects_it(ledger: Ledger) -> None:
    grant(ledger, "a", tokens(100), most=80)
    ledger.expire(NOON + MINUTE)
    assert ledger.settle("a", used(5), Source.BOUNDED, NOON + HOUR) is Settlement.CORRECTED
    assert counts(ledger) == {"tokens": (5, 0)}


def test_any_number_of_holds_expires_the_oldest_first(ledger: Ledger) -> None:
    for n in range(600):
        grant(ledger, f"{n:03}", tokens(10_000), most=1, deadline=NOON + 1000 - n)
    assert list(ledger.expire(NOON + 1000)) == [f"{n:03}" for n in reversed(range(600))]
    assert counts(ledger) == {"tokens": (600, 0)}


def test_holds_of_a_gateway_that_is_gone_expire_before_their_deadline_and_later_ones_stay(ledger: Ledger) -> None:
    for n in range(300):
        grant(ledger, f"{n:03}", tokens(10_000), most=1, now=NOON + n)
    assert list(ledger.expire(NOON + 300, granted_before=NOON + 290)) == [f"{n:03}" for n in range(290)]
    assert counts(ledger, NOON + 300) == {"tokens": (290, 10)}
    assert list(ledger.expire(NOON + 300, granted_before=NOON + 290)) == []


def test_a_long_call_keeps_the_counter_of_its_window_right(ledger: Ledger) -> None:
    week = Window(WindowKind.WEEK, time_zone="Europe/Berlin")
    grant(ledger, "a", tokens(100, week), most=80, deadline=NOON + 9 * 24 * HOUR)
    ledger.settle("a", used(70), Source.PROVIDER, NOON + 8 * 24 * HOUR)
    assert counts(ledger, NOON + 8 * 24 * HOUR) == {}


def test_a_hold_tells_what_it_was_granted_for(ledger: Ledger) -> None:
    granted = grant(ledger, "a", tokens(100), most=80)
    hold = ledger.hold("a")
    assert isinstance(hold, Hold)
    assert (hold.hold_id, hold.size, hold.deadline, hold.granted_at) == ("a", 80, granted.deadline, NOON)
    assert (hold.source, hold.amounts) == (None, None)
    assert hold.facts.model == "gpt-5-mini"
    assert ledger.hold("nobody") is None


def test_a_deadline_of_a_clock_that_was_ahead_is_brought_down_to_what_a_hold_may_last(ledger: Ledger) -> None:
    grant(ledger, "ahead", tokens(100), most=10, now=NOON + HOUR)
    grant(ledger, "ours", tokens(100), most=10, now=NOON)
    grant(ledger, "ended", tokens(100), most=10, now=NOON + HOUR)
    ledger.settle("ended", used(1), Source.PROVIDER, NOON)
    assert ledger.shorten(NOON + 2 * MINUTE) == 1
    holds = [ledger.hold(each) for each in ("ahead", "ours", "ended")]
    assert [hold and hold.deadline - NOON for hold in holds] == [2 * MINUTE, MINUTE, HOUR + MINUTE]
    assert list(ledger.expire(NOON + 2 * MINUTE)) == ["ours", "ahead"]
