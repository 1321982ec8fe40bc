"""What decides and what carries calls dies, stands still, or has no disk and no descriptor left, under 16 callers: each
is answered or refused as its provider would refuse it, calls are made again within seconds, and everything adds up."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ending.acting_provider import ANSWER
from ending.stage import CHAT, MESSAGES, Stage, staged
from installations import wait_until
from surviving.faults import (
    Crowd,
    full_disk,
    is_in_order,
    kill,
    no_descriptor_left,
    open_calls,
    recovers,
    told,
)

HOLD_MS = 4000
CALLERS = 16
UNDECIDED = "tollway.unavailable"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(hold_ms=HOLD_MS) as stage:
        yield stage


def test_R19_killed_under_16_callers_it_refuses_in_shape_and_serves_within_5_s(stage: Stage) -> None:
    with Crowd(stage, CALLERS) as crowd:
        crowd.is_answered(50)
        running, bill = stage.begun("stream held")
        killed = kill(stage.data_plane)
        crowd.is_refused(5, UNDECIDED)
        crowd.is_served_again(killed)
        stage.acting.go_on()
        assert b"[DONE]" in running.read()
    assert crowd.were_told_nothing_else()
    assert stage.ended(bill.call)["source"] == "provider"
    assert is_in_order(stage)


def test_R20_what_it_decides_after_envoy_gave_up_holds_nothing_until_its_deadline_at_most(stage: Stage) -> None:
    before = stage.granted()
    with stage.paused(stage.data_plane), ThreadPoolExecutor(CALLERS) as pool:
        begun = time.monotonic()
        answers = list(pool.map(lambda way: told(stage, way), [CHAT, MESSAGES] * (CALLERS // 2)))
        assert time.monotonic() - begun > 1.9, "this is the time-out of Envoy"
    resumed = time.monotonic()
    assert all(answer.is_refusal for answer in answers), answers
    assert recovers(stage, resumed)
    wait_until(lambda: not open_calls(stage), HOLD_MS / 1000 + 2)
    made = {bill.call for bill in stage.acting.bills}
    orphans = [call for call in stage.calls() if call["id"] in stage.granted() - before - made]
    assert all(call["outcome"] == "released" for call in orphans), orphans
    assert is_in_order(stage)


def test_R23_an_end_that_is_told_often_and_in_any_order_is_one_charge(stage: Stage) -> None:
    """The lines of the access log that Envoy wrote, written again: shuffled, each three times."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda way: told(stage, way), [CHAT, MESSAGES] * 8))
    assert all(answer.is_answer for answer in answers)
    assert is_in_order(stage)
    stage.wait_for_line()
    log = stage.installation.state / "gateway" / "access.log"
    books, lines = stage.calls(), log.read_bytes().splitlines(keepends=True)[-20:] * 3
    random.Random(23).shuffle(lines)
    with log.open("ab") as file:
        file.writelines(lines)
    after, bill = stage.begun("json")
    after.read()
    assert stage.ended(bill.call)["output_tokens"] == ANSWER
    assert [call for call in stage.calls() if call["id"] != bill.call] == books
    assert is_in_order(stage)


def test_a_full_disk_refuses_in_shape_and_what_ended_meanwhile_is_settled(stage: Stage) -> None:
    with Crowd(stage, CALLERS) as crowd:
        crowd.is_answered(20)
        running, bill = stage.begun("stream held")
        with full_disk(stage.data_plane):
            crowd.is_refused()
            stage.acting.go_on()
            assert b"[DONE]" in running.read()
            crowd.is_refused()
        crowd.is_served_again(time.monotonic())
    assert crowd.were_told_nothing_else()
    ended = stage.ended(bill.call)
    assert (ended["source"], ended["output_tokens"]) == ("provider", ANSWER)
    assert is_in_order(stage)


def test_a_full_disk_of_the_gateway_loses_no_end_of_a_call(stage: Stage) -> None:
    """Its log is the truth; while there is none, calls are told by the service, or end by their deadlines."""
    gateway = stage.gateway
    with Crowd(stage, CALLERS) as crowd, full_disk(gateway):
        crowd.is_answered(60)
    assert crowd.were_told_nothing_else()
    assert stage.gateway == gateway
    assert recovers(stage, time.monotonic())
    assert is_in_order(stage, within=HOLD_MS / 1000 + 5)


def test_without_descriptors_it_refuses_in_shape_and_serves_again_when_there_are_some(stage: Stage) -> None:
    data_plane = stage.data_plane
    with Crowd(stage, CALLERS) as crowd:
        crowd.is_answered(20)
        with no_descriptor_left(data_plane):
            # The next gateway cannot reach it.
            kill(stage.gateway)
            crowd.is_refused(20, UNDECIDED)
        crowd.is_served_again(time.monotonic())
    assert stage.data_plane == data_plane
    assert is_in_order(stage)


def test_while_it_cannot_be_started_calls_are_refused_and_afterwards_it_is(stage: Stage) -> None:
    """The supervisor has no descriptor for starting a process."""
    with Crowd(stage, CALLERS) as crowd:
        crowd.is_answered(20)
        with no_descriptor_left(stage.installation.pid):
            kill(stage.data_plane)
            wait_until(lambda: "could not be started" in stage.installation.output.read_text(), 10)
            crowd.is_refused()
        crowd.is_served_again(time.monotonic())
    assert crowd.were_told_nothing_else()
    assert "Too many open files" in stage.installation.output.read_text()
    assert is_in_order(stage)


def test_a_gateway_without_descriptors_is_back_within_5_s_of_having_some(stage: Stage) -> None:
    """Envoy ends when it cannot open a file of its own; its calls end with it."""
    with Crowd(stage, CALLERS) as crowd:
        crowd.is_answered(20)
        with no_descriptor_left(stage.gateway):
            time.sleep(1)
        crowd.is_served_again(time.monotonic())
    assert is_in_order(stage)
