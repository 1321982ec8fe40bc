"""Many calls at once, whose callers leave when they like: never less is charged than the provider's own log says."""

import http.client
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ending.acting_provider import ActingProvider
from ending.stage import CHAT, LIMITS, Call, Stage, TunedInstallation
from installations import KEY, DemoProvider, agent, provider, quota, running, secret, wait_until
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings

CALLS = 120
BEHAVIOURS = {
    "gpt-4o-mini": Behaviour(output_tokens=40, chunk_delay_ms=10),
    "gpt-4o": Behaviour(output_tokens=40, chunk_delay_ms=5, hang_up_after=12),
    "gpt-4.1": Behaviour(output_tokens=2000),
    "gpt-4.1-mini": Behaviour(output_tokens=20, latency_ms=200),
    "gpt-4.1-nano": Behaviour(status=503),
    "gpt-5-mini": Behaviour(output_tokens=20, reasoning_tokens=30, chunk_delay_ms=10),
}


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[Stage, DemoProvider]]:
    documents = [secret(), provider(), agent("caller"), quota("plenty", *LIMITS)]
    settings = ProviderSettings(key=KEY, models=BEHAVIOURS)
    with ActingProvider() as nobody, running(documents, settings=settings, kind=TunedInstallation) as started:
        installation, served = started
        stage = Stage(installation, nobody)
        yield stage, served
        stage.everybody_leaves()


def test_the_charge_of_each_model_covers_what_was_served(demo: tuple[Stage, DemoProvider]) -> None:
    stage, served = demo
    rolls = random.Random(20)
    with ThreadPoolExecutor(24) as pool:
        plans = [(rolls.choice(list(BEHAVIOURS)), rolls.choice([None, 0.0, 0.02, 0.1, 0.3])) for _ in range(CALLS)]
        list(pool.map(lambda plan: make(stage, *plan), plans))
    wait_until(lambda: all(call["outcome"] != "open" for call in stage.calls()), 10)
    assert stage.in_order()
    charged, billed = Counter[str](), Counter[str]()
    for call in stage.calls():
        charged[call["model"]] += call["input_tokens"] + call["output_tokens"]
    for row in served.app[CALL_LOG]:
        billed[row.model] += row.usage.prompt_tokens + row.usage.completion_tokens
    assert billed.total() > 0
    assert {model: charged[model] >= tokens for model, tokens in billed.items()} == dict.fromkeys(billed, True)


def make(stage: Stage, model: str, leaves_after: float | None) -> None:
    call = stage.call("stream", replace(CHAT, model=model), cap=3000)
    if leaves_after is None:
        call.read()
        return
    time.sleep(leaves_after)
    look_and_leave(call)


def look_and_leave(call: Call) -> None:
    try:
        call.response.read1(100)
    except (http.client.HTTPException, OSError):
        return
    finally:
        call.leave()
