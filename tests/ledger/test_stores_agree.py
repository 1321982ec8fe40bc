"""Any interleaving of operations, crashes and clock steps: both stores agree with each other and with the model.

Hypothesis looks for the shortest conversation that goes wrong; `test_interleavings` for rare ones, by sheer number.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ledger.conversation import CALLERS, LIMITS, SOON, Conversation
from tollway.ledger.port import CallFacts, Sizes, Source
from tollway.ledger.units import Amounts

CHANGING = [name for name, (_, shapes) in LIMITS.items() if len(shapes) > 1]
# Small numbers, so that limits are met from all sides. One that changes its shape keeps its amount.
any_limits = st.dictionaries(st.sampled_from(sorted(LIMITS)), st.sampled_from([0, 1, 3, 20, 50, 200, 1000]), min_size=1)
some_limits = st.sets(st.sampled_from(sorted(LIMITS)), max_size=2)
any_sizes = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: Sizes(min(pair), max(pair)))
any_amounts = st.builds(Amounts, st.integers(0, 1), st.integers(0, 10), st.integers(0, 60), st.integers(0, 30))
any_hold = st.integers(0, 7)  # how many calls ago it began; there may be none
any_caller = st.sampled_from(CALLERS)


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp())
        self._talk = Conversation(self._folder)
        self._crashes = 0
        self._processes = 1

    def teardown(self) -> None:
        self._talk.close()
        shutil.rmtree(self._folder)

    @rule(step=st.one_of(st.integers(-50, 300), st.sampled_from([-5_000, 2_000, 10_000, SOON, 4 * SOON])))
    def time_passes(self, step: int) -> None:
        self._talk.time_passes(step)

    @rule(limit=st.sampled_from(CHANGING), shape=st.integers(0, 3))
    def a_limit_is_counted_another_way(self, limit: str, shape: int) -> None:
        self._talk.a_limit_is_counted_another_way(limit, shape)

    @rule()
    @precondition(lambda self: self._crashes < 3)
    def the_process_dies(self) -> None:
        self._crashes += 1
        self._processes = 1
        self._talk.the_process_dies()

    @rule()
    @precondition(lambda self: self._processes < 2)
    def another_process_opens_the_file(self) -> None:
        self._processes += 1
        self._talk.another_process_opens_the_file()

    @rule()
    @precondition(lambda self: self._processes > 1)
    def the_process_before_goes_on(self) -> None:
        self._talk.the_process_before_goes_on()

    @rule()
    def little_is_remembered(self) -> None:
        self._talk.little_is_remembered()

    @rule(step=st.integers(1, 400))
    def the_next_transaction_is_cut_off(self, step: int) -> None:
        self._talk.the_next_transaction_is_cut_off(step)

    @rule(
        of=any_caller,
        limits=any_limits,
        rigid=some_limits,
        shadow=some_limits,
        sizes=any_sizes,
        lives=st.sampled_from([0, 50, 5_000, 10**9]),
    )
    def a_call_reserves(
        self, of: CallFacts, limits: dict[str, int], rigid: set[str], shadow: set[str], sizes: Sizes, lives: int
    ) -> None:
        amounts = {name: 200 if name in CHANGING else amount for name, amount in limits.items()}
        self._talk.a_call_reserves(of, self._talk.demands(amounts, of, rigid, shadow), sizes, lives)

    @rule(which=any_hold, by=st.integers(-5, 30), more=st.integers(0, 30))
    def a_call_extends(self, which: int, by: int, more: int) -> None:
        self._talk.a_call_extends(which, by, more)

    @rule(which=any_hold, to=st.integers(-1, 40))
    def a_call_is_lowered(self, which: int, to: int) -> None:
        self._talk.a_call_is_lowered(which, to)

    @rule(which=any_hold, lives=st.integers(0, 10_000))
    def a_call_is_renewed(self, which: int, lives: int) -> None:
        self._talk.a_call_is_renewed(which, lives)

    @rule(which=any_hold, amounts=any_amounts, source=st.sampled_from(Source))
    def a_call_is_settled_or_corrected(self, which: int, amounts: Amounts, source: Source) -> None:
        self._talk.a_call_is_settled_or_corrected(which, amounts, source)

    @rule()
    def holds_expire(self) -> None:
        self._talk.holds_expire()

    @invariant()
    def all_of_it_agrees(self) -> None:
        self._talk.check()


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
