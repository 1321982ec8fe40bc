"""What an access-log entry means for the hold that it ends."""

import pytest

from tollway.ledger.port import CallFacts, Hold, Source
from tollway.ledger.units import Amounts
from tollway.pricing.data import default_book
from tollway.providers.openai.family import OPENAI
from tollway.settling.call_end import CallEnd, account

PRICED = default_book().find("OpenAI", "gpt-4o-mini")
assert PRICED is not None
FACTS = CallFacts(
    agent="spiffe://cluster.local/ns/a/sa/b/agent/b",
    namespace="a",
    provider="openai",
    model="gpt-4o-mini",
    operation="chat.completions",
    price=PRICED.row.to_json(),
    input_ceiling=300,
    answers=2,
    input_rate=150_000,
    output_rate=600_000,
)
HOLD = Hold("call", FACTS, size=100, deadline=60_000, granted_at=0)
USAGE = {"prompt_tokens": 120, "completion_tokens": 30, "response_model": "gpt-4o-mini-2024-07-18"}
WHOLE = Amounts(requests=1, input_tokens=300, output_tokens=200, cost=300 * 150 + 200 * 600)


def end(
    status: int = 200, *, answered: bool = True, reached: bool = True, usage: dict[str, int | str] | None = None
) -> CallEnd:
    return CallEnd("call", status, answered, reached, usage or {})


CASES = {
    "the provider's usage": (end(usage=USAGE), Amounts(1, 120, 30, 120 * 150 + 30 * 600), Source.PROVIDER),
    "usage in an answer that is an error": (
        end(500, usage=USAGE),
        Amounts(1, 120, 30, 120 * 150 + 30 * 600),
        Source.PROVIDER,
    ),
    "nothing left for the provider": (end(503, answered=False, reached=False), Amounts(), Source.METERED),
    "the provider refused": (end(429), Amounts(requests=1), Source.BOUNDED),
    "the provider failed": (end(500), Amounts(requests=1), Source.BOUNDED),
    "a good answer without usage": (end(200), WHOLE, Source.CEILING),
    "the caller left before the answer": (end(0, answered=False), WHOLE, Source.CEILING),
    "the connection to the provider broke": (end(503, answered=False), WHOLE, Source.CEILING),
    "a usage that is no usage": (end(200, usage={"prompt_tokens": "many"}), WHOLE, Source.CEILING),
}


@pytest.mark.parametrize(("ended", "amounts", "source"), CASES.values(), ids=CASES)
def test_it_is_settled_as_it_is_known(ended: CallEnd, amounts: Amounts, source: Source) -> None:
    assert account(ended, HOLD, OPENAI) == (amounts, source)


def test_a_call_of_a_provider_that_is_gone_is_charged_its_ceiling() -> None:
    assert account(end(usage=USAGE), HOLD, None) == (WHOLE, Source.CEILING)
