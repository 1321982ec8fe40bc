"""The gateway's Envoy is killed: the holds of its calls end at once, and what it still wrote corrects them."""

import json
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ending.acting_provider import ANSWER, CAP, PROMPT
from ending.stage import CHAT, Stage, staged

AT_ONCE_S = 10
"""Far below the deadline of a minute; a restart of Envoy is in it."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def test_open_calls_of_a_gateway_that_was_killed_end_at_once_at_their_ceiling(stage: Stage) -> None:
    served = stage.call("json")
    served.read()
    open_calls = [stage.begun(act) for act in ("stream held", "json held")]
    stage.kill(stage.gateway)
    begun = time.monotonic()
    for call, bill in open_calls:
        ended = stage.ended(bill.call)
        assert (ended["outcome"], ended["source"], ended["output_tokens"]) == ("expired", "ceiling", CAP)
        call.leave()
    assert time.monotonic() - begun < AT_ONCE_S
    assert stage.ended(stage.bill(served).call)["source"] == "provider"
    assert stage.in_order()


def test_R23_a_line_that_turns_up_after_that_corrects_the_charge(stage: Stage) -> None:
    call, bill = stage.begun("stream held")
    stage.kill(stage.gateway)
    call.leave()
    assert stage.ended(bill.call)["outcome"] == "expired"
    usage = {"prompt_tokens": PROMPT, "completion_tokens": ANSWER}
    line = {"id": bill.call, "code": 200, "details": "via_upstream", "upstream_bytes_sent": 1, "usage": usage}
    with (stage.installation.state / "gateway" / "access.log").open("ab") as log:
        log.write(json.dumps(line).encode() + b"\n")
    corrected = stage.known(bill.call, lambda call: call["source"] == "provider")
    assert (corrected["outcome"], corrected["output_tokens"]) == ("settled", ANSWER)
    assert stage.in_order()


def test_calls_of_the_next_gateway_keep_their_holds(stage: Stage) -> None:
    call, bill = stage.begun("stream held")
    later, its_bill = stage.begun("json")
    later.read()
    assert stage.ended(its_bill.call)["source"] == "provider"
    assert stage.books(bill.call)["outcome"] == "open"
    stage.acting.go_on()
    call.read()
    assert stage.ended(bill.call)["source"] == "provider"


def test_a_sidecar_that_is_killed_ends_its_calls_like_callers_that_leave(stage: Stage) -> None:
    call, bill = stage.begun("stream held")
    stage.kill(stage.sidecar)
    call.leave()
    ended = stage.ended(bill.call)
    assert (ended["outcome"], ended["source"], ended["output_tokens"]) == ("settled", "ceiling", CAP)
    assert stage.in_order()


def test_a_gateway_that_is_killed_under_load_leaves_nothing_open_and_nothing_out(stage: Stage) -> None:
    rolls = random.Random(6)
    moments = [rolls.uniform(0, 1.5) for _ in range(40)]

    def one(moment: float) -> None:
        time.sleep(moment)
        try:
            stage.call(rolls.choice(["json", "stream", "stream slowly", "json slowly"]), CHAT).read()
        except OSError:
            return

    with ThreadPoolExecutor(len(moments)) as pool:
        calls = [pool.submit(one, moment) for moment in moments]
        time.sleep(0.75)
        stage.kill(stage.gateway)
        for call in calls:
            call.result()
    for call_id in {bill.call for bill in stage.acting.bills} | stage.granted():
        stage.ended(call_id)
    assert stage.in_order()


def test_an_installation_that_is_killed_ends_its_open_calls_when_it_starts_again(stage: Stage) -> None:
    call, bill = stage.begun("stream held")
    stage.installation.stop(signal.SIGKILL)
    stage.installation.ready_file.unlink()
    stage.installation.start()
    call.leave()
    stage.wait_until_it_serves()
    ended = stage.ended(bill.call)
    # Settled where the gateway lived long enough to tell that the sidecar was gone.
    assert ended["outcome"] in ("expired", "settled")
    assert (ended["source"], ended["output_tokens"]) == ("ceiling", CAP)
    assert stage.in_order()
