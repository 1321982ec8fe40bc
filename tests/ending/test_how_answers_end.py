"""However an answer ends, its call is settled with the provider's number, or with the most that it can have come to.

All calls are made at once, with real Envoys between them and a provider that ends its answers in every way there is.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pytest

from ending.acting_provider import ANSWER, CAP, PROMPT
from ending.stage import CHAT, COMPATIBLE, HIDING, MESSAGES, NOBODY, Call, Stage, Way, staged

Caller = Callable[[Call], object]
ITS_BOUND: Final = range(10 * PROMPT, 3000)
"""What the bytes of a request bound its input to."""


def exactly(tokens: int) -> range:
    return range(tokens, tokens + 1)


@dataclass(frozen=True)
class Ending:
    """A call, what its caller does, and how it stands in the books."""

    act: str
    source: str
    input: range
    output: range
    way: Way = CHAT
    caller: Caller = Call.read
    outcome: str = "settled"
    cap: int = CAP


def leaves_before_the_answer(call: Call) -> None:
    call.leave()


def leaves_in_the_middle(call: Call) -> None:
    call.read_until(b" word")
    call.leave()


def leaves_at_the_end(call: Call) -> None:
    call.read_until(b"[DONE]")
    call.leave()


def leaves_at_the_end_of_a_message(call: Call) -> None:
    call.read_until(b"message_stop")
    call.leave()


def said(act: str, output: int = ANSWER, **more: Any) -> Ending:
    """The provider's own number."""
    return Ending(act, "provider", exactly(PROMPT), exactly(output), **more)


def at_most(act: str, **more: Any) -> Ending:
    """All that it was allowed."""
    return Ending(act, "ceiling", ITS_BOUND, exactly(CAP), **more)


def input_known(act: str, **more: Any) -> Ending:
    """The input is the provider's own number, the output all that it was allowed."""
    return Ending(act, "bounded", exactly(PROMPT), exactly(CAP), **more)


def refused(act: str) -> Ending:
    """Only the request counts."""
    return Ending(act, "bounded", exactly(0), exactly(0))


ENDINGS: Final[Mapping[str, Ending]] = {
    "a JSON answer": said("json"),
    "a JSON answer larger than any buffer": said("long json"),
    "a stream": said("stream"),
    "a message": said("json", way=MESSAGES),
    "a message as a stream": said("stream", way=MESSAGES),
    # The caller leaves.
    "the caller leaves before a JSON answer": at_most("json slowly", caller=leaves_before_the_answer),
    "the caller leaves before a stream": at_most("stream slowly", caller=leaves_before_the_answer),
    "the caller leaves before a provider that says nothing": at_most("silence", caller=leaves_before_the_answer),
    "the caller leaves in the middle of a stream": at_most("stream slowly", caller=leaves_in_the_middle),
    "the caller leaves in the middle of a hidden answer": at_most(
        "stream slowly", way=HIDING, caller=leaves_in_the_middle
    ),
    "the caller leaves in the middle of a message": input_known(
        "stream slowly", way=MESSAGES, caller=leaves_in_the_middle
    ),
    "the caller leaves a stream that counts along": input_known(
        "stream counting", way=COMPATIBLE, caller=leaves_in_the_middle
    ),
    "the caller leaves at the end of a stream": said("stream lingers", caller=leaves_at_the_end),
    "the caller leaves at the end of a message": said(
        "stream lingers", way=MESSAGES, caller=leaves_at_the_end_of_a_message
    ),
    # The provider breaks off.
    "the provider resets before the answer": at_most("reset"),
    "the provider resets in the middle of a JSON answer": at_most("json cut"),
    "the provider resets in the middle of a stream": at_most("stream reset"),
    "the provider closes in the middle of a stream": at_most("stream closed"),
    "the provider resets in the middle of a message": input_known("stream reset", way=MESSAGES),
    "nobody is there": Ending("json", "metered", exactly(0), exactly(0), way=NOBODY, outcome="released"),
    # Time runs out.
    "the provider says nothing for too long": at_most("silence"),
    "the provider says nothing more for too long": at_most("stream stalls"),
    "the provider says no more of a message for too long": input_known("stream stalls", way=MESSAGES),
    "a stream is longer than any may be": at_most("stream for long"),
    "a stream that counts along is longer than any may be": input_known("stream counting for long", way=COMPATIBLE),
    # The provider answers with an error.
    "the provider has had enough of us": refused("429"),
    "the provider fails": refused("500"),
    "the provider is overloaded": refused("503"),
    "the provider fails and bills": said("failed with usage", 7),
    "what stands before the provider has waited long enough": at_most("gave up waiting"),
    # Usage is missing.
    "a JSON answer without usage": Ending("json without usage", "bounded", ITS_BOUND, range(ANSWER, 400), cap=4000),
    "a JSON answer without usage, longer than was allowed": at_most("json without usage"),
    "a hidden JSON answer without usage": at_most("json without usage", way=HIDING),
    "a JSON answer that nobody can read": at_most("json compressed"),
    "a stream without usage": at_most("stream without usage"),
    "a message that fails after its beginning": input_known("stream without usage", way=MESSAGES),
    "a stream that counts along": said("stream counting", CAP, way=COMPATIBLE),
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(silence_s=2, longest_stream_s=4) as stage:
        yield stage


@pytest.fixture(scope="module")
def books(stage: Stage) -> Mapping[str, Mapping[str, Any]]:
    """Each ending as it stands in the books."""
    with ThreadPoolExecutor(len(ENDINGS)) as pool:
        ids = dict(zip(ENDINGS, pool.map(lambda ending: play(stage, ending), ENDINGS.values()), strict=True))
    return {name: stage.ended(call_id) for name, call_id in ids.items()}


def play(stage: Stage, ending: Ending) -> str:
    """Make the call; returns its id, which a caller that leaves early never learns: the provider tells it."""
    call = stage.call(ending.act, ending.way, ending.cap)
    call_id = call.id if ending.way is NOBODY else stage.bill(call).call
    ending.caller(call)
    return call_id


@pytest.mark.parametrize("name", ENDINGS)
def test_R24_it_is_settled_with_the_providers_number_or_bounded_and_labelled(
    name: str, books: Mapping[str, Mapping[str, Any]]
) -> None:
    ending, call = ENDINGS[name], books[name]
    assert (call["outcome"], call["source"]) == (ending.outcome, ending.source)
    assert call["input_tokens"] in ending.input
    assert call["output_tokens"] in ending.output


def test_R24_nothing_is_below_what_the_provider_generated_and_nothing_is_counted_twice(
    stage: Stage, books: Mapping[str, Mapping[str, Any]]
) -> None:
    assert len(books) == len(ENDINGS)
    assert stage.in_order()


def test_the_request_counts_once_bytes_have_left(stage: Stage, books: Mapping[str, Mapping[str, Any]]) -> None:
    counters = {counter["limit"]: counter["used"] for counter in stage.ask("/limits")["counters"]}
    assert counters["requests"] == sum(call["outcome"] == "settled" for call in books.values())


def test_the_end_of_a_call_is_one_row_of_the_journal(stage: Stage, books: Mapping[str, Mapping[str, Any]]) -> None:
    for call in books.values():
        kinds = [row["kind"] for row in stage.explained(call["id"])["rows"]]
        assert kinds == ["grant", "settle"]
