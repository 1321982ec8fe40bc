from pathlib import Path

from e2e.installation import ASK, Installation
from e2e.stage import SYSTEM, Agent, apply, delete, read, ready, until

STORY = Path(__file__).parent / "story.yaml"
COUNTED = Agent("counted", "team-a")
LIMIT = 8


def test_a_gateway_that_is_restarted_has_lost_no_count(installation: Installation) -> None:
    apply(STORY)
    ready("counted", "team-a")
    before = COUNTED.runs(ASK, "openai", "--calls=5")
    assert all(each["ok"] for each in before), before
    uid = read("pod", "tollway-gateway-0", SYSTEM)["metadata"]["uid"]
    delete("pod", "tollway-gateway-0", SYSTEM)
    until(lambda: read("pod", "tollway-gateway-0", SYSTEM)["metadata"]["uid"] != uid, "it is not started again")
    ready("tollway-gateway-0", SYSTEM)
    until(lambda: COUNTED.runs(ASK, "openai")[0]["ok"], "nobody answers")
    *more, refused = COUNTED.runs(ASK, "openai", "--calls=20", "--until-refused")
    assert refused["reason"] == "quota.requests.spent"
    assert len(before) + 1 + len(more) == LIMIT
