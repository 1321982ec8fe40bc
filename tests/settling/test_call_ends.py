"""What an access-log entry means for the hold that it ends."""

from dataclasses import replace

import pytest

from tollway.ledger.holds import MAX_AMOUNT
from tollway.ledger.port import CallFacts, Hold, Source
from tollway.ledger.units import Amounts
from tollway.pricing.data import default_book
from tollway.pricing.table import override_row
from tollway.providers.anthropic.family import ANTHROPIC
from tollway.providers.openai.family import OPENAI, OPENAI_COMPATIBLE
from tollway.settling.call_end import OUT_OF_TIME, CallEnd, account

Fields = dict[str, int | str]

PRICED = default_book().find("OpenAI", "gpt-4o-mini")
CLAUDE = default_book().find("Anthropic", "claude-sonnet-4-5")
assert PRICED is not None
assert CLAUDE is not None
FACTS = CallFacts(
    agent="spiffe://cluster.local/ns/a/sa/b/agent/b",
    namespace="a",
    provider="openai",
    model="gpt-4o-mini",
    operation="chat.completions",
    stream=True,
    price=PRICED.row.to_json(),
    input_ceiling=300,
    answers=2,
    input_rate=150_000,
    output_rate=600_000,
    family="OpenAI",
    visible_output=True,
)
HOLD = Hold("call", FACTS, size=100, deadline=60_000, granted_at=0)
USAGE: Fields = {"prompt_tokens": 120, "completion_tokens": 30, "response_model": "gpt-4o-mini-2024-07-18"}
SAID = Amounts(1, 120, 30, 120 * 150 + 30 * 600)
WHOLE = Amounts(requests=1, input_tokens=300, output_tokens=200, cost=300 * 150 + 200 * 600)
ASKED = Amounts(requests=1)


def bytes_of(received: int) -> Amounts:
    """The input's ceiling and one token of output a byte."""
    return Amounts(1, 300, received, 300 * 150 + received * 600)


def end(
    status: int = 200,
    *,
    whole: bool = True,
    reached: bool = True,
    usage: Fields | None = None,
    received: int = 5000,
    compressed: bool = False,
) -> CallEnd:
    return CallEnd("call", status, whole, reached, usage or {}, received, compressed)


CASES = {
    "the provider's usage": (end(usage=USAGE), SAID, Source.PROVIDER),
    "usage in an answer that is an error": (end(500, usage=USAGE), SAID, Source.PROVIDER),
    "the caller left after the usage": (end(whole=False, usage=USAGE), SAID, Source.PROVIDER),
    "nothing left for the provider": (end(503, whole=False, reached=False), Amounts(), Source.METERED),
    "the provider has had enough of us": (end(429), ASKED, Source.BOUNDED),
    "the provider failed": (end(500), ASKED, Source.BOUNDED),
    "the provider sent us elsewhere": (end(302), ASKED, Source.BOUNDED),
    "an error that did not arrive whole": (end(500, whole=False), WHOLE, Source.CEILING),
    "a whole answer without usage": (end(received=150), bytes_of(150), Source.BOUNDED),
    "a long answer without usage": (end(received=5000), WHOLE, Source.CEILING),
    "a whole answer of as many bytes as tokens were allowed": (end(received=200), WHOLE, Source.CEILING),
    "an answer that was compressed": (end(received=150, compressed=True), WHOLE, Source.CEILING),
    "a usage that is no usage": (end(usage={"prompt_tokens": "many"}), WHOLE, Source.CEILING),
    "the caller left before the answer": (end(0, whole=False, received=0), WHOLE, Source.CEILING),
    "the caller left in the middle": (end(whole=False, received=150), WHOLE, Source.CEILING),
    "the connection to the provider broke": (end(503, whole=False, received=0), WHOLE, Source.CEILING),
} | {
    f"somebody in front of the model had waited too long: {status}": (end(status, received=90), WHOLE, Source.CEILING)
    for status in sorted(OUT_OF_TIME)
}


@pytest.mark.parametrize(("ended", "amounts", "source"), CASES.values(), ids=CASES)
def test_it_is_settled_as_it_is_known(ended: CallEnd, amounts: Amounts, source: Source) -> None:
    assert account(ended, HOLD, OPENAI) == (amounts, source)


