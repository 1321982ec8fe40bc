"""The API server of the tests: it does not outlive them, keeps what it was told, and grants what RBAC grants."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from clusters import Client, Cluster, path_of, running_cluster, until

OWNER = """
import json, os, sys
from clusters import running_cluster
with running_cluster(json.loads(sys.argv[1])) as cluster:
    print(json.dumps([process.pid for process in cluster.processes.values()]), flush=True)
    print(cluster.folder, flush=True)
    sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_server_and_etcd_die_with_whoever_started_them(kube_binaries: Mapping[str, str], tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, json.dumps(dict(kube_binaries))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(tmp_path)},
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        pids = json.loads(owner.stdout.readline())
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    until(lambda: not any(is_alive(pid) for pid in pids), "something outlives its owner")


def test_a_server_that_was_killed_comes_back_with_its_objects_and_takes_the_same_tokens(
    kube_binaries: Mapping[str, str],
) -> None:
    with running_cluster(kube_binaries) as own:
        own.namespace("kept")
        account = own.service_account("kept", "somebody")
        own.kill("kube-apiserver")
        own.start_api_server()
        assert own.admin.get(path_of("v1", "Namespace", name="kept")).ok
        assert who_am_i(account) == "system:serviceaccount:kept:somebody"


def test_a_service_account_may_do_what_rbac_grants_and_nothing_else(cluster: Cluster) -> None:
    cluster.namespace("granting")
    account = cluster.service_account("granting", "somebody")
    assert account.get(path_of("v1", "ConfigMap", "granting")).status == 403
    rbac, meta = "rbac.authorization.k8s.io", {"name": "reads-configmaps", "namespace": "granting"}
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}
    cluster.admin.apply({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}).expect()
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": meta["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "somebody", "namespace": "granting"}],
    }
    cluster.admin.apply(binding).expect()
    until(lambda: account.get(path_of("v1", "ConfigMap", "granting")).ok, "what was granted is not given")
    assert account.get(path_of("v1", "Secret", "granting")).status == 403


def who_am_i(client: Client) -> str:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = client.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review).expect()
    return str(answer["status"]["userInfo"]["username"])
