"""The chart as the real helm renders and installs it."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from clusters import ROOT

CHART: Final = ROOT / "charts" / "tollway"
ROOT_NAMESPACE: Final = "tollway-system"
SHARED_STORE: Final = ("store.url=redis://store:6379", "store.preview=true")

# The CRDs take the one in Python half a second, each time.
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Json = Any


class Helm:
    """`kubeconfig`: of the cluster where it installs; rendering needs none."""

    def __init__(self, binaries: Mapping[str, str], kubeconfig: Path | None = None) -> None:
        self._program = binaries["helm"]
        self._kubeconfig = kubeconfig

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory(prefix="tollway-helm-") as home:
            environ = {"HOME": home, "PATH": "/usr/bin:/bin"}
            if self._kubeconfig:
                environ["KUBECONFIG"] = str(self._kubeconfig)
            return subprocess.run([self._program, *arguments], capture_output=True, text=True, env=environ, timeout=300)

    def said(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def text(self, *values: str, namespace: str = ROOT_NAMESPACE, chart: Path = CHART) -> str:
        return self.said("template", "tollway", str(chart), "--namespace", namespace, *setting(values))

    def documents(self, *values: str, namespace: str = ROOT_NAMESPACE) -> list[Json]:
        return [each for each in yaml.load_all(self.text(*values, namespace=namespace), LOADER) if each]

    def refusal(self, *values: str) -> str:
        done = self.run("template", "tollway", str(CHART), "--namespace", ROOT_NAMESPACE, *setting(values))
        assert done.returncode != 0, "it was rendered"
        return done.stderr


def setting(values: Sequence[str]) -> Iterator[str]:
    for value in values:
        yield from ("--set", value)


def of_kind(documents: Sequence[Json], *kinds: str) -> list[Json]:
    return [each for each in documents if each["kind"] in kinds]


def named(documents: Sequence[Json], kind: str, name: str) -> Json:
    [found] = [each for each in of_kind(documents, kind) if each["metadata"]["name"] == name]
    return found


def pods(documents: Sequence[Json]) -> dict[str, Json]:
    """The specification of each pod that there will be, by the name of what makes it."""
    made = {each["metadata"]["name"]: each["spec"] for each in of_kind(documents, "Pod")}
    for each in of_kind(documents, "Deployment", "StatefulSet"):
        made[each["metadata"]["name"]] = each["spec"]["template"]["spec"]
    return made


def containers(pod: Json) -> dict[str, Json]:
    return {each["name"]: each for each in [*pod.get("initContainers", ()), *pod["containers"]]}
