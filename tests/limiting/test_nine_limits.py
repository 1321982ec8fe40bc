"""A call under five quotas with nine limits, in all units and over all windows: granted on all of them, or on none.

64 clients of three agents spend until most of it is gone; then the journal, every counter and a last refusal are read.
"""

import asyncio
import json
import random
import re
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal

import openai
import pytest

from installations import KEY, DemoProvider, Installation, agent, provider, quota, running, secret
from tollway.ledger.port import Counter, JournalRow, RowKind
from tollway.ledger.units import Unit, WindowKind
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings
from tollway_extauthz.stores.sqlite import SQLiteLedger

CLIENTS, CALLS = 64, 8
MODELS = ("gpt-4o", "gpt-4o-mini")
PAID = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a", "labels": {"tier": "paid"}}}

DOCUMENTS = [
    secret(),
    provider(),
    PAID,
    agent("anna"),
    agent("bert", serviceAccountName="shared"),
    agent("carl", serviceAccountName="shared"),
    quota(
        "agents",
        {"name": "calls", "requests": 72, "window": "Day", "timeZone": "Europe/Berlin"},
        {"name": "parallel", "concurrent": 9},
        per=["Agent"],
    ),
    quota(
        "models",
        {"name": "read", "inputTokens": 10_000_000, "window": "30m"},
        {"name": "written", "outputTokens": 8_000, "window": "5h"},
        per=["Provider", "Model"],
    ),
    quota("accounts", {"name": "tokens", "tokens": 13_000, "window": "Week"}, per=["ServiceAccount"]),
    quota(
        "company",
        {"name": "dollars", "cost": "0.085", "window": "Month", "timeZone": "America/Sao_Paulo"},
        {"name": "burst", "requests": 3_000, "window": "1s"},
        namespace="tollway-system",
        namespaces={"matchLabels": {"tier": "paid"}},
        per=["Namespace"],
    ),
    quota(
        "tried-out",
        {"name": "few", "requests": 3, "window": "Year"},
        {"name": "cheap", "cost": "0.001", "window": "Lifetime"},
        mode="Shadow",
    ),
]
NAMES = {"calls", "parallel", "read", "written", "tokens", "dollars", "burst", "few", "cheap"}
SHADOW = {"few", "cheap"}
SETTINGS = ProviderSettings(key=KEY, behaviour=Behaviour(output_tokens=60, latency_ms=5, chunk_tokens=8))


@pytest.fixture(scope="module")
def spent() -> Iterator[tuple[Installation, DemoProvider]]:
    with running(DOCUMENTS, settings=SETTINGS) as (installation, served):
        asyncio.run(all_clients(installation))
        installation.settled_calls(1)
        yield installation, served


@pytest.fixture(scope="module")
def rows(spent: tuple[Installation, DemoProvider]) -> Sequence[JournalRow]:
    ledger = SQLiteLedger(spent[0].state / "ledger.sqlite")
    try:
        return list(ledger.journal())
    finally:
        ledger.close()


async def all_clients(installation: Installation) -> None:
    urls = [installation.base_url(f"team-a/{name}") for name in ("anna", "bert", "carl")]
    clients = [openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0, timeout=60) for url in urls]
    await asyncio.gather(*(some_calls(clients[n % 3], random.Random(n)) for n in range(CLIENTS)))
    for client in clients:
        await client.close()


async def some_calls(client: openai.AsyncOpenAI, dice: random.Random) -> None:
    for _ in range(CALLS):
        try:
            await call(client, dice)
        except openai.RateLimitError:
            await asyncio.sleep(dice.random() / 20)


async def call(client: openai.AsyncOpenAI, dice: random.Random) -> None:
    answer = await client.chat.completions.create(
        model=dice.choice(MODELS),
        messages=[{"role": "user", "content": "x" * dice.randrange(10, 400)}],
        max_completion_tokens=dice.choice((64, 128, 512)),
        stream=dice.random() < 0.3,
    )
    if isinstance(answer, openai.AsyncStream):
        async for _ in answer:
            pass


