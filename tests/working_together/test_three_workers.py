"""Three workers decide behind one gateway, on one ledger: callers cannot tell them from one."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from installations import KEY, DemoProvider, Installation, agent, budget, provider, quota, running, secret, wait_until
from tollway.pricing.data import default_book
from tollway.pricing.usage import Usage
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings
from tollway_cli.standalone.state import StateDirectory, recall
from tollway_cli.standalone.workers import numbered
from tollway_extauthz.stores.sqlite import SQLiteLedger
from working_together.crowd import CHEAP, Crowd, Line, counted_by, generation_of, pid_of

WORKERS = 3
UNAVAILABLE = "tollway.unavailable"
CLIENTS = 64
DOLLAR = 1_000_000_000
DEAR = {**CHEAP, "model": "gpt-4-turbo", "max_completion_tokens": 400}
SETTINGS = ProviderSettings(
    key=KEY, behaviour=Behaviour(output_tokens=4), models={DEAR["model"]: Behaviour(output_tokens=400, latency_ms=5)}
)
AGENTS = ("swarm", "steady", "crowd", "leaver")
DOCUMENTS = [
    secret(),
    provider(),
    *map(agent, AGENTS),
    quota("dollar", budget("1.00"), only="swarm"),
    quota("one", {"name": "parallel", "concurrent": 1}, only="steady"),
    quota("plenty", budget("100.00")),
]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Installation, DemoProvider]]:
    with running(DOCUMENTS, settings=SETTINGS, arguments=("--workers", str(WORKERS))) as both:
        yield both


@pytest.fixture
def installation(served: tuple[Installation, DemoProvider]) -> Installation:
    return served[0]


def line(installation: Installation, name: str) -> Line:
    return Line(installation.base_url(f"team-a/{name}"))


def verified(installation: Installation) -> bool:
    return json.loads(installation.tollway("ledger", "verify", "-o", "json"))["ok"]


def scraped(installation: Installation) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels."""
    port = recall(StateDirectory.at(installation.state)).ports["metrics"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def billed(provider: DemoProvider) -> int:
    """What the provider's own log comes to, in nano-USD."""
    total, book = 0, default_book()
    for record in provider.app[CALL_LOG]:
        priced = book.find("OpenAI", record.model)
        assert priced is not None
        total += priced.row.cost(Usage(input=record.usage.prompt_tokens, output=record.usage.completion_tokens))
    return total


def test_64_clients_spend_a_dollar_and_at_no_instant_more(installation: Installation) -> None:
    def spend(_: int) -> None:
        with line(installation, "swarm") as one:
            while (told := one.call(DEAR)) != "quota.cost.spent":
                assert told in ("", "quota.cost.held"), told

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(spend, range(CLIENTS)))
    installation.settled_calls(50)
    ledger, total = SQLiteLedger(installation.state / "ledger.sqlite"), 0
    for row in ledger.journal():
        total += sum(entry.held + entry.used for entry in row.entries if entry.counter.quota == "dollar")
        assert total <= DOLLAR, row
    ledger.close()
    assert total > 0.9 * DOLLAR
    assert verified(installation)


def test_a_sequential_caller_under_concurrent_one_is_never_refused(installation: Installation) -> None:
    with ExitStack() as stack:
        several = [stack.enter_context(line(installation, "steady")) for _ in range(5)]
        assert {several[0].call() for _ in range(500)} == {""}
        assert {several[n % 5].call() for n in range(500)} == {""}


def test_all_of_them_decide_and_what_they_count_adds_up(installation: Installation) -> None:
    calls = installation.settled_calls(1)
    by_others = [counted_by(installation, worker) for worker in range(1, WORKERS)]
    granted = ("tollway_checks", "openai", "")
    sums = scraped(installation)
    shares = [counts[granted] for counts in by_others]
    shares.append(sums["tollway_checks_total", "openai", ""] - sum(shares))
    assert all(share > len(calls) / 20 for share in shares), shares
    assert sums["tollway_checks_total", "openai", ""] == sum(call["outcome"] != "refused" for call in calls)
    assert sum(count for key, count in sums.items() if key[0] == "tollway_checks_total") == len(calls)
    assert sums["tollway_check_seconds_count",] == len(calls)
    assert sums["tollway_cost_nano_usd_total", "openai"] == sum(call["cost"] for call in calls)
    assert sums["tollway_workers_silent",] == 0


@pytest.mark.parametrize("worker", [0, 2])
def test_killed_under_load_a_worker_costs_refusals_in_shape_and_the_others_serve(
    served: tuple[Installation, DemoProvider], worker: int
) -> None:
    installation, upstream = served
    name = numbered("extauthz", worker)
    before = pid_of(installation, name)
    assert before is not None
    with Crowd(installation.base_url("team-a/crowd"), 16) as crowd:
        crowd.is_answered(50)
        os.kill(before, signal.SIGKILL)
        killed = time.monotonic()
        crowd.is_answered(20)
        wait_until(lambda: pid_of(installation, name) not in (None, before), 10)
        wait_until(lambda: generation_of(installation, worker) is not None, 10)
        assert time.monotonic() - killed < 5
        refused = crowd.told[UNAVAILABLE]
        crowd.is_answered(50)
    assert set(crowd.told) <= {"", UNAVAILABLE}, crowd.told
    assert crowd.told[UNAVAILABLE] == refused, "once it is back, nothing is refused"
    installation.settled_calls(1)
    assert json.loads(installation.tollway("ledger", "-o", "json"))["totals"]["cost"] == billed(upstream)
    assert verified(installation)


def test_a_change_of_the_rules_is_in_force_in_all_of_them(installation: Installation) -> None:
    changed: list[dict[str, Any]] = [each for each in DOCUMENTS if each["metadata"]["name"] != "leaver"]
    with line(installation, "leaver") as one:
        assert one.call() == ""
        installation.write("resources.yaml", [*changed, agent("leaver", suspended=True)])
        wait_until(lambda: "the change is in force" in installation.output.read_text(), 10)
        assert {one.call() for _ in range(30)} == {"identity.suspended"}
    assert len({generation_of(installation, worker) for worker in range(WORKERS)}) == 1


def test_whoever_looks_sees_one_installation(installation: Installation) -> None:
    calls = installation.settled_calls(1)
    counters = json.loads(installation.tollway("limits", "-o", "json"))["counters"]
    plenty = next(counter for counter in counters if counter["quota"] == "plenty")
    assert plenty["used"] == sum(call["cost"] for call in calls)
    spenders = json.loads(installation.tollway("top", "--once", "--window", "1h", "-o", "json"))
    assert spenders["totals"]["cost"] == plenty["used"]
    assert "extauthz-2: it was killed by SIGKILL lately" in installation.tollway("doctor", "--offline", codes=(0, 1))