def test_what_a_hidden_answer_may_have_cost_unseen_is_its_ceiling() -> None:
    hidden = replace(HOLD, facts=replace(FACTS, visible_output=False))
    assert account(end(received=150), hidden, OPENAI) == (WHOLE, Source.CEILING)


def test_a_call_whose_format_nobody_knows_is_charged_its_ceiling() -> None:
    assert account(end(usage=USAGE), HOLD, None) == (WHOLE, Source.CEILING)


def test_a_running_count_is_final_only_where_the_stream_came_to_its_end() -> None:
    bounded = Amounts(1, 120, 200, 120 * 150 + 200 * 600)
    assert account(end(usage=USAGE), HOLD, OPENAI_COMPATIBLE) == (SAID, Source.PROVIDER)
    assert account(end(whole=False, usage=USAGE), HOLD, OPENAI_COMPATIBLE) == (bounded, Source.BOUNDED)


def test_a_running_count_that_is_over_the_ceiling_already_is_a_fact() -> None:
    counted: Fields = {"prompt_tokens": 120, "completion_tokens": 250}
    amounts, source = account(end(whole=False, usage=counted), HOLD, OPENAI_COMPATIBLE)
    assert (amounts.output_tokens, source) == (250, Source.BOUNDED)


def test_a_count_beyond_all_reason_is_counted_as_the_most_that_can_be() -> None:
    absurd: Fields = {"prompt_tokens": 2**39, "completion_tokens": 2**39}
    dear = replace(HOLD, facts=replace(FACTS, price=override_row("x", 10**9, 10**9, source="test").to_json()))
    amounts, source = account(end(usage=absurd), dear, OPENAI)
    assert (amounts.cost, source) == (MAX_AMOUNT, Source.PROVIDER)


# What `message_start` tells: most of the input was read from the cache.
BEGUN: Fields = {"started_message_input": 20, "started_message_cache_read": 200, "started_message_tier": "standard"}


def claude() -> Hold:
    row = CLAUDE.row  # type: ignore[union-attr]
    dearest = row.dearest(300, "standard", audio=False)
    facts = replace(
        FACTS,
        family="Anthropic",
        price=row.to_json(),
        answers=1,
        input_rate=dearest.input,
        output_rate=dearest.output,
    )
    return replace(HOLD, facts=facts)


def test_of_a_message_that_was_cut_the_input_is_known_and_the_output_is_its_ceiling() -> None:
    hold = claude()
    amounts, source = account(end(whole=False, usage=BEGUN), hold, ANTHROPIC)
    assert (amounts.input_tokens, amounts.output_tokens, source) == (220, 100, Source.BOUNDED)
    # 3 USD per million tokens of input, 0.30 from the cache, 15 of output.
    assert amounts.cost == 20 * 3000 + 200 * 300 + 100 * 15_000
    assert amounts.cost < hold.facts.ceiling(100).cost


def test_a_message_that_failed_after_its_beginning_is_bounded_by_what_was_sent() -> None:
    amounts, source = account(end(usage=BEGUN, received=60), claude(), ANTHROPIC)
    assert (amounts.input_tokens, amounts.output_tokens, source) == (220, 60, Source.BOUNDED)


def test_a_message_whose_reason_to_stop_was_seen_is_the_providers_number_though_the_caller_left() -> None:
    said: Fields = {**BEGUN, "message_output": 7, "streamed_message_ended": "end_turn"}
    amounts, source = account(end(whole=False, usage=said), claude(), ANTHROPIC)
    assert (amounts.output_tokens, source) == (7, Source.PROVIDER)


def test_zeros_along_a_stream_that_was_cut_are_no_counts_yet() -> None:
    zeros: Fields = {"prompt_tokens": 0, "total_tokens": 0}
    cut = end(whole=False, usage=zeros)
    assert account(cut, HOLD, OPENAI_COMPATIBLE) == account(end(whole=False), HOLD, OPENAI_COMPATIBLE)
    assert account(cut, HOLD, OPENAI_COMPATIBLE) == (WHOLE, Source.CEILING)
