"""A sum that is kept from call to call is the one that adding everything up anew would give."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.builders import NOON, counter
from tollway.ledger import windows
from tollway.ledger.tallies import Tally
from tollway.ledger.units import Window, WindowKind

changes = st.tuples(st.integers(0, 400), st.integers(0, 50), st.integers(0, 50))
"""So much later, in the bucket of that moment: (held, used) more."""


@given(length=st.integers(1, 600), steps=st.lists(changes, max_size=40))
def test_a_rolling_sum_goes_on_by_itself(length: int, steps: list[tuple[int, int, int]]) -> None:
    window = Window(WindowKind.ROLLING, length)
    tally, now = Tally(counter("tokens", window=window), key=1, line=1), NOON
    tally.turn_to(now)
    tally.fill([])
    all_of_it: list[tuple[int, int, int]] = []
    for later, held, used in steps:
        now += later
        assert tally.stands_at(now)
        assert (tally.first, tally.bucket) == windows.span(window, now)
        assert tally.held == sum(each for bucket, each, _ in all_of_it if bucket >= tally.first)
        assert tally.used == sum(each for bucket, _, each in all_of_it if bucket >= tally.first)
        tally.add(tally.bucket, held, used)
        all_of_it.append((tally.bucket, held, used))
        if all_of_it[0][1]:  # an end gives back what was held, also where it counts no longer
            tally.add(all_of_it[0][0], -1, 1)
            all_of_it[0] = (all_of_it[0][0], all_of_it[0][1] - 1, all_of_it[0][2] + 1)
    assert tally.parts is not None
    assert len(tally.parts) <= windows.SUB_BUCKETS + 1


def test_no_sum_goes_back_by_itself() -> None:
    tally = Tally(counter("tokens", window=Window(WindowKind.ROLLING, 60_000)), key=1, line=1)
    tally.turn_to(NOON)
    tally.fill([(NOON, 5, 0)])
    assert not tally.stands_at(NOON - 1)
    assert tally.stands_at(NOON + 61_000)
    assert tally.use == (0, 0)
