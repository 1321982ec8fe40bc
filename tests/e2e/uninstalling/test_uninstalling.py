from pathlib import Path

from e2e.installation import Installation
from e2e.stage import RELEASE, SYSTEM, attempt, helm, kubectl, ready, until

STORY = Path(__file__).parent / "story.yaml"


def test_what_is_uninstalled_leaves_no_webhook_and_pods_start_again(installation: Installation) -> None:
    helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout=3m")
    left = kubectl("get", "mutatingwebhookconfigurations,validatingadmissionpolicies", "-o", "name")
    assert "tollway" not in left
    # The API server acts by a policy for a moment after it is gone.
    until(lambda: attempt("kubectl", "apply", "-f", str(STORY)).returncode == 0, "pods are still refused")
    pod = ready("afterwards", "team-a")
    assert "initContainers" not in pod["spec"]


def test_the_resources_of_users_are_still_there(installation: Installation) -> None:
    assert "researcher" in kubectl("get", "aid,aiq", "-n", "team-a", "-o", "name")
