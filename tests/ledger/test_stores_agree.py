"""Any interleaving of operations, crashes and clock steps: both stores agree with each other and with the model."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ledger.builders import counter, facts
from ledger.model import Hold, Model, amount
from tollway.ledger.port import Demand, Granted, Settlement, Short, Shortage, Shortness, Sizes, Source
from tollway.ledger.units import LIFETIME, Amounts, Unit, Window, WindowKind
from tollway_extauthz.stores.memory import MemoryLedger
from tollway_extauthz.stores.sqlite import SQLiteLedger

EVENING = 20_000 * 86_400_000 - 5_000
SOON = 60_000
COUNTERS = [
    counter("rpm", Unit.REQUESTS, Window(WindowKind.ROLLING, 100)),
    counter("tpm", Unit.TOKENS, Window(WindowKind.ROLLING, 1_000)),
    counter("hourly", Unit.OUTPUT_TOKENS, Window(WindowKind.ROLLING, 3 * SOON)),
    counter("daily", Unit.COST, Window(WindowKind.DAY)),
    counter("ever", Unit.OUTPUT_TOKENS, LIFETIME),
    counter("parallel", Unit.CONCURRENT, LIFETIME),
]
COSTS = {  # base and rate
    Unit.REQUESTS: (1000, 0),
    Unit.TOKENS: (7000, 1000),
    Unit.OUTPUT_TOKENS: (0, 1000),
    Unit.COST: (2500, 333),
    Unit.CONCURRENT: (1000, 0),
}
# Small numbers, so that limits are met from all sides.
demands_of_a_call = st.lists(
    st.builds(
        lambda of, limit, rigid, shadow: Demand(of, limit, *COSTS[of.unit], rigid=rigid, shadow=shadow),
        st.sampled_from(COUNTERS),
        st.sampled_from([0, 1, 3, 20, 50, 50, 200, 200, 1000]),
        st.sampled_from([False, False, False, True]),
        st.sampled_from([False, False, False, True]),
    ),
    unique_by=lambda demand: demand.counter,
    min_size=1,
    max_size=5,
)
sizes_of_a_call = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: Sizes(min(pair), max(pair)))
any_amounts = st.builds(
    Amounts, st.integers(0, 1), st.integers(0, 10), st.integers(0, 60), st.integers(0, 30)
)  # fmt: skip
any_hold = st.integers(0, 7)  # how many calls ago it began; there may be none


class Stores(RuleBasedStateMachine):
    """Every rule does the same to the model and to both stores, and compares what they say."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp())
        self._left_open: list[SQLiteLedger] = []
        self._sqlite = self._open()
        self._memory = MemoryLedger()
        self._model = Model()
        self._time = EVENING  # what the clock says, which may go back
        self._now = 0  # the latest row
        self._ids = 0

    def teardown(self) -> None:
        for each in (*self._left_open, self._sqlite):
            each.close()
        shutil.rmtree(self._folder)

    # The clock and the process.

    @rule(step=st.one_of(st.integers(-50, 300), st.sampled_from([-5_000, 2_000, 10_000, SOON, 4 * SOON])))
    def time_passes(self, step: int) -> None:
        self._time += step

    @rule()
    def the_process_restarts(self) -> None:
        self._sqlite.close()
        self._sqlite = self._open()

    @rule()
    @precondition(lambda self: len(self._left_open) < 3)
    def the_process_dies(self) -> None:
        self._left_open.append(self._sqlite)  # nobody closes it: another opens the file as it is
        self._sqlite = self._open()

    # Taking.

    @rule(demands=demands_of_a_call, sizes=sizes_of_a_call, lives=st.sampled_from([0, 50, 5_000, 10**9]))
    def a_call_reserves(self, demands: list[Demand], sizes: Sizes, lives: int) -> None:
        self._ids += 1
        hold_id, at = f"call-{self._ids}", self._moment()
        said = self._both("reserve", hold_id, facts(), demands, sizes, self._time, self._time + lives)
        self._model.limits |= {demand.counter: demand.limit for demand in demands}
        lefts = {d.counter: self._left(d.counter, at) for d in demands}
        short = [d for d in demands if not d.shadow and not self._fits(d, lefts, d.rigid, sizes)]
        assert isinstance(said, Short) == bool(short)
        if isinstance(said, Short):
            assert [each.demand for each in said.shortages] == short
            self._check_shortages(said.shortages, at, None)
        else:
            self._check_size(demands, lefts, said, sizes)
            self._model.holds[hold_id] = Hold(demands, said.size, at, self._time + lives)
            self._now = at
            self._check_not_over(said, at)

    @rule(which=any_hold, by=st.integers(-5, 30), more=st.integers(0, 30))
    def a_call_extends(self, which: int, by: int, more: int) -> None:
        hold_id, hold = self._hold(which)
        least = (hold.size if hold else 0) + by
        said, at = self._both("extend", hold_id, least, least + more, self._time), self._moment()
        if hold is None or hold.source is not None:
            assert said is None
            return
        useful = max(least, hold.size)
        grown = {c: amount(d, useful) - amount(d, hold.size) for c, (d, _) in hold.took.items() if not d.shadow}
        lefts = {c: self._left(c, self._counted_at(hold, c, at)) for c in hold.took}
        short = [c for c in grown if grown[c] > max(0, lefts[c])]
        assert isinstance(said, Short) == bool(short)
        if isinstance(said, Short):
            assert [each.demand.counter for each in said.shortages] == short
            self._check_shortages(said.shortages, at, hold)
        elif isinstance(said, Granted):
            assert useful <= said.size <= max(useful, least + more)
            self._extend(hold, said.size, at)

    # Giving back.

    @rule(which=any_hold, to=st.integers(-1, 40))
    def a_call_is_lowered(self, which: int, to: int) -> None:
        hold_id, hold = self._hold(which)
        said, at = self._both("lower", hold_id, to, self._time), self._moment()
        assert said == (hold is not None and hold.source is None)
        if said and hold is not None and to < hold.size:
            hold.size, self._now = max(0, to), at
            for demand, takings in hold.took.values():
                back = sum(taken for _, taken in takings) - amount(demand, hold.size)
                for taking in reversed(takings):
                    given = min(back, taking[1])
                    taking[1] -= given
                    back -= given

    @rule(which=any_hold, lives=st.integers(0, 10_000))
    def a_call_is_renewed(self, which: int, lives: int) -> None:
        hold_id, hold = self._hold(which)
        said = self._both("renew", hold_id, self._time + lives)
        assert said == (hold is not None and hold.source is None)
        if said and hold is not None:
            hold.deadline = self._time + lives

    @rule(which=any_hold, amounts=any_amounts, source=st.sampled_from(Source))
    def a_call_is_settled_or_corrected(self, which: int, amounts: Amounts, source: Source) -> None:
        hold_id, hold = self._hold(which)
        said = self._both("settle", hold_id, amounts, source, self._time)
        if hold is None:
            assert said is Settlement.UNKNOWN
        elif hold.source is not None and source <= hold.source:
            assert said is Settlement.UNCHANGED
        else:
            assert said is (Settlement.SETTLED if hold.source is None else Settlement.CORRECTED)
            self._now = self._moment()
            self._model.end(hold, source, lambda of, _: amounts.of(of.unit))

    @rule()
    def holds_expire(self) -> None:
        said = self._both("expire", self._time)
        holds = self._model.holds
        due = {key for key, each in holds.items() if each.source is None and each.deadline <= self._time}
        assert set(said) == due
        assert len(said) == len(due)
        if due:
            self._now = self._moment()
        for key in due:
            self._model.end(holds[key], Source.CEILING, lambda of, hold: sum(n for _, n in hold.took[of][1]))

    # What always holds.

    @invariant()
    def counters_agree(self) -> None:
        at = self._moment()
        expected = {each: self._model.use(each, at) for each in self._model.limits}
        listed = self._both("counters", self._time)
        assert {each.counter: (each.used, each.held) for each in listed} == {
            each: use for each, use in expected.items() if any(use)
        }
        assert all(each.limit == self._model.limits[each.counter] for each in listed)
        assert all(each.held >= 0 and each.used >= 0 for each in listed)

    @invariant()
    def the_journal_adds_up(self) -> None:
        assert self._both("verify") == []

    @invariant()
    def every_hold_ends_once(self) -> None:
        rows = [*self._both("journal")]
        ends = [row.call_id for row in rows if row.kind.value in ("settle", "expire")]
        ended = [key for key, hold in self._model.holds.items() if hold.source is not None]
        assert sorted(ends) == sorted(ended)

    def _both(self, operation: str, *given: object):
        """What both stores say; they must say the same."""
        said = [getattr(each, operation)(*given) for each in (self._memory, self._sqlite)]
        memory, sqlite = [[*each] if operation == "journal" else each for each in said]
        assert memory == sqlite
        return memory

    def _open(self) -> SQLiteLedger:
        return SQLiteLedger(self._folder / "ledger.db")

    def _moment(self) -> int:
        return max(self._time, self._now)

    def _hold(self, which: int) -> tuple[str, Hold | None]:
        hold_id = f"call-{self._ids - which}"
        return hold_id, self._model.holds.get(hold_id)

    def _left(self, of: object, at: int) -> int:
        return self._model.limits[of] - sum(self._model.use(of, at))

    def _fits(self, demand: Demand, lefts: dict, rigid: bool, sizes: Sizes) -> bool:
        return amount(demand, sizes.most if rigid else sizes.useful) <= max(0, lefts[demand.counter])

    def _check_size(self, demands: Sequence[Demand], lefts: dict, said: Granted, sizes: Sizes) -> None:
        """The size is one that the rule allows, and the next larger one is not."""
        enforced = [d for d in demands if not d.shadow]

        def allowed(size: int) -> bool:
            part = {True: 8, False: 1} if size == sizes.most else {True: 4, False: 1}
            small = all(amount(d, size) <= max(0, lefts[d.counter]) // part[d.rate > 0] for d in enforced)
            shrinking = [d for d in enforced if d.rate > 0 and not d.rigid]
            modest = all(amount(d, size) <= max(0, lefts[d.counter]) // 4 for d in shrinking)
            return small or modest or size == sizes.useful

        assert said.size == max(size for size in range(sizes.useful, sizes.most + 1) if allowed(size))
        assert [taken.amount for taken in said.taken] == [amount(d, said.size) for d in demands]

    def _check_not_over(self, said: Granted, at: int) -> None:
        """P1: no grant lifts used and held above the limit in force."""
        for taken in said.taken:
            demand = self._model.holds[said.hold_id].took[taken.counter][0]
            assert demand.shadow or not taken.amount or sum(self._model.use(taken.counter, at)) <= taken.limit

    def _counted_at(self, hold: Hold, of: object, at: int) -> int:
        """The moment whose window an extension counts in: of a calendar day that of the admission."""
        return at if of.window.kind is WindowKind.ROLLING else hold.took[of][1][0][0]

    def _extend(self, hold: Hold, size: int, at: int) -> None:
        for each, (demand, takings) in hold.took.items():
            added = amount(demand, size) - amount(demand, hold.size)
            counted_at = self._counted_at(hold, each, at)
            takings.append([counted_at, added])
            over = sum(self._model.use(each, counted_at)) > self._model.limits[each]
            assert demand.shadow or not added or not over
        self._now = at if size > hold.size else self._now
        hold.size = size

    def _check_shortages(self, shortages: Sequence[Shortage], at: int, hold: Hold | None) -> None:
        for each in shortages:
            of = each.demand.counter
            moment = at if hold is None else self._counted_at(hold, of, at)
            room = each.demand.limit - each.needed
            rolls = of.window.kind is WindowKind.ROLLING
            assert (each.used, each.held) == self._model.use(of, moment, hold)
            fits_now = each.used <= room
            fits_soon = rolls and self._model.use(of, at + SOON, hold)[0] <= room
            assert each.shortness is (Shortness.HELD if fits_now or fits_soon else Shortness.SPENT)
            if rolls and not fits_now and each.available_at is not None:
                assert self._model.use(of, each.available_at, hold)[0] <= room
                assert self._model.use(of, each.available_at - 1, hold)[0] > room
            assert (each.available_at is None) == self._never(each, hold)

    def _never(self, each: Shortage, hold: Hold | None) -> bool:
        if each.shortness is Shortness.HELD:
            return False
        window = each.demand.counter.window
        resets = window.kind is WindowKind.ROLLING or (window.kind is WindowKind.DAY and hold is None)
        return not resets or each.needed > each.demand.limit


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
