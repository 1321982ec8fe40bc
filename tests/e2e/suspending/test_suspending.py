import time
from pathlib import Path

from e2e.installation import ASK, Installation
from e2e.stage import Agent, apply, merge, ready

STORY = Path(__file__).parent / "story.yaml"
SUSPECT = Agent("suspect", "team-a")
PROMISED_S = 30


def test_an_agent_that_is_suspended_is_refused_within_30_s_on_its_open_connection(installation: Installation) -> None:
    apply(STORY)
    ready("suspect", "team-a")
    with SUSPECT.running(ASK, "openai", "--seconds=300", "--pause=0.2") as calling:
        calls = calling.lines()
        assert all(next(calls)["ok"] for _ in range(5))
        suspended = time.time()
        merge("aid", "suspect", "team-a", {"spec": {"suspended": True}})
        refused = next(each for each in calls if not each["ok"])
        assert (refused["status"], refused["reason"]) == (403, "identity.suspended")
        took = refused["at"] - suspended
        assert took < PROMISED_S
        merge("aid", "suspect", "team-a", {"spec": {"suspended": False}})
        assert next(each for each in calls if each["ok"])
    installation.figures["suspended until the first refusal, on an open connection"] = f"{max(took, 0):.1f} s"
