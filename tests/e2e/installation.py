"""What all stories share: a provider without a model, the chart, two teams, and how long that took.

Everything before the first `helm install` is the cluster's own, and is not counted.
"""

import json
import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from e2e.stage import (
    CHART,
    HERE,
    RELEASE,
    ROOT,
    SYSTEM,
    Agent,
    Json,
    apply,
    helm,
    kubectl,
    label,
    listed,
    ready,
    run,
    until,
)

SETTING: Final = HERE / "setting"
TEAMS: Final = ("team-a", "team-b")
PROVIDER: Final = Agent("provider", "e2e-provider", "provider")
KEYS: Final = ("sk-canary-openai-7f3a91", "sk-canary-anthropic-c27e55")
ASK: Final = HERE / "agent.py"


@dataclass
class Installation:
    """`seconds` from `helm install` until each step was done; `figures` are what stories measured, for the report."""

    seconds: dict[str, float] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)
    refused: Json = None
    """The first refusal of an agent's call."""


def load_images(environ: Mapping[str, str]) -> None:
    """TOLLWAY_E2E_LOAD is a command that takes an archive of images, as `ctr -n k8s.io images import` does; without it
    the images are in the cluster already. TOLLWAY_E2E_BASE: see tools/node_images.py."""
    if command := environ.get("TOLLWAY_E2E_LOAD"):
        made = run(
            sys.executable, str(ROOT / "tools/node_images.py"), "--base", environ["TOLLWAY_E2E_BASE"], seconds=600
        )
        run(*shlex.split(command), json.loads(made)["archive"], seconds=600)


def prepare() -> None:
    """What is there before Tollway: the provider, the teams' namespaces, and a place for volumes."""
    apply(SETTING / "provider.yaml")
    for team in TEAMS:
        kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team}})
        )
        until(lambda: listed("serviceaccount", team), "no service account")  # noqa: B023
    if not any(_is_default(each) for each in listed("storageclass", None)):
        apply(SETTING / "volume.yaml")
        until(lambda: listed("pod", "e2e-provider", app="volume")[0]["status"]["phase"] == "Succeeded", "no volume")
    ready("provider", "e2e-provider")


def install() -> Installation:
    """The quickstart: the chart, a label, the providers, an identity, a quota and a pod, until its call is refused."""
    done, begun = Installation(), time.monotonic()

    def did(what: str) -> None:
        done.seconds[what] = time.monotonic() - begun

    values = os.environ.get("TOLLWAY_E2E_VALUES", str(SETTING / "values.yaml"))
    created = ("--namespace", SYSTEM, "--create-namespace")
    helm("install", RELEASE, str(CHART), *created, "--values", values, "--wait", "--timeout=5m")
    did("installed")
    for team in TEAMS:
        label(team, "tollway.dev/enforce=enabled")
    apply(SETTING / "providers.yaml")
    apply(HERE / "installing" / "story.yaml")
    ready("researcher", "team-a")
    did("first agent ready")
    *admitted, done.refused = Agent("researcher", "team-a").runs(ASK, "openai", "--calls=100", "--until-refused")
    did("first call refused")
    assert admitted
    assert all(each["ok"] for each in admitted), admitted
    return done


def _is_default(storage_class: Json) -> bool:
    marks = storage_class["metadata"].get("annotations", {})
    return marks.get("storageclass.kubernetes.io/is-default-class") == "true"
