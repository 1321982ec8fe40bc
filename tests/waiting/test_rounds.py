"""A call that is short only by open holds waits a moment; any other is answered at once, and nobody waits for it."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tollway.ledger.port import CallFacts, Demand, Granted, LedgerUnavailable, Short, Sizes
from tollway.providers.port import ParsedCall
from tollway_extauthz.body_reader import BodyReader
from tollway_extauthz.stores.memory import MemoryLedger
from waiting.stage import BODY, Stage, until

pytestmark = pytest.mark.asyncio


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, MemoryLedger())


async def test_a_call_that_is_short_by_a_hold_goes_when_that_hold_ends(stage: Stage) -> None:
    first, second = stage.ask("first"), stage.ask("second")
    await until(lambda: first.said)
    assert (first.said, second.said) == ("granted", "")
    stage.end("first")
    await until(lambda: second.said)
    assert second.said == "granted"


async def test_those_who_wait_go_in_the_order_in_which_they_came(stage: Stage) -> None:
    first, *others = [stage.ask(f"call-{number}") for number in range(4)]
    await until(lambda: first.said)
    for number, asker in enumerate(others):
        assert [each.said for each in others[number:]] == [""] * (3 - number)
        stage.end(f"call-{number}")
        await until(lambda asker=asker: asker.said)
        assert asker.said == "granted"


async def test_a_call_that_is_short_by_a_hold_that_stays_is_refused_as_held_after_the_wait(stage: Stage) -> None:
    stage.ask("first")
    second = stage.ask("second")
    await until(lambda: second.said)
    assert second.said == "quota.concurrent.held"
    assert second.took_s >= 0.24


async def test_a_call_that_is_spent_is_refused_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, MemoryLedger(), budget="0.000000001")
    asker = stage.ask("first")
    await until(lambda: asker.said)
    assert asker.said == "quota.cost.spent"
    assert asker.took_s < 0.2


async def test_others_are_not_held_up_by_those_who_wait(stage: Stage) -> None:
    stage.ask("first")
    waiting = [stage.ask(f"waiting-{number}") for number in range(50)]
    unreadable = stage.ask("other", b"{")
    await until(lambda: unreadable.said)
    assert unreadable.said.startswith("request.")
    assert {asker.said for asker in waiting} == {""}


async def test_when_all_seats_are_taken_a_call_is_refused_as_held_at_once(stage: Stage) -> None:
    stage.ask("first")
    askers = [stage.ask(f"call-{number}") for number in range(130)]
    await until(lambda: askers[-1].said)
    assert askers[-1].said == "quota.concurrent.held"
    assert askers[0].said == ""


async def test_for_a_caller_that_left_nothing_is_held(stage: Stage) -> None:
    gone = stage.ask("gone")
    gone.is_wanted = False
    asker = stage.ask("next")
    await until(lambda: asker.said)
    assert asker.said == "granted"
    assert stage.ledger.hold("gone") is None


async def test_a_caller_that_leaves_while_it_waits_is_not_granted_anything(stage: Stage) -> None:
    stage.ask("first")
    second, third = stage.ask("second"), stage.ask("third")
    await asyncio.sleep(0.02)
    second.is_wanted = False
    stage.end("first")
    await until(lambda: third.said)
    assert third.said == "granted"
    assert stage.ledger.hold("second") is None


async def test_an_end_that_is_told_before_its_grant_ends_it(stage: Stage) -> None:
    stage.end("first")
    await asyncio.sleep(0.01)
    first = stage.ask("first")
    await until(lambda: first.said)
    second = stage.ask("second")
    await until(lambda: second.said)
    assert (first.said, second.said) == ("granted", "granted")


async def test_a_call_id_that_was_used_before_is_refused(stage: Stage) -> None:
    stage.ask("same")
    stage.end("same")
    again = stage.ask("same")
    await until(lambda: again.said)
    assert again.said == "tollway.internal"


@pytest.mark.parametrize("message", [b"", b"\xff\xff", b"garbage" * 100], ids=["empty", "no message", "garbage"])
async def test_what_is_no_question_is_refused(stage: Stage, message: bytes) -> None:
    asker = type(stage.ask("x"))()
    stage.rounds.ask(asker, message)
    await until(lambda: asker.said)
    assert asker.said != "granted"


@pytest.mark.parametrize("call_id", ["", "a b", "a\n", "ä", "x" * 129], ids=["none", "space", "line", "ä", "long"])
async def test_a_call_without_an_id_that_can_be_told_is_refused(stage: Stage, call_id: str) -> None:
    asker = stage.ask(call_id)
    await until(lambda: asker.said)
    assert asker.said == "tollway.internal"


async def test_without_rules_every_call_is_refused(stage: Stage) -> None:
    stage.rules = None
    asker = stage.ask("first")
    await until(lambda: asker.said)
    assert asker.said == "tollway.internal"


class FailingLedger(MemoryLedger):
    """Fails as a full disk does: when everything is to be written."""

    fails = False

    @contextmanager
    def batch(self) -> Iterator[None]:
        with super().batch():
            yield
            if self.fails:
                raise LedgerUnavailable("The disk is full.")


async def test_of_a_round_that_cannot_be_written_no_call_is_granted_and_none_is_held(tmp_path: Path) -> None:
    ledger = FailingLedger()
    stage = Stage(tmp_path, ledger)
    ledger.fails = True
    askers = [stage.ask(f"call-{number}") for number in range(3)]
    await until(lambda: all(asker.said for asker in askers))
    assert {asker.said for asker in askers} == {"tollway.internal"}
    assert ledger.counters(stage.clock()) == []
    ledger.fails = False
    after = stage.ask("after")
    await until(lambda: after.said)
    assert after.said == "granted"


class BrokenLedger(MemoryLedger):
    """Cannot take one certain call, for no reason that it knows itself."""

    def reserve(
        self, hold_id: str, facts: CallFacts, demands: tuple[Demand, ...], sizes: Sizes, now: int, deadline: int
    ) -> Granted | Short:
        if hold_id == "odd":
            raise ZeroDivisionError
        return super().reserve(hold_id, facts, demands, sizes, now, deadline)


async def test_a_call_that_cannot_be_decided_does_not_keep_the_others_of_its_round_from_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, BrokenLedger())
    odd, fine = stage.ask("odd"), stage.ask("fine")
    await until(lambda: odd.said and fine.said)
    assert (odd.said, fine.said) == ("tollway.internal", "granted")


def big(filler: int = 300_000) -> bytes:
    return json.dumps({**BODY, "messages": [{"role": "user", "content": "a" * filler}]}).encode()


async def test_a_big_body_is_decided_and_does_not_hold_up_a_small_one(stage: Stage) -> None:
    slow, quick = stage.ask("big", big()), stage.ask("small")
    await until(lambda: quick.said)
    assert (slow.said, quick.said) == ("", "granted")
    stage.end("small")
    await until(lambda: slow.said)
    assert slow.said in {"granted", "request.too_many_tokens", "quota.cost.spent"}
    await stage.rounds.finish(1)


async def test_a_big_body_that_cannot_be_understood_is_refused_for_what_is_wrong_with_it(stage: Stage) -> None:
    asker = stage.ask("big", big()[:-1] + b',"background":true}')
    await until(lambda: asker.said)
    assert asker.said == "request.unbounded"
    await stage.rounds.finish(1)


async def test_a_body_that_kills_its_reader_is_refused_and_the_next_one_is_read(stage: Stage) -> None:
    first = stage.ask("first", big())
    await until(lambda: stage.rounds.reader_pid is not None)
    os.kill(stage.rounds.reader_pid or 0, signal.SIGKILL)
    await until(lambda: first.said)
    second = stage.ask("second", big())
    await until(lambda: second.said)
    assert (first.said, second.said) == ("tollway.internal", "granted")
    await stage.rounds.finish(1)


async def test_the_process_that_reads_big_bodies_ends_when_there_are_none_and_comes_back(stage: Stage) -> None:
    reader = BodyReader(idle_s=0.05)
    question = stage.parsed_question(big())
    assert isinstance(await reader.read(question, lambda: True), ParsedCall)
    await until(lambda: reader.pid is None)
    assert isinstance(await reader.read(question, lambda: True), ParsedCall)
    await reader.close()


async def test_a_big_body_of_nobody_is_not_even_read(stage: Stage) -> None:
    stage.rules = None
    asker = stage.ask("first", big())
    await until(lambda: asker.said)
    assert stage.rounds.reader_pid is None
