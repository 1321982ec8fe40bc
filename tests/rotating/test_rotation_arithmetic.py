"""When certificates are renewed and CAs change places, as pure arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.identity.rotation import (
    BACKDATE_MS,
    CA_TTL_MS,
    MAX_LEAF_TTL_MS,
    Slots,
    Step,
    Validity,
    ca_validity,
    leaf_validity,
    next_step,
    renew_at,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
T0 = 1_790_000_000_000
FOREVER = Validity(0, T0 * 2)

moments = st.integers(0, 2**41)
lives = st.integers(0, CA_TTL_MS * 400)


@given(moments, lives, st.floats(0, 1, exclude_max=True))
def test_a_leaf_is_renewed_between_30_and_40_percent_of_its_life(start, life, jitter):
    moment = renew_at(start, start + life, jitter)
    assert start + life * 30 // 100 <= moment <= start + life * 40 // 100


def test_jitter_spreads_renewals_over_the_whole_range():
    assert [renew_at(0, 1000, jitter) for jitter in (0, 0.5, 0.999)] == [300, 350, 399]


@pytest.mark.parametrize("jitter", [-0.1, 1.0, float("nan")])
def test_jitter_outside_of_its_range_is_refused(jitter):
    with pytest.raises(ValueError, match="jitter"):
        renew_at(0, 1000, jitter)


@given(moments, st.integers(1, MAX_LEAF_TTL_MS), moments, lives)
def test_no_leaf_is_valid_outside_the_life_of_its_issuer(now, ttl, issuer_start, issuer_life):
    issuer = Validity(issuer_start, issuer_start + issuer_life)
    leaf = leaf_validity(now, ttl, issuer)
    assert leaf.not_before >= issuer.not_before
    assert leaf.not_after <= issuer.not_after


def test_a_leaf_is_back_dated_by_a_minute_and_in_whole_seconds():
    assert leaf_validity(T0 + 999, HOUR, FOREVER) == Validity(T0 - BACKDATE_MS, T0 + HOUR)


def test_the_longest_leaf_of_a_ca_that_hands_over_ends_with_it():
    ca = ca_validity(T0, FOREVER)
    handover = ca.at(5, 6)
    assert leaf_validity(handover, MAX_LEAF_TTL_MS, ca).not_after <= ca.not_after
    assert ca.not_after - handover >= MAX_LEAF_TTL_MS


def test_a_signing_ca_never_outlives_its_root():
    assert ca_validity(T0, Validity(0, T0 + HOUR)) == Validity(T0 - BACKDATE_MS, T0 + HOUR)


ACTIVE = Validity(T0, T0 + CA_TTL_MS)
FRESH = Validity(T0 + 12 * HOUR, T0 + 36 * HOUR)
JUST_MADE = Validity(T0 + 22 * HOUR - BACKDATE_MS, T0 + 46 * HOUR)
LATER = Validity(T0 + 30 * HOUR, T0 + 54 * HOUR)
GONE = Validity(T0 - CA_TTL_MS, T0 - 1)
LEAVING = Validity(T0 - 20 * HOUR, T0 + 4 * HOUR)
ENDS_WITH_ACTIVE = Validity(0, ACTIVE.not_after)

TABLE = {
    "new": (Slots(ACTIVE), FOREVER, T0, Step.KEEP),
    "before half of its life": (Slots(ACTIVE), FOREVER, T0 + 12 * HOUR - 1, Step.KEEP),
    "at half of its life": (Slots(ACTIVE), FOREVER, T0 + 12 * HOUR, Step.PREPARE),
    "prepared already": (Slots(ACTIVE, FRESH), FOREVER, T0 + 13 * HOUR, Step.KEEP),
    "before 5/6 of its life": (Slots(ACTIVE, FRESH), FOREVER, T0 + 20 * HOUR - 1, Step.KEEP),
    "at 5/6 of its life": (Slots(ACTIVE, FRESH), FOREVER, T0 + 20 * HOUR, Step.ACTIVATE),
    "at 5/6 without a successor": (Slots(ACTIVE), FOREVER, T0 + 20 * HOUR, Step.PREPARE),
    "late successor, not published yet": (Slots(ACTIVE, JUST_MADE), FOREVER, T0 + 22 * HOUR + MINUTE - 1, Step.KEEP),
    "late successor, published": (Slots(ACTIVE, JUST_MADE), FOREVER, T0 + 22 * HOUR + MINUTE, Step.ACTIVATE),
    "too short to sign, with a successor": (Slots(ACTIVE, FRESH), FOREVER, ACTIVE.not_after - MINUTE, Step.ACTIVATE),
    "too short to sign, alone": (Slots(ACTIVE), FOREVER, ACTIVE.not_after - MINUTE, Step.REPLACE),
    "expired, with a successor": (Slots(ACTIVE, FRESH), FOREVER, T0 + 25 * HOUR, Step.ACTIVATE),
    "expired, successor just made": (Slots(GONE, ACTIVE), FOREVER, T0, Step.ACTIVATE),
    "expired, alone": (Slots(ACTIVE), FOREVER, T0 + 25 * HOUR, Step.REPLACE),
    "both expired": (Slots(ACTIVE, FRESH), FOREVER, T0 + 40 * HOUR, Step.REPLACE),
    "the clock went back before it began": (Slots(ACTIVE), FOREVER, T0 - 1, Step.REPLACE),
    "the clock went back before both began": (Slots(ACTIVE, FRESH), FOREVER, T0 - 1, Step.REPLACE),
    "expired, successor in the future": (Slots(ACTIVE, LATER), FOREVER, T0 + 25 * HOUR, Step.REPLACE),
    "a retired one lives on": (Slots(ACTIVE, None, (LEAVING,)), FOREVER, T0 + 4 * HOUR, Step.KEEP),
    "a retired one has expired": (Slots(ACTIVE, None, (LEAVING,)), FOREVER, T0 + 4 * HOUR + 1, Step.FORGET),
    "forgetting comes first": (Slots(ACTIVE, None, (GONE,)), FOREVER, T0 + 13 * HOUR, Step.FORGET),
    "no successor could outlive it": (Slots(ACTIVE), ENDS_WITH_ACTIVE, T0 + 13 * HOUR, Step.KEEP),
}


@pytest.mark.parametrize(("slots", "root", "now", "step"), TABLE.values(), ids=TABLE)
def test_what_is_due(slots, root, now, step):
    assert next_step(slots, root, now) is step
