import json
import math
from pathlib import Path

import pytest

from e2e.installation import ASK, PROVIDER, Installation
from e2e.stage import Agent, Json, apply, kubectl, ready, until

HERE = Path(__file__).parent
WRITER, STREAMER = Agent("writer", "team-b"), Agent("streamer", "team-a")
LIMIT = 1000
LOG = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:%d/demo/log').read().decode())"


@pytest.fixture(scope="module", autouse=True)
def told(installation: Installation) -> None:
    apply(HERE / "story.yaml")
    for agent in (WRITER, STREAMER):
        ready(agent.name, agent.namespace)


def billed(port: int, model: str) -> int:
    """Output tokens of a model that no other story asks, by the provider's own log."""
    said = kubectl("exec", PROVIDER.name, "-n", PROVIDER.namespace, "--", "python3", "-c", LOG % port)
    return sum(each["usage"]["completion_tokens"] for each in json.loads(said) if each["model"] == model)


def test_an_agent_on_the_anthropic_sdk_spends_its_quota_to_the_token_the_provider_bills() -> None:
    model = "claude-haiku-4-5"
    *admitted, refused = WRITER.runs(ASK, "anthropic", f"--model={model}", "--calls=100", "--until-refused")
    assert admitted
    assert all(each["ok"] for each in admitted), admitted
    assert (refused["status"], refused["error"]) == (429, "RateLimitError")
    assert refused["reason"] == "quota.outputTokens.spent"
    assert billed(8082, model) == sum(each["output"] for each in admitted) <= LIMIT


def test_an_agent_that_streams_is_held_to_its_quota_as_well() -> None:
    model = "gpt-4o-mini"
    told = STREAMER.runs(ASK, "openai", f"--model={model}", "--calls=100", "--until-refused", "--stream")
    assert {each["finish"] for each in told[:-1]} <= {"stop", "length"}
    assert told[-1]["reason"] == "quota.outputTokens.spent"
    assert 0 < billed(8081, model) <= LIMIT


def test_one_teams_spending_is_none_of_the_others() -> None:
    """The quota shows what was used where people look for it."""

    def shown() -> Json:
        return json.loads(kubectl("get", "aiq", "-A", "-o", "json"))["items"]

    def used(namespace: str, name: str) -> float:
        found = next(
            each for each in shown() if each["metadata"]["name"] == name and each["metadata"]["namespace"] == namespace
        )
        return float(found.get("status", {}).get("limits", [{}])[0].get("used", math.nan))

    until(lambda: used("team-b", "writer") > LIMIT / 2, "`kubectl get aiq` shows nothing used")
    assert used("team-b", "writer") <= LIMIT
    assert 0 < used("team-a", "researcher") <= 0.01
