"""A hold lives as long as its call is seen to run, and not a moment longer than its deadline after that."""

import time
from collections.abc import Iterator

import pytest

from ending.acting_provider import ANSWER, CAP
from ending.stage import Stage, staged
from installations import wait_until

HOLD_MS = 2000


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(hold_ms=HOLD_MS) as stage:
        yield stage


def kinds(stage: Stage, call_id: str) -> list[str]:
    return [row["kind"] for row in stage.explained(call_id)["rows"]]


def test_a_call_that_runs_longer_than_its_deadline_keeps_its_hold_and_settles_once(stage: Stage) -> None:
    calls = [stage.begun("stream for long"), stage.begun("json held"), stage.begun("stream held")]
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 2.5 * HOLD_MS / 1000, 10)
    assert {stage.books(bill.call)["outcome"] for _, bill in calls} == {"open"}
    stage.acting.go_on()
    for call, bill in calls:
        call.read()
        ended = stage.ended(bill.call)
        assert (ended["outcome"], ended["source"], ended["output_tokens"]) == ("settled", "provider", bill.output)
        assert kinds(stage, bill.call) == ["grant", "settle"]
    assert stage.in_order()


def test_R23_a_hold_whose_gateway_is_silent_expires_at_its_ceiling_and_the_truth_corrects_it(stage: Stage) -> None:
    call, bill = stage.begun("stream held")
    with stage.paused(stage.gateway):
        silent_since = time.monotonic()
        expired = stage.ended(bill.call)
        assert time.monotonic() - silent_since < HOLD_MS / 1000 + 2
        assert (expired["outcome"], expired["source"], expired["output_tokens"]) == ("expired", "ceiling", CAP)
        assert {counter["held"] for counter in stage.ask("/limits")["counters"]} == {0}
        stage.acting.go_on()
    call.read()
    corrected = stage.known(bill.call, lambda call: call["source"] == "provider")
    assert (corrected["outcome"], corrected["output_tokens"]) == ("settled", ANSWER)
    assert kinds(stage, bill.call) == ["grant", "expire", "correct"]
    assert stage.in_order()


def test_no_hold_was_open_longer_than_its_deadline_after_its_call_was_seen(stage: Stage) -> None:
    for call in stage.calls():
        rows = [row for row in stage.explained(call["id"])["rows"] if row["kind"] in ("grant", "expire")]
        if len(rows) == 2:
            # Seen for the last time within one interval of renewal after the grant, at the latest.
            assert rows[1]["at"] - rows[0]["at"] < 2 * HOLD_MS + 1000
