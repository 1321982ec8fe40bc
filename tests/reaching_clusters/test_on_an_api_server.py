"""The commands at a real API server, with the rights that people have there."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from clusters import ROOT, Client, Cluster, running_cluster, until
from operating.operators import now
from ports import free_port
from reaching_clusters import installed
from reaching_clusters.installed import CALL, GATEWAY_POD, RESEARCHER, RESOURCES, ROOT_NAMESPACE
from reaching_clusters.kubelet import Kubelet, node
from tollway.identity.spiffe_id import TrustDomain
from tollway_cli.__main__ import main
from tollway_operator.authority.bundle import TrustBundle

RBAC = "rbac.authorization.k8s.io"
VIEWER = "viewer@example.com"


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def said_of(self, subject: str) -> list[tuple[str, str, str]]:
        """By `doctor -o json`: level, message and mend of what it found."""
        found = [each for check in self.json["checks"] for each in check["findings"] if each["object"] == subject]
        return [(each["level"], each["message"], each["mend"]) for each in found]

    def result(self, check: str) -> str:
        return str(next(each["result"] for each in self.json["checks"] if each["name"] == check))


@pytest.fixture(scope="module")
def cluster(kube_binaries: Mapping[str, str]) -> Iterator[Cluster]:
    """One of its own: what is wrong in it must be known."""
    with running_cluster(kube_binaries) as running:
        running.install_crds()
        running.namespace(ROOT_NAMESPACE)
        for document in yaml.safe_load_all((ROOT / "charts" / "tollway" / "rbac" / "viewer.yaml").read_text()):
            running.admin.apply(document).expect()
        yield running


@pytest.fixture(scope="module")
def gateway(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    """A Ready pod of the gateway on a node that forwards, and the resources that it goes by."""
    folder = tmp_path_factory.mktemp("gateway")
    with node(cluster, installed.NODE, lambda: installed.admin_application(folder, now())) as kubelet:
        installed.gateway_pod(cluster.admin)
        cluster.namespace("team-a", **{"tollway.dev/enforce": "enabled"})
        for resource in RESOURCES:
            cluster.admin.apply(resource).expect()
        accepted = installed.conditions(("Accepted", "True", "Accepted"), ("Ready", "True", "Ready"))
        status = {"spiffeID": RESEARCHER, "observedGeneration": 1, "conditions": accepted}
        installed.put(cluster.admin, RESOURCES[0], status)
        yield kubelet


@pytest.fixture(scope="module")
def viewer(cluster: Cluster) -> Client:
    """Somebody who was bound as the comment in the chart says."""
    cluster.admin.kubectl(
        "-n", ROOT_NAMESPACE, "create", "rolebinding", "v", "--role=tollway-viewer", f"--user={VIEWER}"
    )
    cluster.admin.kubectl("create", "clusterrolebinding", "v", "--clusterrole=tollway-viewer", f"--user={VIEWER}")
    person = cluster.user(VIEWER)
    until(lambda: person.get("/apis/tollway.dev/v1alpha1/aiproviders").ok, "the binding does not act")
    return person


@pytest.fixture
def tollway(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ran]:
    """The command in this process, as somebody with this kubeconfig."""

    def run(kubeconfig: Path, *arguments: str) -> Ran:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.setattr(sys, "argv", ["tollway", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, captured.out, captured.err)

    return run


# --- the views -----------------------------------------------------------------------------------------------------


def test_limits_are_those_of_the_gateway_where_nothing_but_a_kubeconfig_is_there(gateway, viewer, tollway) -> None:
    ran = tollway(viewer.kubeconfig, "limits", "-o", "json")
    assert ran.code == 0, ran.err
    (rpm,) = [each for each in ran.json["counters"] if each["limit"] == "rpm"]
    assert (rpm["namespace"], rpm["quota"], rpm["used"]) == ("team-a", "research", 1)
    assert gateway.asked[-1] == GATEWAY_POD


def test_the_ledger_knows_agents_by_what_their_status_says(gateway, viewer, tollway) -> None:
    ran = tollway(viewer.kubeconfig, "ledger", "--cluster", "--agent", "team-a/researcher", "-o", "json")
    assert [(each["id"], each["agent"]) for each in ran.json["calls"]] == [(CALL, RESEARCHER)]
    unknown = tollway(viewer.kubeconfig, "ledger", "--cluster", "--agent", "team-a/nobody")
    assert (unknown.code, "no AgentIdentity team-a/nobody" in unknown.err) == (2, True)


def test_every_counter_of_the_cluster_is_recomputed(gateway, viewer, tollway) -> None:
    for arguments in (("ledger", "--cluster", "verify"), ("ledger", "verify", "--cluster")):
        assert "all add up" in tollway(viewer.kubeconfig, *arguments).out


def test_a_call_is_explained_and_one_that_is_not_there_is_not(gateway, viewer, tollway) -> None:
    ran = tollway(viewer.kubeconfig, "explain", CALL, "--cluster", "-o", "json")
    assert (ran.code, ran.json["outcome"]) == (0, "settled")
    unknown = tollway(viewer.kubeconfig, "explain", "0000", "--cluster")
    assert (unknown.code, "no call of this id" in unknown.err) == (1, True)


def test_a_request_is_explained_as_of_the_only_agent_and_provider_of_the_cluster(
    gateway, viewer, tollway, tmp_path
) -> None:
    body = {"model": "gpt-4o", "max_tokens": 5, "messages": [{"role": "user", "content": "x" * 200_000}]}
    (tmp_path / "request.json").write_text(json.dumps(body))
    ran = tollway(viewer.kubeconfig, "explain", "-f", str(tmp_path / "request.json"), "--cluster", "-o", "json")
    assert ran.json["checks"][0] == {"name": "identity", "said": "passed"}, ran.err
    assert gateway.asked[-1] == GATEWAY_POD


def test_top_looks_once(gateway, viewer, tollway) -> None:
    ran = tollway(viewer.kubeconfig, "top", "--once", "--cluster", "--window", "5m")
    assert "team-a/researcher" in ran.out


# --- what can be in the way ----------------------------------------------------------------------------------------


def bind(cluster: Cluster, name: str, *rules: Mapping[str, list[str]]) -> Client:
    """Somebody with these rights in the root namespace, and no others."""
    meta = {"name": name, "namespace": ROOT_NAMESPACE}
    cluster.admin.apply({"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": meta, "rules": list(rules)}).expect()
    bound = {
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": name}],
    }
    cluster.admin.apply({"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": meta, **bound}).expect()
    person = cluster.user(name)
    until(lambda: person.get(f"/api/v1/namespaces/{ROOT_NAMESPACE}/pods").ok, "the binding does not act")
    return person


def test_whoever_may_not_see_pods_is_told_which_role_helps(cluster, gateway, tollway) -> None:
    ran = tollway(cluster.user("stranger").kubeconfig, "limits", "--cluster")
    assert ran.code == 3
    assert "you may not list pods in namespace tollway-system" in ran.err
    assert "create rolebinding NAME --role=tollway-viewer --user=YOU" in ran.err


@pytest.mark.parametrize("verbs", [[], ["get"]], ids=["none", "get alone"])
def test_whoever_may_not_forward_is_told_the_right_by_name(cluster, gateway, tollway, verbs) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    if verbs:
        rules.append({"apiGroups": [""], "resources": ["pods/portforward"], "verbs": verbs})
    ran = tollway(bind(cluster, f"lister-{len(verbs)}", *rules).kubeconfig, "limits", "--cluster")
    assert ran.code == 3
    assert (
        "you may not forward a port of pod tollway-gateway-0 (get and create pods/portforward in namespace" in ran.err
    )


def test_a_pod_that_does_not_listen_is_named_with_its_log(gateway, viewer, tollway) -> None:
    leads_to = gateway.leads_to.pop(9466)
    try:
        ran = tollway(viewer.kubeconfig, "limits", "--cluster")
    finally:
        gateway.leads_to[9466] = leads_to
    assert ran.code == 3
    assert "connection refused" in ran.err
    assert "kubectl -n tollway-system logs tollway-gateway-0 -c extauthz" in ran.err


def test_a_gateway_that_is_not_ready_says_why(cluster, gateway, viewer, tollway) -> None:
    installed.gateway_pod(cluster.admin, ready=False)
    try:
        ran = tollway(viewer.kubeconfig, "limits", "--cluster")
    finally:
        installed.gateway_pod(cluster.admin)
    assert ran.code == 3
    assert "no pod of the gateway is Ready (tollway-gateway-0: containers with unready status: [envoy])" in ran.err


def test_another_namespace_has_no_gateway_and_the_option_is_named(gateway, cluster, tollway) -> None:
    ran = tollway(cluster.admin.kubeconfig, "limits", "--namespace", "elsewhere")
    assert ran.code == 3
    assert "no pod of the gateway in namespace elsewhere" in ran.err
    assert "--namespace" in ran.err


def test_an_api_server_that_is_away_is_said_to_be(cluster, tollway, tmp_path) -> None:
    config = yaml.safe_load(cluster.admin.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    ran = tollway(tmp_path / "config", "limits", "--cluster")
    assert ran.code == 3
    assert "the API server is not reached" in ran.err
    assert "kubectl get --raw /readyz" in ran.err
    assert "No instance runs on this machine, so the cluster of your kubeconfig was looked at" not in ran.err
    assumed = tollway(tmp_path / "config", "limits")
    assert "No instance runs on this machine, so the cluster of your kubeconfig was looked at" in assumed.err


def test_a_context_that_is_not_in_the_kubeconfig_is_told(cluster, tollway) -> None:
    ran = tollway(cluster.admin.kubeconfig, "limits", "--context", "other")
    assert ran.code == 3
    assert "kubectl config get-contexts" in ran.err


def test_credentials_that_are_not_accepted_ask_to_log_in(cluster, tollway, tmp_path) -> None:
    config = yaml.safe_load(cluster.admin.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "expired"}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    assert "log in again" in tollway(tmp_path / "config", "doctor", "--cluster").err


# --- the doctor ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def well(cluster: Cluster, gateway: Kubelet) -> None:
    """Everything that the chart and the operator make, as objects that say they are well."""
    admin = cluster.admin
    for name in ("tollway-operator", "tollway-injector"):
        installed.workload(admin, "Deployment", name, 1, 1)
    installed.workload(admin, "StatefulSet", "tollway-gateway", 1, 1)
    installed.lease(admin, datetime.now(UTC) + timedelta(hours=1))
    installed.put(admin, installed.pod("agent", "team-a", "tollway-sidecar"))
    installed.webhook(admin, installed.certificate(timedelta(days=30)))
    installed.endpoints(admin, [True])
    root, signing = (installed.certificate(timedelta(days=days)) for days in (300, 1))
    bundle = TrustBundle(TrustDomain("cluster.local"), 1, (x509.load_pem_x509_certificate(root),)).map()
    files = {"bundle.json": bundle.decode(), "issuers.pem": signing.decode()}
    installed.config_map(admin, "tollway-gateway", **files)
    good = [
        ("Accepted", "True", "Accepted"),
        ("CredentialReady", "True", "Ready"),
        ("Programmed", "True", "Programmed"),
    ]
    installed.put(admin, RESOURCES[1], {"observedGeneration": 1, "conditions": installed.conditions(*good)})
    enforced = installed.conditions(("Enforced", "True", "Enforced"), ("Exceeded", "False", "WithinLimits"))
    installed.put(admin, RESOURCES[2], {"observedGeneration": 1, "conditions": enforced})


def test_a_viewer_sees_that_all_is_well_and_every_check_could_look(well, viewer, tollway) -> None:
    ran = tollway(viewer.kubeconfig, "doctor", "-o", "json")
    assert ran.code == 0, ran.out
    assert ran.json["ok"] is True
    assert {each["name"]: each["result"] for each in ran.json["checks"] if each["result"] not in ("fine", "hint")} == {}
    assert tollway(viewer.kubeconfig, "doctor").out.startswith(
        "Namespace tollway-system of the cluster in context it\n"
    )


def test_what_one_may_not_see_is_said_with_the_right_that_is_missing(well, cluster, tollway) -> None:
    rules = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    ran = tollway(bind(cluster, "half-blind", rules).kubeconfig, "doctor", "-o", "json")
    assert ran.code == 1
    assert ran.result("pods without a sidecar") == ran.result("webhook") == ran.result("kinds") == "unknown"
    rights = {message for _, message, _ in ran.said_of("you")}
    assert "you may not list namespaces (cluster-wide)" in rights
    assert "you may not get leases in namespace tollway-system" in rights


def test_what_is_wrong_is_named_with_the_command_that_mends_it(well, cluster, viewer, tollway) -> None:
    """Last of its module: it leaves the installation ill."""
    admin = cluster.admin
    installed.webhook(admin)
    admin.send(
        "DELETE", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/tollway-injector"
    ).expect()
    replica_set = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d9", "uid": "u", "controller": True}
    installed.put(admin, installed.pod("web-1", "team-a", owner=replica_set, **{"pod-template-hash": "5d9"}))
    installed.put(admin, installed.pod("debug", "team-a", **{"tollway.dev/inject": "false"}))
    installed.webhook(admin, installed.certificate(timedelta(days=-1)))
    installed.endpoints(admin, [False])
    installed.lease(admin, datetime.now(UTC) - timedelta(hours=1))
    installed.workload(admin, "Deployment", "tollway-injector", 2, 0)
    admin.send("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/aiquotas.tollway.dev").expect()
    missing = [("CredentialReady", "False", "CredentialMissing"), ("Programmed", "False", "NotServed")]
    installed.put(admin, RESOURCES[1], {"observedGeneration": 1, "conditions": installed.conditions(*missing)})
    standing = {"phase": "Prepared", "since": 1, "waiting_for": ["team-a/agent"], "late": True}
    installed.config_map(admin, "tollway-root-change", **{"status.json": json.dumps(standing)})
    cluster.namespace("team-s", **{"tollway.dev/enforce": "enabled", "tollway.dev/egress": "strict"})
    until(lambda: not admin.get("/apis/tollway.dev/v1alpha1/aiquotas").ok, "the kind is still served")

    ran = tollway(viewer.kubeconfig, "doctor", "-o", "json")

    assert ran.code == 1
    mends = {
        "CRD aiquotas.tollway.dev": "helm upgrade tollway charts/tollway -n tollway-system",
        "MutatingWebhookConfiguration tollway-injector": "kubectl -n tollway-system rollout restart deployment/tollway",
        "Service tollway-injector": "kubectl -n tollway-system rollout status deployment/tollway-injector",
        "Deployment tollway-injector": "kubectl -n tollway-system describe deployment/tollway-injector",
        "Lease tollway-operator": "kubectl -n tollway-system rollout restart deployment/tollway-operator",
        "AIProvider openai": "kubectl -n tollway-system create secret generic openai-key --from-file=api-key=FILE",
        "deployment/web (1 pods) in namespace team-a": "kubectl -n team-a rollout restart deployment/web",
        "namespace team-s": "kubectl -n tollway-system logs deployment/tollway-operator",
        "the change of the root": "tollway root status --cluster",
    }
    for subject, mend in mends.items():
        assert [each for each in ran.said_of(subject) if each[0] == "wrong" and each[2].startswith(mend)], subject
    (opted_out,) = ran.said_of("pod debug in namespace team-a")
    assert opted_out[0] == "hint"
    (open_way,) = ran.said_of("namespace team-a")
    assert open_way[2] == "kubectl label namespace team-a tollway.dev/egress=strict"
