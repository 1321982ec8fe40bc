"""A cluster with Tollway's namespace, RBAC and CRDs, and the operator in it as a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from prometheus_client.parser import text_string_to_metric_families

from clusters import ROOT, Client, Cluster, path_of, until
from ports import free_port
from tollway_cli.standalone.supervisor import leashed

RBAC: Final = ROOT / "charts" / "tollway" / "rbac"
TOLLWAY: Final = "tollway.dev/v1alpha1"
ENFORCED: Final = {"tollway.dev/enforce": "enabled"}

Json = Any


def install(cluster: Cluster, root: str = "tollway-system", delivering: tuple[str, ...] = ()) -> Client:
    """The rights of the chart, for a root namespace of the test's own; returns the operator's service account."""
    cluster.namespace(root)
    for document in rules("operator.yaml", root):
        cluster.admin.apply(document).expect()
    for namespace in delivering:
        cluster.namespace(namespace, **ENFORCED)
        for document in rules("operator-secrets.yaml", root, namespace):
            cluster.admin.apply(document).expect()
    operator = cluster.service_account(root, "tollway-operator")
    until(lambda: operator.get(path_of("v1", "Secret", root)).ok, "nothing is granted")
    for namespace in delivering:
        until(lambda: operator.get(path_of("v1", "Secret", namespace)).ok, "nothing is granted")  # noqa: B023
    return operator


def rules(file: str, root: str, namespace: str = "") -> Iterator[Json]:
    """The chart's documents, for another root namespace than the usual one."""
    for document in yaml.safe_load_all((RBAC / file).read_text()):
        if document["kind"].startswith("Cluster"):
            document["metadata"]["name"] += f"-{root}"
        else:
            document["metadata"]["namespace"] = namespace or root
        for subject in document.get("subjects", ()):
            subject["namespace"] = root
        if document["kind"] == "ClusterRoleBinding":
            document["roleRef"]["name"] += f"-{root}"
        yield document


class Running:
    """An operator's process; what it wrote is in `log`."""

    def __init__(
        self, kubeconfig: Path, environ: Mapping[str, str], program: tuple[str, ...] = ("-m", "tollway_operator")
    ) -> None:
        self._program = program
        self.folder = tempfile.TemporaryDirectory(prefix="tollway-operator-")
        self.log = Path(self.folder.name) / "operator.log"
        self.health_port = free_port()
        self._environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": self.folder.name,
            "KUBECONFIG": str(kubeconfig),
            "TOLLWAY_LEASE_SECONDS": "3",
            "TOLLWAY_HEALTH_ADDRESS": f"127.0.0.1:{self.health_port}",
            **environ,
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = leashed((sys.executable, *self._program))
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environ)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def asked(self, path: str) -> tuple[int, str]:
        """What its health port answers; (0, "") where nobody does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 where there is none."""
        total = 0.0
        for family in text_string_to_metric_families(self.asked("/metrics")[1]):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def start_again(self) -> None:
        self.process = self._start()

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        if self.process.poll() is None:
            self.go_on()
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self.folder.cleanup()


@contextlib.contextmanager
def operating(
    operator: Client,
    root: str = "tollway-system",
    kubeconfig: Path | None = None,
    program: tuple[str, ...] = ("-m", "tollway_operator"),
    **environ: str,
) -> Iterator[Running]:
    """An operator; a test that fails shows what it wrote."""
    running = Running(kubeconfig or operator.kubeconfig, {"TOLLWAY_ROOT_NAMESPACE": root, **environ}, program)
    try:
        yield running
    except BaseException:
        sys.stderr.write(running.said()[-6000:])
        raise
    finally:
        running.end()


def agent(name: str, namespace: str, **spec: object) -> Json:
    return {
        "apiVersion": TOLLWAY,
        "kind": "AgentIdentity",
        "metadata": {"name": name, "namespace": namespace, "labels": {"team": "search"}},
        "spec": {"selector": {"matchLabels": {"app": name}}, "serviceAccountName": name, **spec},
    }


def status(client: Client, kind: str, name: str, namespace: str | None = None) -> Json:
    return client.get(path_of(TOLLWAY, kind, namespace, name)).expect().get("status", {})


def condition(status: Json, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty where there is none."""
    found = next((each for each in status.get("conditions", ()) if each["type"] == kind), {})
    return found.get("status", ""), found.get("reason", "")


def wait_for(holds: Callable[[], object], otherwise: str, seconds: float = 60) -> None:
    until(holds, otherwise, seconds)


def now() -> int:
    return time.time_ns() // 1_000_000
