"""A decision in two steps, between which another process may have parsed the body."""

import pickle
from collections.abc import Callable

import msgspec
import pytest

from deciding.builders import BODY, Scene, ask
from tollway.deciding.admission import Admission, decide
from tollway.deciding.checks import CHECKS, CHECKS_BEFORE_BODY, first_refusal, refusal_before_body
from tollway.deciding.question import CallerProblem, Question, understand
from tollway.providers.port import ParsedCall, Refusal, RequestRefused

LONG = {**BODY, "messages": [{"role": "user", "content": "x" * 300_000}]}
UNREADABLE = b'{"model":"canary","model":"canary"}'


def answered_elsewhere(q: Question) -> ParsedCall | RequestRefused:
    """What comes back of another process."""
    assert q.family is not None
    assert q.operation is not None
    given = pickle.loads(pickle.dumps((q.operation, q.body, q.headers.get("content-type", ""))))
    answer = pickle.dumps(understand(q.family, *given))
    assert len(answer) < 1024
    assert b"xxx" not in answer
    found = pickle.loads(answer)
    assert isinstance(found, ParsedCall | RequestRefused)
    return found


def outcome(q: Question) -> Admission | Refusal:
    return decide(q, lambda _agent, _model: None)


@pytest.mark.parametrize("body", [BODY, LONG, UNREADABLE, {**BODY, "max_completion_tokens": 0}])
def test_what_was_parsed_elsewhere_is_decided_as_if_it_had_been_parsed_here(body: bytes) -> None:
    here, there = ask(body=body), ask(body=body)
    assert refusal_before_body(there) is None
    there.take_parsed(answered_elsewhere(there))
    assert outcome(there) == outcome(here)


@pytest.mark.parametrize("body", [BODY, LONG])
def test_a_parsed_call_survives_a_wire_format_too(body: bytes) -> None:
    call = ask(body=body).call
    assert call.places
    told = msgspec.msgpack.decode(msgspec.msgpack.encode(call), type=ParsedCall)
    assert (told, told.places) == (call, call.places)


def test_what_was_taken_is_not_parsed_again() -> None:
    parsed = ask().call
    question = ask(body=b"no JSON at all")
    question.take_parsed(parsed)
    assert first_refusal(question) is None
    assert question.call is parsed


def test_the_edits_of_a_body_parsed_elsewhere_are_the_same() -> None:
    here, there = ask(body=LONG), ask(body=LONG)
    there.take_parsed(answered_elsewhere(there))
    assert here.family is not None
    assert here.family.edits(there.call, there.body, 7) == here.family.edits(here.call, here.body, 7) != []


REFUSED: dict[str, Callable[[], Question]] = {
    "identity": lambda: ask(caller=CallerProblem("identity.expired", "It expired.")),
    "identity in force": lambda: ask(Scene(agents=())),
    "headers": lambda: ask(repeated=frozenset({"authorization"})),
    "provider": lambda: ask(provider_name="nobody"),
    "query": lambda: ask(query=frozenset({"x"})),
    "operation": lambda: ask(path="/v1/files"),
}


@pytest.mark.parametrize("question", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_whatever_the_body_says_is_refused_before_it_is_parsed(
    question: Callable[[], Question],
) -> None:
    asked = question()
    refusal = refusal_before_body(asked)
    assert refusal is not None
    assert refusal == first_refusal(question())
    assert asked.understood is None


def test_the_checks_before_the_body_are_the_first_of_all_checks() -> None:
    assert CHECKS[: len(CHECKS_BEFORE_BODY)] == CHECKS_BEFORE_BODY
    assert CHECKS[len(CHECKS_BEFORE_BODY)][0] == "body"


def test_R30_two_ids_of_one_call_are_no_id() -> None:
    refusal = first_refusal(ask(repeated=frozenset({"x-request-id"})))
    assert refusal is not None
    assert refusal.reason == "request.malformed"


def test_a_refusal_quotes_no_more_of_a_name_than_a_name_can_have() -> None:
    refusal = first_refusal(ask(provider_name="p" * 1_000_000))
    assert refusal is not None
    assert len(refusal.message) < 400
