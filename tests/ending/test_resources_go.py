"""What a call was admitted by may be gone when it ends: it is settled all the same, against counters that stay."""

from collections.abc import Iterator

import pytest

from ending.acting_provider import ANSWER
from ending.stage import Stage, documents, staged


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def without(stage: Stage, kind: str, name: str) -> list[dict[str, object]]:
    found = documents(stage.acting)
    return [each for each in found if (each["kind"], each["metadata"]["name"]) != (kind, name)]


@pytest.mark.parametrize(("kind", "name"), [("AIQuota", "plenty"), ("AIProvider", "openai")])
def test_R31_a_call_is_settled_though_what_admitted_it_was_deleted(stage: Stage, kind: str, name: str) -> None:
    call, bill = stage.begun("stream held")
    stage.put_into_force(without(stage, kind, name))
    refused = stage.call("json")
    refused.read()
    assert refused.response.status in (403, 404)
    stage.acting.go_on()
    assert b"[DONE]" in call.read()
    ended = stage.ended(bill.call)
    assert (ended["source"], ended["output_tokens"]) == ("provider", ANSWER)
    stage.put_into_force(documents(stage.acting))
    assert stage.in_order()


def test_R31_a_quota_that_was_made_again_has_what_it_had(stage: Stage) -> None:
    used = {counter["limit"]: counter["used"] for counter in stage.ask("/limits")["counters"]}
    stage.put_into_force(without(stage, "AIQuota", "plenty"))
    stage.put_into_force(documents(stage.acting))
    assert {counter["limit"]: counter["used"] for counter in stage.ask("/limits")["counters"]} == used
    assert used["output"] > 0
