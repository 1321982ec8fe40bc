"""Ends may be told twice, in any order, and before their hold is there: each call is counted once."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from tollway.ledger.port import CallFacts, Counter, Demand, Granted, Hold, Sizes, Source
from tollway.ledger.units import LIFETIME, Amounts, Unit
from tollway.pricing.data import default_book
from tollway.settling.call_end import CallEnd
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.metrics import Metrics
from tollway_extauthz.scraping import Scrape
from tollway_extauthz.settler import Settler
from tollway_extauthz.stores.memory import MemoryLedger

PRICED = default_book().find("OpenAI", "gpt-4o-mini")
assert PRICED is not None
FACTS = CallFacts(
    "spiffe://cluster.local/ns/a/sa/b/agent/b",
    "a",
    "openai",
    "gpt-4o-mini",
    "chat.completions",
    price=PRICED.row.to_json(),
    input_ceiling=100,
    family="OpenAI",
)
OUTPUT = Counter("a", "q", "output", Unit.OUTPUT_TOKENS, LIFETIME)
HOLD_MS = 60_000


class Setting:
    def __init__(self) -> None:
        self.now = 1_000_000
        self.ledger = MemoryLedger()
        self.metrics = Metrics()
        self.settler = Settler(self.ledger, LearnedOutputs(), self.metrics, self._clock, HOLD_MS)

    def grant(self, call_id: str, size: int = 50, facts: CallFacts = FACTS) -> None:
        demand = Demand(OUTPUT, limit=1000, base=0, rate=1000)
        with self.ledger.batch():
            deadline = self.now + HOLD_MS
            outcome = self.ledger.reserve(call_id, facts, [demand], Sizes(size, size), self.now, deadline)
            assert isinstance(outcome, Granted)
            self.settler.granted(call_id)
        self.settler.confirm()

    def take(self, end: CallEnd) -> None:
        with self.ledger.batch():
            self.settler.take(end)
        self.settler.confirm()

    def expire(self, granted_before: int = 0) -> None:
        with self.ledger.batch():
            self.settler.expire(granted_before)
        self.settler.confirm()

    def hold(self, call_id: str) -> Hold:
        found = self.ledger.hold(call_id)
        assert found is not None
        return found

    def counted(self) -> tuple[int, int]:
        """(used, held) of the output."""
        states = self.ledger.counters(self.now)
        return (states[0].used, states[0].held) if states else (0, 0)

    def metric(self, name: str, **labels: str) -> float:
        registry = CollectorRegistry()
        registry.register(Scrape(self.metrics.counts()))
        return registry.get_sample_value(name, labels) or 0.0

    def _clock(self) -> int:
        return self.now

    def _wall_clock(self) -> int:
        return self.now + self.wall_is_ahead


@pytest.fixture
def setting() -> Setting:
    return Setting()


def served(call_id: str, output: int) -> CallEnd:
    return CallEnd(call_id, 200, True, True, {"prompt_tokens": 10, "completion_tokens": output})


def left(call_id: str) -> CallEnd:
    """The caller left, or Envoy gave up, before anything went to the provider."""
    return CallEnd(call_id, 0, False, False, {})


def running(call_id: str, written_at: int) -> CallEnd:
    return CallEnd(call_id, 200, False, True, {}, written_at=written_at, final=False)


def test_an_end_that_is_told_twice_counts_once(setting: Setting) -> None:
    setting.grant("a")
    for _ in range(2):
        setting.take(served("a", 7))
    assert setting.counted() == (7, 0)
    assert setting.metric("tollway_tokens_total", provider="openai", type="output") == 7


def test_an_end_that_comes_before_its_hold_ends_it_when_it_is_granted(setting: Setting) -> None:
    setting.take(left("a"))
    setting.grant("a")
    assert setting.hold("a").amounts == Amounts()
    assert setting.counted() == (0, 0)


def test_the_same_end_told_again_after_that_changes_nothing(setting: Setting) -> None:
    setting.take(left("a"))
    setting.grant("a")
    setting.take(left("a"))
    assert setting.ledger.verify() == []
    assert setting.metric("tollway_settlements_total", provider="openai", source="metered") == 1


def test_an_end_of_another_call_ends_nothing(setting: Setting) -> None:
    setting.take(left("b"))
    setting.grant("a")
    assert setting.counted() == (0, 50)


def test_an_entry_that_cannot_be_settled_does_not_keep_later_ones_from_it(setting: Setting) -> None:
    setting.grant("a", facts=replace(FACTS, price="{"))
    setting.grant("b")
    for call_id in ("a", "b"):
        setting.take(served(call_id, 7))
    assert setting.hold("a").source is None
    assert setting.hold("b").source is Source.PROVIDER


def test_of_a_transaction_that_failed_nothing_is_remembered(setting: Setting) -> None:
    setting.grant("a")

    def fail() -> None:
        with setting.ledger.batch():
            setting.settler.take(served("a", 7))
            raise OSError

    with pytest.raises(OSError):
        fail()
    setting.settler.forget()
    assert setting.counted() == (0, 50)
    setting.take(served("a", 7))
    assert setting.counted() == (7, 0)
    assert setting.metric("tollway_tokens_total", provider="openai", type="output") == 7


def test_the_truth_corrects_a_hold_that_expired(setting: Setting) -> None:
    setting.grant("a")
    setting.now += HOLD_MS
    setting.expire()
    assert (setting.hold("a").source, setting.counted()) == (Source.CEILING, (50, 0))
    setting.take(served("a", 7))
    assert (setting.hold("a").source, setting.counted()) == (Source.PROVIDER, (7, 0))


def test_a_correction_upwards_adds_its_difference_to_the_metrics(setting: Setting) -> None:
    setting.grant("a")
    setting.now += HOLD_MS
    setting.expire()
    setting.take(served("a", 70))
    assert setting.metric("tollway_tokens_total", provider="openai", type="output") == 70
    assert setting.metric("tollway_over_ceiling_total", provider="openai") == 1


def test_a_call_that_still_runs_keeps_its_hold(setting: Setting) -> None:
    setting.grant("a")
    for _ in range(4):
        setting.now += HOLD_MS // 2
        setting.take(running("a", setting.now))
        setting.expire()
    assert setting.hold("a").source is None


def test_a_deadline_counts_from_when_the_call_was_seen_and_never_moves_back(setting: Setting) -> None:
    begun = setting.now
    setting.grant("a")
    setting.now += 50_000
    setting.take(running("a", written_at=begun + 15_000))
    assert setting.hold("a").deadline == begun + 15_000 + HOLD_MS
    setting.take(running("a", written_at=begun))
    assert setting.hold("a").deadline == begun + 15_000 + HOLD_MS
    setting.take(running("a", written_at=setting.now + 5_000))
    assert setting.hold("a").deadline == setting.now + HOLD_MS


def test_a_sign_of_life_does_not_open_a_hold_that_has_ended(setting: Setting) -> None:
    setting.grant("a")
    setting.take(served("a", 7))
    setting.take(running("a", setting.now))
    assert setting.hold("a").source is Source.PROVIDER


def test_holds_of_a_gateway_that_is_gone_end_at_once_and_those_of_the_next_stay(setting: Setting) -> None:
    setting.grant("old")
    setting.now += 10
    started = setting.now
    setting.now += 10
    setting.grant("new", size=1)
    setting.expire(granted_before=started)
    assert setting.hold("old").source is Source.CEILING
    assert setting.hold("new").source is None
    assert setting.counted() == (50, 1)
