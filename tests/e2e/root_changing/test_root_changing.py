import json
import sys
import time
from pathlib import Path

from e2e.installation import ASK, Installation
from e2e.stage import Agent, Json, apply, ready, run, until

STORY = Path(__file__).parent / "story.yaml"
ABIDING, LASTING = Agent("abiding", "team-b"), Agent("lasting", "team-a")
AFTERWARDS_S = 5
# The kubelet may take a minute and more to show a pod what has changed.
SLOW_KUBELET_S = 300


def root(action: str) -> Json:
    return json.loads(run(sys.executable, "-m", "tollway_cli", "root", action, "--cluster", "-o", "json"))


def reached(phase: str) -> None:
    until(lambda: root("status")["phase"] == phase, f"it does not become {phase}", SLOW_KUBELET_S, every=2)


def test_no_call_fails_while_the_root_of_the_trust_domain_is_changed(installation: Installation) -> None:
    apply(STORY)
    for agent in (ABIDING, LASTING):
        ready(agent.name, agent.namespace)
    steady = ("openai", "--seconds=900", "--pause=0.2")
    with ABIDING.running(ASK, *steady) as abiding, LASTING.running(ASK, *steady) as lasting:
        begun = time.time()
        root("prepare")
        reached("Trusted")
        # Trust has to have lasted for a minute.
        until(lambda: root("activate"), "it may not be activated", SLOW_KUBELET_S, every=5)
        reached("Draining")
        ended = time.time()
        said = [*abiding.until(ended + AFTERWARDS_S), *lasting.until(ended + AFTERWARDS_S)]
    assert [each for each in said if not each["ok"]] == []
    installation.figures["root changed, until all is signed under the new one"] = f"{ended - begun:.0f} s"
    installation.figures["calls while the root was changed, and how many failed"] = f"{len(said)}, 0"
