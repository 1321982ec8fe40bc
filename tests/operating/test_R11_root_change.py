"""R10, R11: a change of the root in a cluster, by a person's commands, with the operator killed in every phase.

What the gateways would report is written by the test, from what the objects say that pods read.
"""

import base64
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from clusters import Client, Cluster, path_of, running_cluster
from operating.operators import Running, agent, install, operating, wait_for
from tollway.identity.root_standing import RootStanding, read_standing
from tollway.usage_report import Tried, Trusted, UsageReport

ROOT, TEAM = "changing-root", "changing-team"
PROGRAM = str(Path(__file__).with_name("paced_operator.py"))

Json = Any


class World:
    """An installation with one gateway and one pod with a sidecar; `operator` can be killed."""

    def __init__(self, cluster: Cluster, operator: Running, kubeconfig: Path, reports: Path) -> None:
        self.admin = cluster.admin
        self.operator = operator
        self.reports = reports
        self._kubeconfig = kubeconfig

    def tollway(self, action: str, code: int = 0) -> RootStanding:
        environ = {**os.environ, "KUBECONFIG": str(self._kubeconfig)}
        command = [sys.executable, "-m", "tollway_cli", "root", action, "--cluster", "--namespace", ROOT, "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environ, check=False)
        assert done.returncode == code, f"{action}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return read_standing(done.stdout) or RootStanding(refused=done.stderr)

    def stands(self) -> RootStanding:
        found = self.admin.get(path_of("v1", "ConfigMap", ROOT, "tollway-root-change"))
        return (read_standing(found.body["data"]["status.json"]) if found.ok else None) or RootStanding(phase="")

    def goes_to(self, phase: str) -> None:
        wait_for(lambda: self.stands().phase == phase, f"it does not become {phase}: {self.stands()}")

    def survives_a_kill(self, phase: str) -> None:
        """An operator that is killed and started again finds the phase, and goes no way back."""
        self.operator.kill()
        self.check()
        self.operator.start_again()
        wait_for(lambda: self._looks() and self.stands().phase == phase, f"it is not {phase}: {self.stands()}")
        self.check()

    def _looks(self) -> bool:
        return self.operator.metric("tollway_operator_leads") == 1

    def is_served(self) -> bool:
        where = (("ConfigMap", ROOT, "tollway-gateway"), ("ConfigMap", TEAM, "tollway-sidecar"))
        where += (("Secret", ROOT, "tollway-gateway-svid"), ("Secret", TEAM, "tollway-svid-researcher"))
        return all(self.admin.get(path_of("v1", kind, space, name)).ok for kind, space, name in where)

    def check(self) -> None:
        """Nobody is shown a certificate whose root he is not shown."""
        bundles = [config["data"]["bundle.json"] for config in self.configs()] + [
            held["bundle.json"].decode() for held in (self.files("gateway-svid"), self.files("svid-researcher", TEAM))
        ]
        shown = [{"".join(key["x5c"]) for key in keys(json.loads(bundle))} for bundle in bundles]
        everywhere = set.intersection(*shown)
        for held in (self.files("gateway-svid"), self.files("svid-researcher", TEAM)):
            assert root_of(held, everywhere), "a certificate whose root is not everywhere"

    def configs(self) -> list[Json]:
        where = ((ROOT, "tollway-gateway"), (TEAM, "tollway-sidecar"))
        return [self.admin.get(path_of("v1", "ConfigMap", space, name)).expect() for space, name in where]

    def files(self, name: str, namespace: str = ROOT) -> dict[str, bytes]:
        data = self.admin.get(path_of("v1", "Secret", namespace, f"tollway-{name}")).expect()["data"]
        return {file: base64.b64decode(content) for file, content in data.items()}

    def gateway_proves(self, pod: Json | None = None) -> None:
        """The gateway, and the pod's sidecar if it is named, trust what is published now."""
        data = self.configs()[0]["data"]
        bundle, issuers = (hashlib.sha256(data[file].encode()).hexdigest() for file in ("bundle.json", "issuers.pem"))
        tried = [Tried("", pod["metadata"]["uid"], "", bundle, 1)] if pod is not None else []
        report = UsageReport(1, trusted=Trusted("gateway-0", bundle, issuers), trust=tuple(tried))
        fresh = self.reports.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode([report]))
        fresh.rename(self.reports)


def keys(bundle: Json) -> list[Json]:
    return [key for each in bundle["trust_domains"].values() for key in each["keys"]]


