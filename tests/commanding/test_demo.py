"""The demo is honest: ledger, SDKs and providers count by themselves, and it ends with refusals of two real SDKs."""

import json
import subprocess
import sys

import pytest
from msgspec.structs import replace

from tollway_cli.demo.cast import agents_of
from tollway_cli.demo.sums import AgentSum, LimitSum, ProviderSum, Refusal, Report, Sum, judged, last_spent, of_limit
from tollway_cli.views.answers import CounterView

ANNA, BERT = "spiffe://td/ns/demo/sa/anna/agent/anna", "spiffe://td/ns/demo/sa/bert/agent/bert"
SUM = Sum(calls=2, input_tokens=20, output_tokens=100, cost=1_000)
BOTH = Sum(calls=4, input_tokens=40, output_tokens=200, cost=2_000)
REFUSAL = Refusal("openai.RateLimitError", 429, "spent", "insufficient_quota", reason="quota.cost.spent")
OWN = LimitSum("demo/anna", "budget", "cost", ["demo/anna"], amount=1_500, used=1_000, held=0, sum_of_calls=1_000)
SHARED = LimitSum("demo/team", "budget", "cost", ["demo/anna", "demo/bert"], 2_100, 2_000, 0, 2_000)
AGENTS = (
    AgentSum(ANNA, "openai", "gpt", SUM, SUM, REFUSAL, ["demo/anna budget"]),
    AgentSum(BERT, "anthropic", "claude", SUM, SUM, REFUSAL, ["demo/team budget"]),
)
PROVIDERS = (ProviderSum("openai", SUM, SUM), ProviderSum("anthropic", SUM, SUM))


def report(
    first: AgentSum = AGENTS[0],
    second: AgentSum = AGENTS[1],
    provider: ProviderSum = PROVIDERS[0],
    own: LimitSum = OWN,
    shared: LimitSum = SHARED,
    budget: int = 2_100,
    verified: bool = True,
) -> Report:
    return judged([first, second], [provider, PROVIDERS[1]], [own, shared], budget, verified, 1.0)


def test_it_adds_up_when_all_agree_within_every_limit() -> None:
    found = report()
    assert found.adds_up
    assert found.ledger == found.sdk == found.provider == BOTH
    assert (found.agent, found.model, found.refusal) == (ANNA, "gpt", REFUSAL)


MORE = replace(SUM, cost=1_001)
DIFFERENT = {
    "an SDK": {"first": replace(AGENTS[0], sdk=MORE)},
    "a provider's log": {"provider": replace(PROVIDERS[0], log=MORE)},
    "two SDKs that differ but sum up alike": {
        "first": replace(AGENTS[0], sdk=MORE),
        "second": replace(AGENTS[1], sdk=replace(SUM, cost=999)),
    },
    "a limit that counted something else": {"own": replace(OWN, used=999)},
    "a limit that was passed": {"shared": replace(SHARED, amount=1_999)},
    "a hold that is open": {"own": replace(OWN, held=1)},
    "the budget": {"budget": 1_999},
    "the journal": {"verified": False},
    "an agent that was not refused": {"first": replace(AGENTS[0], refusal=None, ended_by=[])},
    "both ended at the shared limit": {"first": replace(AGENTS[0], ended_by=["demo/team budget"])},
    "both ended at their own": {"second": replace(AGENTS[1], ended_by=["demo/bert budget"])},
}


@pytest.mark.parametrize("changed", DIFFERENT.values(), ids=DIFFERENT)
def test_it_does_not_add_up_when_one_thing_differs(changed: dict[str, object]) -> None:
    assert not report(**changed).adds_up  # type: ignore[arg-type]


def test_nothing_spent_does_not_add_up() -> None:
    nothing = Sum(0, 0, 0, 0)
    idle = [replace(each, ledger=nothing, sdk=nothing) for each in AGENTS]
    unused = [replace(each, ledger=nothing, log=nothing) for each in PROVIDERS]
    limits = [replace(each, used=0, sum_of_calls=0) for each in (OWN, SHARED)]
    assert not judged(idle, unused, limits, 2_100, True, 1.0).adds_up


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("cost", 1_000), ("requests", 2), ("tokens", 120), ("inputTokens", 20), ("outputTokens", 100)],
)
def test_a_limit_is_compared_in_its_own_unit(unit: str, expected: int) -> None:
    counter = CounterView("demo", "team", "l", unit, amount=9, used=5, held=1, remaining=3)
    assert of_limit(counter, agents_of("team"), SUM).sum_of_calls == expected


def test_the_end_is_the_last_refusal_that_no_waiting_helps() -> None:
    held = replace(REFUSAL, reason="quota.concurrent.held")
    last = replace(REFUSAL, message="the last")
    assert last_spent([REFUSAL, last, held]) == last
    assert last_spent([held]) is None


def test_the_demo_adds_up_without_a_key_and_without_a_network() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tollway_cli", "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    report = json.loads(ran.stdout)
    assert report["adds_up"]
    assert report["ledger"] == report["sdk"] == report["provider"]
    assert 0 < report["ledger"]["cost"] <= report["budget"]
    assert [(each["agent"].rpartition("/")[2], each["ended_by"]) for each in report["agents"]] == [
        ("researcher", ["demo/researcher budget"]),
        ("writer", ["demo/team budget"]),
    ]
    assert all(each["ledger"] == each["sdk"] for each in report["agents"])
    assert all(each["ledger"] == each["log"] for each in report["providers"])
    assert all(each["used"] == each["sum_of_calls"] <= each["amount"] for each in report["limits"])
    refusals = [each["refusal"] for each in report["agents"]]
    assert [(each["class"], each["status"], each["type"]) for each in refusals] == [
        ("openai.RateLimitError", 429, "insufficient_quota"),
        ("anthropic.RateLimitError", 429, "rate_limit_error"),
    ]
    assert {each["reason"] for each in refusals} == {"quota.cost.spent"}
    assert report["refusal"] == refusals[0]
