from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.installation import ASK, Installation
from e2e.stage import SYSTEM, Agent, apply, condition, delete, kubectl, listed, read, ready, until

HERE = Path(__file__).parent
STEADY, NEWCOMER, WAITING = Agent("steady", "team-b"), Agent("newcomer", "team-b"), Agent("waiting", "team-a")


def operators() -> int:
    return len(listed("pod", SYSTEM, **{"app.kubernetes.io/component": "operator"}))


@pytest.fixture(scope="module")
def away(installation: Installation) -> Iterator[None]:
    """The operator is gone, killed, and does not come back before the module ends."""
    apply(HERE / "story.yaml")
    ready("steady", "team-b")
    kubectl("scale", "deployment", "tollway-operator", "-n", SYSTEM, "--replicas=0")
    delete("pod", "--selector=app.kubernetes.io/component=operator", SYSTEM, "--force", "--grace-period=0")
    until(lambda: operators() == 0, "the operator stays")
    yield
    kubectl("scale", "deployment", "tollway-operator", "-n", SYSTEM, "--replicas=1")


def test_agents_go_on_calling_without_the_operator(away: None) -> None:
    [call] = STEADY.runs(ASK, "openai")
    assert call["ok"], call


def test_a_new_pod_of_an_agent_with_its_svid_in_a_secret_is_injected_starts_and_calls(away: None) -> None:
    apply(HERE / "newcomer.yaml")
    ready("newcomer", "team-b")
    [call] = NEWCOMER.runs(ASK, "openai")
    assert call["ok"], call


def test_a_pod_that_needs_a_new_certificate_waits_and_starts_when_the_operator_is_back(away: None) -> None:
    apply(HERE / "waiting.yaml")
    until(lambda: condition(read("pod", "waiting", "team-a"), "PodScheduled")[0] == "True", "not scheduled")
    assert condition(read("pod", "waiting", "team-a"), "Ready")[0] != "True"
    kubectl("scale", "deployment", "tollway-operator", "-n", SYSTEM, "--replicas=1")
    ready("waiting", "team-a")
    [call] = WAITING.runs(ASK, "openai")
    assert call["ok"], call
