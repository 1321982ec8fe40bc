"""What a family says of headers and caches is decided on: a format, features, the most that a token can cost."""

from dataclasses import replace

import pytest

from deciding.builders import Scene, ask, provider
from tollway.deciding.admission import Admission, decide
from tollway.deciding.checks import first_refusal, trace
from tollway.deciding.question import Question
from tollway.ledger.units import Unit
from tollway.pricing.data import default_book
from tollway.providers.port import HeaderEdit, Kind
from tollway.resources.models import ProviderType

MODEL = "claude-sonnet-5"
SCENE = Scene(providers=(provider("anthropic", type=ProviderType.ANTHROPIC),))
HEADERS = {"content-type": "application/json", "anthropic-version": "2026-10-21"}
BODY = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}


def message(*, repeated: frozenset[str] = frozenset(), without: str = "", **members: object) -> Question:
    body = BODY | members
    question = ask(SCENE, path="/v1/messages", provider_name="anthropic", body=body, repeated=repeated)
    return replace(question, headers={name: value for name, value in HEADERS.items() if name != without})


def test_a_message_in_order_is_admitted() -> None:
    assert first_refusal(message()) is None


def test_a_message_of_no_known_format_is_refused_before_its_body_is_read() -> None:
    question = message(without="anthropic-version")
    refusal = first_refusal(question)
    assert refusal is not None
    assert (refusal.kind, refusal.reason, refusal.param) == (Kind.INVALID, "request.unreadable", "anthropic-version")
    assert trace(question)[-1][0] == "features"
    assert question.understood is None


@pytest.mark.parametrize("header", ["anthropic-version", "anthropic-beta", "x-api-key"])
def test_a_header_that_two_readers_could_read_differently_may_come_only_once(header: str) -> None:
    refusal = first_refusal(message(repeated=frozenset({header})))
    assert refusal is not None
    assert refusal.reason == "request.malformed"


def test_features_are_edited_out_and_not_refused() -> None:
    question = replace(message(), headers=HEADERS | {"anthropic-beta": "context-1m-2025-08-07"})
    assert first_refusal(question) is None
    assert question.header_edits == (HeaderEdit("anthropic-beta", "", ("context-1m-2025-08-07",)),)


def test_other_families_edit_no_header() -> None:
    assert ask().header_edits == ()


@pytest.mark.parametrize(
    ("members", "times"),
    [
        ({}, (1, 1)),
        ({"cache_control": {"type": "ephemeral"}}, (5, 4)),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, (2, 1)),
    ],
    ids=["no cache", "five minutes", "an hour"],
)
def test_input_is_held_at_the_price_of_writing_it_to_the_cache_only_where_it_may_be(
    members: dict[str, object], times: tuple[int, int]
) -> None:
    priced = default_book().find("Anthropic", MODEL)
    assert priced is not None
    question = message(**members)
    admission = decide(question, lambda *_: None)
    assert isinstance(admission, Admission)
    (money,) = [demand for demand in admission.demands if demand.counter.unit is Unit.COST]
    dearest = priced.row.steps[0].rates.input * times[0] // times[1]
    assert admission.facts.input_rate == dearest
    assert money.base == question.call.input_bound * dearest


def test_counting_tokens_needs_a_quota_and_holds_nothing() -> None:
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    question = ask(SCENE, path="/v1/messages/count_tokens", provider_name="anthropic", body=body)
    question = replace(question, headers=HEADERS)
    admission = decide(question, lambda *_: None)
    assert isinstance(admission, Admission)
    assert (admission.sizes.useful, admission.sizes.most) == (0, 0)
    assert admission.facts.ceiling(0).cost == 0
    uncovered = first_refusal(replace(question, rules=replace(SCENE, quotas=()).book()))
    assert uncovered is not None
    assert uncovered.reason == "quota.none"


def test_a_budget_for_thinking_is_never_shrunk_to_less_than_the_provider_takes() -> None:
    question = message(max_tokens=9000, thinking={"type": "enabled", "budget_tokens": 8000})
    admission = decide(question, lambda *_: None)
    assert isinstance(admission, Admission)
    assert (admission.sizes.useful, admission.sizes.most) == (1025, 9000)
