"""The process that decides and settles is killed, or stands still, at each moment that matters: a call counts once."""

import time
from collections.abc import Iterator

import pytest

from ending.acting_provider import ANSWER
from ending.stage import Stage, staged
from installations import wait_until


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(data_plane="dying_data_plane") as stage:
        yield stage


def kinds(stage: Stage, call_id: str) -> list[str]:
    return [row["kind"] for row in stage.explained(call_id)["rows"]]


def refused(stage: Stage, act: str) -> None:
    """A call that is not made, because nobody can decide about it."""
    call = stage.call(act)
    call.read()
    assert (call.response.status, call.response.headers["x-tollway-reason"]) == (503, "tollway.unavailable")


def test_R19_killed_before_the_grant_the_call_is_refused_and_nobody_has_heard_of_it(stage: Stage) -> None:
    before = stage.granted()
    with stage.data_plane_dies("before-grant"):
        refused(stage, "json")
    assert stage.granted() == before
    assert stage.in_order()


def test_R19_killed_after_the_grant_the_call_is_refused_and_its_hold_given_back(stage: Stage) -> None:
    before = stage.granted()
    with stage.data_plane_dies("after-grant"):
        refused(stage, "json")
    (call_id,) = stage.granted() - before
    ended = stage.ended(call_id)
    assert (ended["outcome"], ended["source"], ended["output_tokens"]) == ("released", "metered", 0)
    assert stage.in_order()


@pytest.mark.parametrize("moment", ["before-settlement", "after-settlement"])
def test_R19_killed_at_the_settlement_the_call_is_settled_once_with_the_providers_number(
    stage: Stage, moment: str
) -> None:
    with stage.data_plane_dies(moment):
        call, bill = stage.begun("stream")
        call.read()
    ended = stage.ended(bill.call)
    assert (ended["outcome"], ended["source"], ended["output_tokens"]) == ("settled", "provider", ANSWER)
    assert kinds(stage, bill.call) == ["grant", "settle"]
    assert stage.in_order()


def test_R19_killed_while_a_call_runs_the_call_goes_on_and_is_settled(stage: Stage) -> None:
    call, bill = stage.begun("stream held")
    stage.kill(stage.data_plane)
    stage.acting.go_on()
    assert b"[DONE]" in call.read()
    assert stage.ended(bill.call)["source"] == "provider"
    assert kinds(stage, bill.call) == ["grant", "settle"]
    assert stage.in_order()


def test_R23_what_ends_while_it_stands_still_is_told_twice_and_counted_once(stage: Stage) -> None:
    calls = [stage.begun("stream held") for _ in range(5)]
    with stage.paused(stage.data_plane):
        stage.acting.go_on()
        for call, _ in calls:
            call.read()
    for _, bill in calls:
        assert stage.ended(bill.call)["source"] == "provider"
        assert kinds(stage, bill.call) == ["grant", "settle"]
    assert stage.in_order()


def test_R20_a_caller_that_leaves_while_it_is_decided_holds_nothing(stage: Stage) -> None:
    before = stage.granted()
    with stage.paused(stage.data_plane):
        call = stage.call("json")
        stage.wait_for_check()
        call.leave()
        stage.wait_for_line()
    stage.wait_until_it_serves()
    assert nothing_of(stage, before)


def test_R20_a_decision_that_comes_after_envoy_gave_up_holds_nothing(stage: Stage) -> None:
    before = stage.granted()
    with stage.paused(stage.data_plane):
        refused(stage, "json")
    stage.wait_until_it_serves()
    assert nothing_of(stage, before)


def test_R23_an_end_that_is_told_before_the_hold_is_in_the_ledger_ends_it(stage: Stage) -> None:
    before = stage.granted()
    with stage.locked_ledger():
        call = stage.call("json")
        stage.wait_for_check()
        call.leave()
        stage.wait_for_line()
        # The log's reader has been past it by now.
        time.sleep(0.3)
    stage.wait_until_it_serves()
    assert nothing_of(stage, before)


def nothing_of(stage: Stage, before: set[str]) -> bool:
    """Whether every call since `before` was given back, and none reached the provider."""
    since = stage.granted() - before
    wait_until(lambda: all(stage.books(each)["outcome"] == "released" for each in since), 5)
    assert not since & {bill.call for bill in stage.acting.bills}
    return stage.in_order()
