from pathlib import Path

from e2e.installation import Installation
from e2e.stage import apply, condition, kubectl, listed, read, until

STORY = Path(__file__).parent / "story.yaml"


def test_a_job_whose_containers_call_models_ends_sidecar_and_all(installation: Installation) -> None:
    apply(STORY)
    until(lambda: condition(read("job", "batch", "team-a"), "Complete")[0] == "True", account())
    [pod] = listed("pod", "team-a", app="batch")
    assert pod["status"]["phase"] == "Succeeded"
    first, *rest = [each["name"] for each in pod["spec"]["initContainers"]]
    assert (first, rest) == ("tollway-sidecar", ["prepare"])
    for container in ("prepare", "agent"):
        assert int(kubectl("logs", pod["metadata"]["name"], "-n", "team-a", "-c", container)) > 0


def account() -> str:
    return "the Job does not end: " + kubectl("get", "pods", "-n", "team-a", "-o", "wide")
