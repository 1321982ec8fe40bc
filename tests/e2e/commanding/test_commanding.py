import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.installation import Installation
from e2e.stage import Json, apply, attempt, delete, kubectl, label, listed, ready, until

HERE = Path(__file__).parent
PARTS = ("kinds", "operator", "Lease of the operator", "injector", "webhook", "gateway", "gateway answers")


class Looker:
    """The command, with the kubeconfig of somebody who may look."""

    def __init__(self, kubeconfig: Path) -> None:
        self._environ = f"KUBECONFIG={kubeconfig}", f"HOME={kubeconfig.parent}", f"PATH={os.environ['PATH']}"

    def says(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        done = attempt("env", "-i", *self._environ, sys.executable, "-m", "tollway_cli", *arguments)
        assert done.returncode in codes, done.stdout + done.stderr
        return done.stdout

    def told(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> Json:
        return json.loads(self.says(*arguments, "-o", "json", codes=codes))


@pytest.fixture(scope="module")
def looker(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looker]:
    apply(HERE / "story.yaml")
    until(lambda: listed("serviceaccount", "team-late"), "no service account")
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"][0]["user"] = {"token": kubectl("create", "token", "looker", "-n", "team-late").strip()}
    path = tmp_path_factory.mktemp("looker") / "kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    apply(HERE / "pod.yaml")
    ready("early", "team-late")
    yield Looker(path)
    delete("namespace", "team-late", None, "--wait=false")
    delete("clusterrolebinding", "looker")
    delete("rolebinding", "looker", "tollway-system")


def test_what_an_agent_spent_is_shown_through_the_kubeconfig(looker: Looker) -> None:
    counters = looker.told("limits")["counters"]
    (budget,) = [each for each in counters if (each["quota"], each["limit"]) == ("researcher", "budget")]
    assert 0 < budget["used"] <= budget["amount"] == 10_000_000
    calls = looker.told("ledger", "--agent", "team-a/researcher")["calls"]
    assert sum(each["cost"] or 0 for each in calls) == budget["used"]
    assert "all add up" in looker.says("ledger", "verify", "--cluster")


def test_the_refusal_is_explained_by_the_id_that_the_agent_was_given(
    looker: Looker, installation: Installation
) -> None:
    explained = looker.told("explain", installation.refused["call"])
    assert (explained["outcome"], explained["reason"]) == ("refused", "quota.cost.spent")


def test_a_request_is_tried_without_being_sent(looker: Looker, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "How many lights?"}]}))
    said = looker.told(
        "explain", "-f", str(request), "--agent", "team-a/researcher", "--provider", "openai", codes=(0, 1)
    )
    assert said["checks"][0] == {"name": "identity", "said": "passed"}


def test_top_shows_who_spends(looker: Looker) -> None:
    assert "team-a/researcher" in looker.says("top", "--once", "--window", "1d")


def test_the_doctor_finds_every_part_well_and_a_pod_that_was_there_before(looker: Looker) -> None:
    found = looker.told("doctor", codes=(0, 1))
    results = {each["name"]: each["result"] for each in found["checks"]}
    assert {name: results[name] for name in PARTS} == dict.fromkeys(PARTS, "fine")
    assert results["your rights"] == results["certificate authority"] == "fine"
    label("team-late", "tollway.dev/enforce=enabled")
    found = looker.told("doctor", codes=(1,))
    (pods,) = [each for each in found["checks"] if each["name"] == "pods without a sidecar"]
    assert [(each["object"], each["mend"]) for each in pods["findings"]] == [
        ("pod early in namespace team-late", "kubectl -n team-late delete pod early, and create it again")
    ]
