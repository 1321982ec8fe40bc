"""The operator as its pod sees the world: the API server's address in the environment, and files that the kubelet
replaces. Tokens end; whoever took a new one in time notices nothing.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import Client, Cluster, path_of
from operating.faulty_proxy import FaultyProxy
from operating.operators import agent, condition, install, operating, status, wait_for

ROOT, TEAM = "tollway-pod", "pod-team"


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[FaultyProxy]:
    with FaultyProxy(cluster) as proxy:
        yield proxy


def bound_token(admin: Client, holder: str) -> str:
    """A token that ends with a Secret, as those of pods end with their pods."""
    meta = {"name": holder, "namespace": ROOT}
    secret = admin.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta}).expect()
    bound = {"apiVersion": "v1", "kind": "Secret", "name": holder, "uid": secret["metadata"]["uid"]}
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3_600, "boundObjectRef": bound},
    }
    where = path_of("v1", "ServiceAccount", ROOT, "tollway-operator") + "/token"
    return str(admin.send("POST", where, asked).expect()["status"]["token"])


def mounted(folder: Path, token: str) -> None:
    """Replaced in one step, as the kubelet does it."""
    beside = folder / "token.new"
    beside.write_text(token)
    beside.rename(folder / "token")


def declared(admin: Client, name: str) -> None:
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    wait_for(lambda: condition(status(admin, "AgentIdentity", name, TEAM), "Ready")[0] == "True", "not ready")


def test_a_token_that_the_kubelet_renewed_is_taken_for_requests_and_for_watches(
    cluster: Cluster, proxy: FaultyProxy, tmp_path: Path
) -> None:
    admin = cluster.admin
    account = install(cluster, ROOT, (TEAM,))
    (tmp_path / "ca.crt").write_bytes(cluster.ca_file.read_bytes())
    first = bound_token(admin, "first-pod")
    mounted(tmp_path, first)
    as_pod = {
        "KUBECONFIG": "",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(proxy.port),
        "TOLLWAY_SERVICE_ACCOUNT": str(tmp_path),
        "TOLLWAY_SECRET_NAMESPACES": TEAM,
    }
    with operating(account, ROOT, **as_pod):
        declared(admin, "before")
        mounted(tmp_path, bound_token(admin, "second-pod"))
        admin.send("DELETE", path_of("v1", "Secret", ROOT, "first-pod")).expect()
        wait_for(lambda: refused(cluster, first), "the first token is still taken")
        assert proxy.cut_watches() > 5
        # It lists again only every ten minutes: this is seen by a watch.
        declared(admin, "after")


def refused(cluster: Cluster, token: str) -> bool:
    with_token = Client(cluster, cluster.admin.kubeconfig, cluster._trusting(), {"Authorization": f"Bearer {token}"})
    return with_token.get("/api/v1/namespaces").status == 401


@pytest.mark.parametrize("module", ["tollway_operator", "tollway_operator.injecting"])
def test_outside_of_a_pod_and_without_a_kubeconfig_it_says_what_to_set(tmp_path: Path, module: str) -> None:
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TOLLWAY_SERVICE_ACCOUNT": str(tmp_path),
        "TOLLWAY_SIDECAR_IMAGE": "sidecar.example/sidecar",
    }
    done = subprocess.run([sys.executable, "-m", module], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "set KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr
