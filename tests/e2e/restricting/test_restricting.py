from pathlib import Path

import pytest

from e2e.installation import ASK, Installation
from e2e.stage import Agent, apply, exists, ready, until

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def told(installation: Installation) -> None:
    apply(HERE / "story.yaml")
    until(lambda: exists("configmap", "tollway-sidecar", "team-strict"), "nothing is prepared")


@pytest.mark.parametrize("pod", ["own-user", "same-user"])
def test_an_injected_pod_passes_the_restricted_standard_and_calls(pod: str) -> None:
    apply(HERE / f"{pod}.yaml")
    ready(pod, "team-strict")
    [call] = Agent(pod, "team-strict").runs(ASK, "openai")
    assert call["ok"], call