def root_of(held: dict[str, bytes], roots: set[str]) -> str:
    """Which of the roots signed the certificate's issuer; empty for none."""
    _, issuer = x509.load_pem_x509_certificates(held["tls.crt"])
    for root in roots:
        with contextlib.suppress(Exception):
            issuer.verify_directly_issued_by(x509.load_der_x509_certificate(base64.b64decode(root)))
            return root
    return ""


def pod(admin: Client, name: str, namespace: str, account: str, *sidecars: str) -> Json:
    containers = [{"name": each, "image": "none.example/image", "restartPolicy": "Always"} for each in sidecars]
    content = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "researcher"}},
        "spec": {
            "serviceAccountName": account,
            "initContainers": containers,
            "containers": [{"name": "main", "image": "none.example/image"}],
        },
    }
    return admin.create(content).expect()


@pytest.fixture(scope="module")
def own(kube_binaries: dict[str, str]) -> Iterator[Cluster]:
    """A cluster in which nothing else is enforced: it would be waited for."""
    with running_cluster(kube_binaries) as cluster:
        cluster.install_crds()
        yield cluster


def test_R11_an_operator_killed_in_every_phase_brings_the_change_to_its_end(own: Cluster, tmp_path: Path) -> None:
    account = install(own, ROOT, (TEAM,))
    own.service_account(ROOT, "tollway-gateway")
    own.service_account(TEAM, "researcher")
    own.admin.create(agent("researcher", TEAM, svid={"delivery": "Secret"})).expect()
    pod(own.admin, "gateway-0", ROOT, "tollway-gateway")
    calling = pod(own.admin, "calling", TEAM, "researcher", "tollway-sidecar")
    reports = tmp_path / "reports.json"
    reports.write_text("[]")
    environ = {"TOLLWAY_SECRET_NAMESPACES": TEAM, "TOLLWAY_TESTED_REPORTS": str(reports)}
    with operating(account, ROOT, program=(PROGRAM,), **environ) as operator:
        world = World(own, operator, own.admin.kubeconfig, reports)
        world.goes_to("None")
        wait_for(world.is_served, "pods find nothing to read")
        [before] = keys(json.loads(world.configs()[0]["data"]["bundle.json"]))
        assert "no change of the root is under way" in world.tollway("activate", code=1).refused

        assert world.tollway("prepare").phase == "Prepared"
        wait_for(lambda: "gateway gateway-0" in world.stands().waiting_for, f"nobody is named: {world.stands()}")
        assert "gateway gateway-0" in world.tollway("activate", code=1).refused
        world.survives_a_kill("Prepared")

        world.gateway_proves()
        world.goes_to("Trusted")
        world.survives_a_kill("Trusted")
        wait_for(lambda: activated(world), "it cannot be activated")
        assert world.stands().phase == "Active"
        assert world.stands().waiting_for == (f"sidecar {TEAM}/calling",)
        world.survives_a_kill("Active")
        moved = {next(iter(key["x5c"])) for key in keys(json.loads(world.configs()[0]["data"]["bundle.json"]))}
        [after] = moved - {before["x5c"][0]}
        wait_for(lambda: root_of(world.files("svid-researcher", TEAM), {after}), "the agent does not move")
        assert "is Draining" not in operator.said(), "the gateway moved before the sidecars trust"
        assert root_of(world.files("gateway-svid"), {before["x5c"][0]})

        world.gateway_proves(calling)
        world.goes_to("Draining")
        world.survives_a_kill("Draining")
        wait_for(lambda: root_of(world.files("gateway-svid"), {after}), "the gateway does not move")
        world.goes_to("Removed")
        world.survives_a_kill("Removed")

        wait_for(lambda: len(keys(json.loads(world.configs()[0]["data"]["bundle.json"]))) == 1, "the old root is shown")
        wait_for(lambda: world.gateway_proves(calling) or world.stands().phase == "None", f"{world.stands()}")
        [left] = keys(json.loads(world.configs()[1]["data"]["bundle.json"]))
        assert left["x5c"] == [after]
        events = own.admin.get(path_of("v1", "Event", ROOT)).expect()["items"]
        reasons = {each["reason"] for each in events if each["involvedObject"]["name"] == "tollway-root-change"}
        assert {"RootPrepared", "RootTrusted", "RootActive", "RootDraining", "RootRemoved", "CommandRefused"} <= reasons


def activated(world: World) -> bool:
    """Refused for a moment after the root became trusted."""
    with contextlib.suppress(AssertionError):
        world.tollway("activate")
        return True
    return False
