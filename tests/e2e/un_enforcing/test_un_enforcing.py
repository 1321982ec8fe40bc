from pathlib import Path

from e2e.installation import ASK, Installation
from e2e.stage import Agent, apply, delete, exists, label, read, ready, until

HERE = Path(__file__).parent
SPACE = "team-leaving"
BEFORE = Agent("before", SPACE)


def test_a_namespace_that_is_no_longer_enforced_is_left_cleanly(installation: Installation) -> None:
    apply(HERE / "story.yaml")
    until(lambda: exists("configmap", "tollway-sidecar", SPACE), "nothing is prepared")
    apply(HERE / "before.yaml")
    ready("before", SPACE)
    assert BEFORE.runs(ASK, "openai")[0]["ok"]

    label(SPACE, "tollway.dev/enforce-")
    until(lambda: not BEFORE.runs(ASK, "openai")[0]["ok"], "its agents are still admitted", seconds=60)
    assert BEFORE.runs(ASK, "openai")[0]["reason"] == "identity.unenforced"

    apply(HERE / "after.yaml")
    pod = ready("after", SPACE)
    assert "initContainers" not in pod["spec"]
    assert not any(each["name"].startswith("OPENAI_") for each in pod["spec"]["containers"][0].get("env", ()))

    delete("namespace", SPACE)
    assert not exists("namespace", SPACE)


def test_what_pods_that_still_run_read_was_not_taken_from_them(installation: Installation) -> None:
    """Others are as they were."""
    assert read("configmap", "tollway-sidecar", "team-a")["data"]
