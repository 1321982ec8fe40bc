"""The decision server is killed under load: it fails closed, comes back, and what ended meanwhile is settled."""

import asyncio
import json
import os
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from installations import (
    KEY,
    DemoProvider,
    Installation,
    agent,
    budget,
    children_of,
    provider,
    quota,
    running,
    secret,
    wait_until,
)
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings

CALLS = 60


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Installation, DemoProvider]]:
    documents = [secret(), provider(), agent("caller"), quota("plenty", budget("50.00"))]
    settings = ProviderSettings(key=KEY, behaviour=Behaviour(latency_ms=300, output_tokens=5))
    with running(documents, settings=settings) as started:
        yield started


async def call_through_a_crash(installation: Installation) -> Counter[str]:
    """Calls spread over two seconds, and extauthz killed in their midst."""
    outcomes: Counter[str] = Counter()
    async with openai.AsyncOpenAI(
        base_url=installation.base_url("team-a/caller"), api_key="x", max_retries=0
    ) as client:

        async def one(number: int) -> None:
            await asyncio.sleep(number / 30)
            try:
                await client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], max_completion_tokens=10
                )
                outcomes["answered"] += 1
            except openai.APIStatusError as refused:
                outcomes[f"{refused.status_code} {refused.response.headers.get('x-tollway-reason')}"] += 1

        calls = asyncio.gather(*(one(number) for number in range(CALLS)))
        await asyncio.sleep(1)
        os.kill(extauthz_of(installation), signal.SIGKILL)
        await calls
    return outcomes


def extauthz_of(installation: Installation) -> int:
    pids = children_of(installation.pid)
    return next(pid for pid in pids if "tollway_extauthz" in Path(f"/proc/{pid}/cmdline").read_text())


def test_it_fails_closed_recovers_and_settles_every_call_with_the_providers_number(
    place: tuple[Installation, DemoProvider],
) -> None:
    installation, served = place
    outcomes = asyncio.run(call_through_a_crash(installation))
    assert set(outcomes) <= {"answered", "503 tollway.unavailable"}
    assert outcomes["answered"] > 10
    assert outcomes["503 tollway.unavailable"] > 0
    ended = installation.settled_calls(outcomes["answered"])
    settled = [call for call in ended if call["outcome"] == "settled"]
    assert Counter(call["source"] for call in settled) == {"provider": len(served.app[CALL_LOG])}
    assert json.loads(installation.tollway("ledger", "verify", "-o", "json"))["ok"]


def test_health_readiness_and_metrics_are_served(place: tuple[Installation, DemoProvider]) -> None:
    installation, _ = place
    with openai.OpenAI(base_url=installation.base_url("team-a/caller"), api_key="x", max_retries=5) as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    settings = json.loads((installation.state / "extauthz" / "settings.json").read_bytes())
    base = f"http://{settings.get('metrics_address', '127.0.0.1')}:{settings['metrics_port']}"
    for path in ("/healthz", "/readyz"):
        with urllib.request.urlopen(base + path, timeout=5) as answer:
            assert answer.status == 200

    def metrics() -> str:
        with urllib.request.urlopen(base + "/metrics", timeout=5) as answer:
            return answer.read().decode()

    wait_until(lambda: 'tollway_settlements_total{provider="openai",source="provider"}' in metrics(), 5, metrics)
    assert 'tollway_checks_total{provider="openai",reason=""}' in metrics()
    assert KEY not in metrics()
