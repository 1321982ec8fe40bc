"""A call that is short only by open holds waits a moment; any other is refused at once."""

import threading
import time

import pytest

from tollway.ledger.port import CallFacts, Counter, Demand, Granted, Short, Sizes, Source
from tollway.ledger.units import LIFETIME, Amounts, Unit
from tollway_extauthz.gate import Gate
from tollway_extauthz.stores.memory import MemoryLedger

FACTS = CallFacts("spiffe://cluster.local/ns/a/sa/b/agent/b", "a", "openai", "gpt-4o-mini", "chat.completions")
SLOT = Demand(Counter("a", "q", "parallel", Unit.CONCURRENT, LIFETIME), limit=1, base=1000)
MONEY = Demand(Counter("a", "q", "budget", Unit.COST, LIFETIME), limit=100, base=60_000)
NO_OUTPUT = Sizes(0, 0)


def clock() -> int:
    return time.monotonic_ns() // 1_000_000


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


def reserve(gate: Gate, hold_id: str, demand: Demand = SLOT, wanted: bool = True) -> Granted | Short:
    return gate.reserve(hold_id, FACTS, [demand], NO_OUTPUT, lambda: wanted)


def test_a_call_that_is_short_by_a_hold_goes_when_that_hold_ends(ledger: MemoryLedger) -> None:
    gate = Gate(ledger, clock, most_waiters=1)
    assert isinstance(reserve(gate, "first"), Granted)

    def end_first() -> None:
        ledger.settle("first", Amounts(1), Source.PROVIDER, clock())
        gate.hold_ended()

    threading.Timer(0.05, end_first).start()
    assert isinstance(reserve(gate, "second"), Granted)


def test_a_call_that_is_short_by_a_hold_that_stays_is_refused_as_held_after_the_wait(ledger: MemoryLedger) -> None:
    gate = Gate(ledger, clock, most_waiters=1)
    reserve(gate, "first")
    before = clock()
    outcome = reserve(gate, "second")
    assert isinstance(outcome, Short)
    assert outcome.held_only
    assert clock() - before >= 250


def test_a_call_that_is_spent_is_refused_at_once(ledger: MemoryLedger) -> None:
    gate = Gate(ledger, clock, most_waiters=1)
    reserve(gate, "first", MONEY)
    ledger.settle("first", Amounts(1, cost=60), Source.PROVIDER, clock())
    before = clock()
    outcome = reserve(gate, "second", MONEY)
    assert isinstance(outcome, Short)
    assert not outcome.held_only
    assert clock() - before < 200


def test_without_a_free_seat_nobody_waits(ledger: MemoryLedger) -> None:
    gate = Gate(ledger, clock, most_waiters=0)
    reserve(gate, "first")
    before = clock()
    assert isinstance(reserve(gate, "second"), Short)
    assert clock() - before < 200


def test_a_caller_that_left_is_not_waited_for(ledger: MemoryLedger) -> None:
    gate = Gate(ledger, clock, most_waiters=1)
    reserve(gate, "first")
    before = clock()
    assert isinstance(reserve(gate, "second", wanted=False), Short)
    assert clock() - before < 200


def test_an_end_between_the_attempt_and_the_wait_is_not_missed(ledger: MemoryLedger) -> None:
    class Ending(MemoryLedger):
        """Ends the first hold right behind a refused reservation, before anyone waits."""

        def reserve(self, *arguments: object) -> Granted | Short:  # type: ignore[override]
            outcome = super().reserve(*arguments)  # type: ignore[arg-type]
            if isinstance(outcome, Short):
                self.settle("first", Amounts(1), Source.PROVIDER, clock())
                gate.hold_ended()
            return outcome

    gate = Gate(Ending(), clock, most_waiters=1)
    reserve(gate, "first")
    before = clock()
    assert isinstance(reserve(gate, "second"), Granted)
    assert clock() - before < 200
