"""The demo is honest: three parties count by themselves, and it ends with a real refusal of the real SDK."""

import json
import subprocess
import sys

import pytest

from tollway_cli.demo.sums import Findings, Refusal, Sum, judged

SUM = Sum(calls=2, input_tokens=20, output_tokens=100, cost=1_000)
REFUSAL = Refusal("openai.RateLimitError", 429, "spent", "insufficient_quota", reason="quota.cost.spent")


def findings(**changed: object) -> Findings:
    parts = {"ledger": SUM, "sdk": SUM, "provider": SUM, "budget": 1_000, "verified": True, "refusal": REFUSAL}
    return Findings(agent="a", model="m", **(parts | changed))  # type: ignore[arg-type]


def test_it_adds_up_when_all_agree_within_the_budget() -> None:
    assert judged(findings(), 1.0).adds_up


@pytest.mark.parametrize(
    "changed",
    [
        {"sdk": Sum(2, 20, 100, 999)},
        {"provider": Sum(3, 20, 100, 1_000)},
        {"budget": 999},
        {"verified": False},
        {"refusal": None},
        dict.fromkeys(("ledger", "sdk", "provider"), Sum(0, 0, 0, 0)),
    ],
    ids=["the SDK", "the provider", "the budget", "the journal", "no refusal", "nothing was spent"],
)
def test_it_does_not_add_up_when_one_thing_differs(changed: dict[str, object]) -> None:
    assert not judged(findings(**changed), 1.0).adds_up


def test_the_demo_adds_up_without_a_key_and_without_a_network() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tollway_cli", "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["adds_up"]
    assert report["ledger"] == report["sdk"] == report["provider"]
    assert 0 < report["ledger"]["cost"] <= report["budget"]
    assert report["refusal"]["class"] == "openai.RateLimitError"
    assert (report["refusal"]["status"], report["refusal"]["code"]) == (429, "insufficient_quota")
    assert report["refusal"]["reason"] == "quota.cost.spent"
