"""64 clients against 1.00 USD, calls of mixed size, streams included: never more, and nearly all of it used."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator

import openai
import pytest

from installations import KEY, DemoProvider, Installation, agent, budget, provider, quota, running, secret
from tollway.ledger.port import RowKind
from tollway.pricing.data import default_book
from tollway.pricing.usage import Usage
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings
from tollway_extauthz.stores.sqlite import SQLiteLedger

LIMIT = 1_000_000_000
CLIENTS = 64
# Dear enough that the dollar is gone after some hundreds of calls.
BIG, SMALL = "gpt-4-turbo", "gpt-4o"
SMALLEST_CAP = 64

DOCUMENTS = [secret(), provider(), agent("swarm"), quota("dollar", budget("1.00"))]
SETTINGS = ProviderSettings(
    key=KEY,
    models={
        BIG: Behaviour(output_tokens=300, latency_ms=5),
        SMALL: Behaviour(output_tokens=120, latency_ms=2, chunk_tokens=8),
    },
)


@pytest.fixture(scope="module")
def spent() -> Iterator[tuple[Installation, DemoProvider]]:
    """The installation after all clients were told that the budget is spent."""
    with running(DOCUMENTS, settings=SETTINGS) as (installation, served):
        asyncio.run(spend_all(installation.base_url("team-a/swarm")))
        installation.settled_calls(1)
        yield installation, served


async def spend_all(base_url: str) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0, timeout=60) as client:
        await asyncio.gather(*(spend(client, random.Random(number)) for number in range(CLIENTS)))


async def spend(client: openai.AsyncOpenAI, dice: random.Random) -> None:
    """Call until the smallest call is refused as spent; go on after every refusal that says held."""
    smallest = False
    while True:
        try:
            await call(client, dice, smallest)
        except openai.RateLimitError as refusal:
            if refusal.code == "insufficient_quota":
                if smallest:
                    return
                smallest = True
            else:
                await asyncio.sleep(0.02 + dice.random() / 20)


async def call(client: openai.AsyncOpenAI, dice: random.Random, smallest: bool) -> None:
    words = "x" * (10 if smallest else dice.randrange(10, 2000))
    cap = SMALLEST_CAP if smallest else dice.choice((SMALLEST_CAP, 256, 1024))
    answer = await client.chat.completions.create(
        model=SMALL if smallest else dice.choice((BIG, SMALL)),
        messages=[{"role": "user", "content": words}],
        max_completion_tokens=cap,
        stream=dice.random() < 0.5,
    )
    if isinstance(answer, openai.AsyncStream):
        async for _ in answer:
            pass


def test_at_no_instant_is_more_than_a_dollar_settled_and_held(spent: tuple[Installation, DemoProvider]) -> None:
    installation, _ = spent
    installation.stop()
    ledger = SQLiteLedger(installation.state / "ledger.sqlite")
    total, grants = 0, 0
    for row in ledger.journal():
        total += sum(entry.held + entry.used for entry in row.entries)
        grants += row.kind is RowKind.GRANT
        assert total <= LIMIT, row
    ledger.close()
    installation.start()
    assert grants > 100


def test_the_providers_own_bill_is_the_ledgers_and_within_the_dollar(spent: tuple[Installation, DemoProvider]) -> None:
    installation, served = spent
    book = default_book()
    billed = 0
    for record in served.app[CALL_LOG]:
        priced = book.find("OpenAI", record.model)
        assert priced is not None
        usage = Usage(input=record.usage.prompt_tokens, output=record.usage.completion_tokens)
        billed += priced.row.cost(usage)
    ledger = json.loads(installation.tollway("ledger", "-o", "json"))
    assert billed == ledger["totals"]["cost"] <= LIMIT


def test_less_is_left_than_the_smallest_call_could_cost(spent: tuple[Installation, DemoProvider]) -> None:
    installation, _ = spent
    (counter,) = json.loads(installation.tollway("limits", "-o", "json"))["counters"]
    priced = default_book().find("OpenAI", SMALL)
    assert priced is not None
    # A request of 10 words' bytes is some 200 bytes in all; every byte may be a token.
    dearest = priced.row.dearest(1000, "auto", audio=False)
    worst = (400 * dearest.input + SMALLEST_CAP * dearest.output) // 1000
    assert counter["held"] == 0
    assert 0 <= counter["remaining"] < worst


def test_every_counter_can_be_recomputed_from_the_journal(spent: tuple[Installation, DemoProvider]) -> None:
    installation, _ = spent
    assert json.loads(installation.tollway("ledger", "verify", "-o", "json"))["ok"]


def test_every_call_that_was_granted_has_ended_with_the_providers_number(
    spent: tuple[Installation, DemoProvider],
) -> None:
    installation, served = spent
    outcomes: dict[str, int] = defaultdict(int)
    for each in installation.calls():
        if each["outcome"] != "refused":
            outcomes[f"{each['outcome']} {each['source']}"] += 1
    assert outcomes == {"settled provider": len(served.app[CALL_LOG])}
