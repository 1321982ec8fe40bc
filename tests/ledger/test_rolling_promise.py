"""No interval of a rolling limit's length ever admits more than the limit, wherever it lies."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.builders import NOON, ask, tokens
from tollway.ledger.port import Granted
from tollway.ledger.units import Window, WindowKind
from tollway_extauthz.stores.memory import MemoryLedger

steps = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=90),  # later
        st.integers(min_value=1, max_value=60),  # worst case
        st.integers(min_value=1, max_value=60),  # least useful
        st.sampled_from(["reserve", "reserve", "extend", "lower"]),
    ),
    min_size=1,
    max_size=50,
)


class Admissions:
    """What was admitted when; a hold gives back what it took last."""

    def __init__(self, window: Window, limit: int) -> None:
        self._ledger = MemoryLedger()
        self._demand = tokens(limit, window)
        self._taken: dict[str, list[list[int]]] = {}

    def step(self, now: int, most: int, useful: int, what: str) -> None:
        if what == "reserve" or not self._taken:
            self._reserve(now, most, min(most, useful))
        else:
            latest = list(self._taken)[-1]
            getattr(self, f"_{what}")(latest, now, useful)

    def _reserve(self, now: int, most: int, useful: int) -> None:
        hold_id = str(len(self._taken))
        granted = ask(self._ledger, hold_id, self._demand, most=most, useful=useful, now=now)
        if isinstance(granted, Granted):
            self._taken[hold_id] = [[now, granted.size]]

    def _extend(self, hold_id: str, now: int, by: int) -> None:
        size = sum(amount for _, amount in self._taken[hold_id])
        granted = self._ledger.extend(hold_id, size + 1, size + by, now)
        if isinstance(granted, Granted):
            self._taken[hold_id].append([now, granted.size - size])

    def _lower(self, hold_id: str, now: int, by: int) -> None:
        size = sum(amount for _, amount in self._taken[hold_id])
        self._ledger.lower(hold_id, max(0, size - by), now)
        back = min(by, size)
        for taken in reversed(self._taken[hold_id]):
            given = min(back, taken[1])
            taken[1] -= given
            back -= given

    def most_in_any_interval(self, length: int) -> int:
        all_taken = [taken for hold in self._taken.values() for taken in hold]
        return max(
            (sum(amount for at, amount in all_taken if start <= at <= start + length) for start, _ in all_taken),
            default=0,
        )


@settings(max_examples=300)
@given(
    steps=steps,
    length=st.sampled_from([1, 7, 59, 60, 61, 100, 1000]),
    start=st.integers(min_value=0, max_value=2000),
    limit=st.integers(min_value=1, max_value=100),
)
def test_no_interval_of_its_length_admits_more_than_the_limit(
    steps: list[tuple[int, int, int, str]], length: int, start: int, limit: int
) -> None:
    admissions = Admissions(Window(WindowKind.ROLLING, length), limit)
    now = NOON + start
    for later, most, useful, what in steps:
        now += later
        admissions.step(now, most, useful, what)
        assert admissions.most_in_any_interval(length) <= limit
