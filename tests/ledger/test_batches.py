"""Many operations, kept together or not at all. Every test runs against every store."""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.builders import (
    HOUR,
    MINUTE,
    NOON,
    TODAY,
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
from tollway.ledger.port import (
    Demand,
    DuplicateHold,
    Granted,
    Ledger,
    LimitRecounting,
    Refused,
    RowKind,
    Settlement,
    Sizes,
    Source,
)
from tollway.ledger.units import Amounts, Window, WindowKind
from tollway_extauthz.stores.memory import MemoryLedger
from tollway_extauthz.stores.sqlite import SQLiteLedger
from tollway_extauthz.stores.transacting import READ_AT_ONCE

MONTH = Window(WindowKind.MONTH)
Store = MemoryLedger | SQLiteLedger


class GivenUp(Exception):  # noqa: N818 - named for what happened
    pass


def begin(ledger: Ledger, hold_id: str, demand: Demand, size: int) -> Granted:
    """A call of an agent whose ID is one of ours, so that it can be counted another way."""
    agent = facts("ns/team-a/sa/anna/agent/anna")
    granted = ledger.reserve(hold_id, agent, [demand], Sizes(size, size), NOON, NOON + MINUTE)
    assert isinstance(granted, Granted)
    return granted


def settle(ledger: Ledger, hold_id: str, output: int) -> Settlement:
    return ledger.settle(hold_id, Amounts(1, 0, output, 0), Source.PROVIDER, NOON)


def in_another_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_what_one_batch_did_is_all_there_when_it_ends(ledger: Store) -> None:
    grant(ledger, "before", tokens(100), most=10)
    with ledger.batch():
        grant(ledger, "a", tokens(100), requests(5), most=10)
        settle(ledger, "before", 7)
        ledger.record_refusal(Refused("no", facts(), "quota.none", "No."), NOON)
        settle(ledger, "a", 3)
        ledger.set_checkpoint("log", "7")
    assert counts(ledger) == {"tokens": (10, 0), "requests": (1, 0)}
    assert [row.kind.value for row in ledger.journal()] == ["grant", "grant", "settle", "refuse", "settle"]
    assert ledger.checkpoint("log") == "7"


def test_a_batch_that_is_left_by_an_error_never_was(ledger: Store) -> None:
    grant(ledger, "before", tokens(100), most=10)

    def batch() -> None:
        with ledger.batch():
            grant(ledger, "a", tokens(100), requests(5), most=10)
            settle(ledger, "before", 7)
            ledger.renew("a", NOON + HOUR)
            ledger.expire(NOON + 2 * MINUTE)
            ledger.set_checkpoint("log", "7")
            raise GivenUp

    with pytest.raises(GivenUp):
        batch()
    assert counts(ledger) == {"tokens": (0, 10)}
    assert [row.call_id for row in ledger.journal()] == ["before"]
    assert (ledger.hold("a"), ledger.checkpoint("log")) == (None, None)
    grant(ledger, "a", tokens(100), requests(5), most=10)
    assert settle(ledger, "before", 2) is Settlement.SETTLED
    assert counts(ledger) == {"tokens": (2, 10), "requests": (0, 1)}


def test_what_one_operation_of_a_batch_raises_hurts_no_other(ledger: Store) -> None:
    with ledger.batch():
        grant(ledger, "a", tokens(100), most=10)
        with pytest.raises(DuplicateHold):
            grant(ledger, "a", tokens(100), most=10)
        with pytest.raises(ValueError, match="must be between"):
            settle(ledger, "a", -1)
        with pytest.raises(ValueError, match="No moment"):
            ledger.renew("a", 2**70)
        with pytest.raises(ValueError, match="a limit only once"):
            grant(ledger, "twice", tokens(100), tokens(100), most=10)
        assert reasons(refuse(ledger, "b", tokens(100), most=100)) == [("tokens", "held", NOON + 1000)]
        grant(ledger, "c", tokens(100), most=10)
    assert counts(ledger) == {"tokens": (0, 20)}
    assert [row.call_id for row in ledger.journal()] == ["a", "c"]


def test_a_text_that_is_none_hurts_nobody_else_in_its_batch(path: Path) -> None:
    with closing(SQLiteLedger(path)) as ledger:
        with ledger.batch():
            grant(ledger, "a", tokens(100), most=10)
            for refused in (Refused("r", facts(), "x", "\ud800"), Refused("r", facts("\ud800"), "x", "x")):
                with pytest.raises(ValueError, match="surrogates not allowed"):
                    ledger.record_refusal(refused, NOON)
            with pytest.raises(ValueError, match="surrogates not allowed"):
                grant(ledger, "\ud800", tokens(100), most=10)
        assert [row.call_id for row in ledger.journal()] == ["a"]
        assert ledger.verify() == []


def test_each_operation_of_a_batch_sees_those_before_it(ledger: Store) -> None:
    with ledger.batch():
        grant(ledger, "a", slots(1))
        refuse(ledger, "b", slots(1))
        hold = ledger.hold("a")
        assert hold is not None
        assert hold.source is None
        settle(ledger, "a", 5)
        hold = ledger.hold("a")
        assert hold is not None
        assert hold.amounts == Amounts(1, 0, 5, 0)
        grant(ledger, "b", slots(1))
        assert settle(ledger, "a", 5) is Settlement.UNCHANGED
        assert list(ledger.expire(NOON + MINUTE)) == ["b"]
        grant(ledger, "c", slots(1))
    assert counts(ledger) == {"parallel": (0, 1)}


def test_nobody_else_sees_a_batch_before_its_end(ledger: SQLiteLedger) -> None:
    if isinstance(ledger, MemoryLedger):
        return  # who asks it waits for the end
    seen: list[object] = []
    with ledger.batch():
        grant(ledger, "a", tokens(100), most=10)
        in_another_thread(lambda: seen.extend([ledger.hold("a"), counts(ledger), ledger.verify()])).join()
    assert seen == [None, {}, []]
    assert counts(ledger) == {"tokens": (0, 10)}


def test_what_another_thread_changes_waits_for_the_end_of_a_batch_and_is_no_part_of_it(ledger: Store) -> None:
    def batch(threads: list[threading.Thread]) -> None:
        with ledger.batch():
            grant(ledger, "a", slots(1))
            threads.append(in_another_thread(lambda: grant(ledger, "b", slots(1))))
            threads[0].join(0.05)
            assert threads[0].is_alive()
            raise GivenUp

    threads: list[threading.Thread] = []
    with pytest.raises(GivenUp):
        batch(threads)
    threads[0].join()
    assert [row.call_id for row in ledger.journal()] == ["b"]


def test_a_batch_within_a_batch_is_part_of_it(ledger: Store) -> None:
    def batch() -> None:
        with ledger.batch():
            with ledger.batch():
                grant(ledger, "a", tokens(100), most=10)
            raise GivenUp

    with pytest.raises(GivenUp):
        batch()
    assert counts(ledger) == {}


def shared(limit: int, window: Window) -> Demand:
    """Output tokens of all agents."""
    return replace(tokens(limit), counter=replace(counter("tokens", window=window), per=()))


def test_a_limit_that_changed_is_seeded_within_the_batch_that_meets_it(ledger: Store) -> None:
    begin(ledger, "a", shared(100, TODAY), 60)
    with ledger.batch():
        begin(ledger, "b", shared(100, TODAY), 20)
        settle(ledger, "a", 50)
        begin(ledger, "c", shared(100, MONTH), 30)
        refuse(ledger, "d", shared(100, MONTH), most=1)
    assert [row.kind for row in ledger.journal()].count(RowKind.SEED) == 1


def test_a_batch_waits_for_no_recount_of_a_long_journal(ledger: Store) -> None:
    month = shared(10_000, MONTH)
    begin(ledger, "a", shared(10_000, TODAY), 60)
    with ledger.batch():
        for n in range(READ_AT_ONCE):
            ledger.record_refusal(Refused(f"{n}", facts(), "r", ""), NOON)
    with ledger.batch():
        with pytest.raises(LimitRecounting, match="Limit tokens of AIQuota team-a/research was changed"):
            begin(ledger, "b", month, 30)
        grant(ledger, "c", requests(5))
    for _ in range(500):
        with ledger.batch():
            try:
                granted = begin(ledger, "b", month, 30)
            except LimitRecounting:
                granted = None
        if granted is not None:
            break
        threading.Event().wait(0.01)
    assert isinstance(granted, Granted)
    used = {each.counter.window.kind: each.held for each in ledger.counters(NOON) if each.counter.limit == "tokens"}
    assert used == {WindowKind.DAY: 60, WindowKind.MONTH: 90}
    assert counts(ledger)["requests"] == (0, 1)