def test_every_grant_is_on_all_nine_limits_with_the_same_size(rows: Sequence[JournalRow]) -> None:
    grants = [row for row in rows if row.kind is RowKind.GRANT]
    assert len(grants) > 100
    for row in grants:
        assert row.facts is not None
        most = row.facts.ceiling(row.size)
        took = {entry.counter.limit: entry.held for entry in row.entries}
        assert len(row.entries) == len(NAMES)
        assert took.pop("parallel") == 1
        assert took == {
            name: most.of(unit)
            for name, unit in (
                *((name, Unit.REQUESTS) for name in ("calls", "burst", "few")),
                *(("read", Unit.INPUT_TOKENS), ("written", Unit.OUTPUT_TOKENS), ("tokens", Unit.TOKENS)),
                *((name, Unit.COST) for name in ("dollars", "cheap")),
            )
        }


def test_every_end_gives_back_all_that_was_held_on_every_limit(rows: Sequence[JournalRow]) -> None:
    held: defaultdict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        for entry in row.entries:
            held[row.call_id, entry.counter.limit] += entry.held
    assert set(held.values()) == {0}


def test_no_enforced_counter_is_ever_over_its_limit(rows: Sequence[JournalRow]) -> None:
    standing: defaultdict[tuple[Counter, int], int] = defaultdict(int)
    for row in rows:
        for entry in row.entries:
            window = entry.counter.window
            # All of the test lies within the long rolling windows; only seconds are told apart.
            short = window.kind is WindowKind.ROLLING and window.length_ms == 1000
            bucket = row.at // 1000 if short else 0 if window.kind is WindowKind.ROLLING else entry.bucket
            key = entry.counter, bucket
            standing[key] += entry.held + entry.used
            assert entry.counter.limit in SHADOW or standing[key] <= entry.limit, row


def test_a_shadow_limit_counts_every_call_and_refuses_none(rows: Sequence[JournalRow], spent: object) -> None:
    refusals = [row for row in rows if row.kind is RowKind.REFUSE]
    assert refusals
    assert not [row for row in refusals if "tried-out" in row.message]
    used: Tally[str] = Tally()
    for row in rows:
        used.update({entry.counter.limit: entry.used for entry in row.entries})
    assert used["few"] == used["calls"] == sum(row.kind is RowKind.GRANT for row in rows) > 3
    assert used["cheap"] == used["dollars"] > 1_000_000


def test_counters_are_kept_apart_as_each_quota_says(rows: Sequence[JournalRow]) -> None:
    apart = defaultdict(set)
    for row in rows:
        for entry in row.entries:
            apart[entry.counter.quota].add(tuple(value for _, value in entry.counter.per))
    assert dict(apart) == {
        "agents": {(name, "team-a") for name in ("anna", "bert", "carl")},
        "models": {(model, "openai") for model in MODELS},
        "accounts": {("team-a", "anna"), ("team-a", "shared")},
        "company": {("team-a",)},
        "tried-out": {()},
    }


def test_a_refusal_names_every_limit_that_was_short_and_no_other(spent: tuple[Installation, DemoProvider]) -> None:
    installation, _ = spent
    counters = json.loads(installation.tollway("limits", "-o", "json"))["counters"]
    left = {
        each["limit"]: each["remaining"]
        for each in counters
        if set(each["per"].values()) <= {"bert", "shared", "team-a", "openai", "gpt-4o"}
    }
    with (
        openai.OpenAI(base_url=installation.base_url("team-a/bert"), api_key="x", max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as refused,
    ):
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "x" * 30_000}], max_completion_tokens=512
        )
    needs = short(str(refused.value))
    assert {"tokens", "dollars"} <= set(needs)
    assert {limit for limit, needed in needs.items() if needed <= left[limit]} == set()
    # What the others need at the very least; of the answer that is not known here.
    least = {"calls": 1, "burst": 1, "parallel": 1, "read": 30_000}
    assert {limit for limit, needed in least.items() if needed > left[limit]} == set(needs) & set(least)


def short(message: str) -> dict[str, int]:
    """Limit and what the call needs of it, of every limit that a refusal names; money in nano-USD."""
    named = re.findall(r"Limit '([a-z]+)' of AIQuota .*?needs at least ([\d,.]+) (\w+)", message)
    scale = {"USD": 1_000_000_000}
    return {limit: int(Decimal(amount.replace(",", "")) * scale.get(unit, 1)) for limit, amount, unit in named}


def test_the_provider_served_what_the_ledger_says(spent: tuple[Installation, DemoProvider]) -> None:
    installation, served = spent
    totals = json.loads(installation.tollway("ledger", "-o", "json"))["totals"]
    log = served.app[CALL_LOG]
    assert totals["output_tokens"] == sum(each.usage.completion_tokens for each in log)
    assert json.loads(installation.tollway("ledger", "verify", "-o", "json"))["ok"]
