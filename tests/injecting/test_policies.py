"""What the admission policies refuse on a real API server, with no webhook in front of them."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusters import ROOT, Answer, Client, Cluster, path_of, until
from injecting.injection import patched, read
from operating.operators import ENFORCED, TOLLWAY, agent
from tollway_operator.injecting.outcomes import Patched

ROOT_NAMESPACE = "policies-root"
POLICIES = ROOT / "charts" / "tollway" / "files" / "policies"
EXTRAS = "10.20.0.0/16 192.0.2.7/32"

Json = Any


def documents() -> list[Json]:
    """For another root namespace than the usual one, as the chart puts in that of the release."""
    texts = [path.read_text().replace("tollway-system", ROOT_NAMESPACE) for path in sorted(POLICIES.glob("*.yaml"))]
    found = [document for text in texts for document in yaml.safe_load_all(text)]
    for document in found:
        if document["kind"] == "ConfigMap":
            document["data"]["extras"] = EXTRAS
    return found


@pytest.fixture(scope="module")
def guarded(cluster: Cluster) -> Iterator[Cluster]:
    cluster.namespace(ROOT_NAMESPACE)
    cluster.namespace("policies-enforced", **ENFORCED)
    cluster.namespace("policies-lenient", **ENFORCED, **{"tollway.dev/allow-uninjected": "true"})
    cluster.namespace("policies-strict", **ENFORCED, **{"tollway.dev/egress": "strict"})
    cluster.namespace("policies-open", **ENFORCED)
    cluster.namespace("policies-free")
    for namespace in ("policies-enforced", "policies-lenient", "policies-free"):
        cluster.service_account(namespace, "researcher")
    for document in documents():
        cluster.admin.apply(document).expect()
    try:
        until(lambda: refused(make(cluster, bare("policies-enforced"))), "the policies do not act")
        until(lambda: refused(make(cluster, mounting("policies-free"))), "the policies do not act")
        until(lambda: refused(make(cluster, policy([{}]))), "the policies do not act")
        until(lambda: refused(make(cluster, kept())), "the policies do not act")
        yield cluster
    finally:
        for document in documents():
            meta = document["metadata"]
            where = path_of(document["apiVersion"], document["kind"], meta.get("namespace"), meta["name"])
            cluster.admin.send("DELETE", where).expect()
        until(lambda: make(cluster, bare("policies-enforced")).ok, "the policies act on")
        until(lambda: make(cluster, mounting("policies-free")).ok, "the policies act on")


def make(cluster: Cluster, content: Json, by: Client | None = None) -> Answer:
    return (by or cluster.admin).create(content, dryRun="All")


def refused(answer: Answer) -> bool:
    return answer.status == 403 and "ValidatingAdmissionPolicy" in answer.message


# --- pods ----------------------------------------------------------------------------------------------------------


def bare(namespace: str, **spec: Json) -> Json:
    containers = [{"name": "agent", "image": "agent.example/agent"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "namespace": namespace},
        "spec": {"containers": containers, **spec},
    }


def injected(namespace: str = "policies-enforced", golden: str = "agent") -> Json:
    """As the injector makes it."""
    given = read(Path(__file__).with_name(f"{golden}.in.yaml"))
    outcome = given.outcome()
    assert isinstance(outcome, Patched)
    pod = patched(given.pod, outcome.patch)
    pod["metadata"]["namespace"] = namespace
    return pod


def mounting(namespace: str, **volume: Json) -> Json:
    taken = volume or {"secret": {"secretName": "tollway-svid-researcher"}}
    return bare(namespace, volumes=[{"name": "mine", **taken}])


def with_volume(pod: Json, **volume: Json) -> Json:
    changed = copy.deepcopy(pod)
    changed["spec"]["volumes"].append({"name": "mine", **volume})
    return changed


def with_container(pod: Json, **fields: Json) -> Json:
    changed = copy.deepcopy(pod)
    changed["spec"]["containers"].append({"name": "more", "image": "agent.example/agent", **fields})
    return changed


def opting_out(pod: Json, kind: str = "labels") -> Json:
    changed = copy.deepcopy(pod)
    changed["metadata"][kind] = {"tollway.dev/inject": "false"}
    return changed


SIGNER = {
    "projected": {
        "sources": [
            {"podCertificate": {"signerName": "tollway.dev/agent", "keyType": "ED25519", "credentialBundlePath": "x"}}
        ]
    }
}
PROJECTED = {"projected": {"sources": [{"secret": {"name": "tollway-svid-researcher"}}]}}
MOUNT = [{"name": "tollway-identity", "mountPath": "/stolen"}]
FROM_KEY = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "tollway-svid-researcher", "key": "tls.key"}}}]
FROM_ALL = [{"secretRef": {"name": "tollway-svid-researcher"}}]
NAMED_OURS = {"volumes": [{"name": "tollway-identity", "secret": {"secretName": "tollway-svid-researcher"}}]}


@pytest.mark.parametrize(
    "pod",
    [
        injected(),
        injected(golden="secret-delivery"),
        injected(golden="suspended"),
        injected(golden="many-containers"),
        opting_out(bare("policies-lenient")),
        opting_out(bare("policies-lenient"), "annotations"),
        opting_out(bare("policies-lenient", shareProcessNamespace=True)),
        bare("policies-free"),
        bare("policies-free", hostNetwork=True),
        mounting("policies-free", secret={"secretName": "another"}),
    ],
    ids=[
        *("injected", "by Secret", "suspended", "many containers", "opting out", "opting out by annotation"),
        "opting out, sharing",
        *("not enforced", "not enforced, host network", "another Secret"),
    ],
)
def test_pods_that_are_in_order_are_made(guarded: Cluster, pod: Json) -> None:
    make(guarded, pod).expect()


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        (bare("policies-enforced"), "must have the sidecar"),
        (bare("policies-lenient"), "must have the sidecar"),
        (opting_out(bare("policies-enforced")), "must have the sidecar"),
        (
            bare("policies-enforced", initContainers=[{"name": "tollway-sidecar", "image": "x"}]),
            "must have the sidecar",
        ),
        ({**injected(), "spec": {**injected()["spec"], "hostNetwork": True}}, "hostNetwork"),
        (opting_out(bare("policies-lenient", hostNetwork=True)), "hostNetwork"),
        ({**injected(), "spec": {**injected()["spec"], "hostPID": True}}, "hostPID"),
        (opting_out(bare("policies-lenient", hostPID=True)), "hostPID"),
        ({**injected(), "spec": {**injected()["spec"], "shareProcessNamespace": True}}, "shareProcessNamespace"),
        (with_volume(injected(), secret={"secretName": "tollway-svid-researcher"}), "volume mine"),
        (with_volume(injected(), **PROJECTED), "volume mine"),
        (with_volume(injected(), **SIGNER), "volume mine"),
        (with_container(injected(), volumeMounts=MOUNT), "container more"),
        (with_container(injected(), volumeMounts=[{"name": "tollway-run", "mountPath": "/x"}]), "container more"),
        (with_container(injected(), env=FROM_KEY), "variables"),
        (with_container(injected(), envFrom=FROM_ALL), "variables"),
        (mounting("policies-free"), "volume mine"),
        (mounting("policies-free", **PROJECTED), "volume mine"),
        (mounting("policies-free", **SIGNER), "volume mine"),
        (bare("policies-free", **NAMED_OURS), "volume tollway-identity"),
        (injected("policies-free", "secret-delivery"), "volume tollway-identity"),
        (opting_out(bare("policies-lenient", **NAMED_OURS)), "volume tollway-identity"),
    ],
)
def test_pods_that_go_around_the_injector_are_refused(guarded: Cluster, pod: Json, said: str) -> None:
    answer = make(guarded, pod)
    assert refused(answer), answer.message
    assert said in answer.message


def test_whoever_debugs_a_pod_does_not_get_its_identity(guarded: Cluster) -> None:
    admin, pod = guarded.admin, injected()
    admin.create(pod).expect()
    where = path_of("v1", "Pod", "policies-enforced", pod["metadata"]["name"]) + "/ephemeralcontainers"

    def debug(name: str, **fields: Json) -> Answer:
        container = {"name": name, "image": "agent.example/debug", **fields}
        patch = {"spec": {"ephemeralContainers": [container]}}
        return admin.send("PATCH", where, patch, "application/strategic-merge-patch+json")

    assert refused(debug("thief", volumeMounts=MOUNT))
    assert refused(debug("thief", env=FROM_KEY))
    assert refused(debug("thief", targetContainerName="tollway-sidecar"))
    debug("helper", targetContainerName="agent").expect()


# --- a sidecar that runs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(guarded: Cluster) -> str:
    """Where a pod is that was injected; it is on no node, so nobody is ever really let in."""
    guarded.admin.create(injected("policies-lenient")).expect()
    return path_of("v1", "Pod", "policies-lenient", injected()["metadata"]["name"])


def test_another_image_never_takes_over_the_key_of_a_sidecar(guarded: Cluster, runs: str) -> None:
    def change(kind: str, name: str) -> Answer:
        patch = {"spec": {kind: [{"name": name, "image": "thief.example/thief"}]}}
        return guarded.admin.send("PATCH", runs, patch, "application/strategic-merge-patch+json", dryRun="All")

    answer = change("initContainers", "tollway-sidecar")
    assert refused(answer), answer.message
    change("containers", "agent").expect()


@pytest.mark.parametrize("way", ["exec", "attach"])
def test_nobody_runs_a_program_in_a_sidecar(guarded: Cluster, runs: str, way: str) -> None:
    def enter(container: str) -> Answer:
        command = {"command": "envoy"} if way == "exec" else {}
        return guarded.admin.send("POST", f"{runs}/{way}", container=container, stdout="true", **command)

    assert refused(enter("tollway-sidecar"))
    allowed = enter("agent")
    assert "ValidatingAdmissionPolicy" not in allowed.message
    assert "host" in allowed.message, "the pod is on no node"


def test_what_sidecars_run_by_is_changed_by_the_operator_alone(guarded: Cluster) -> None:
    edits = ["get", "list", "create", "update", "patch", "delete", "deletecollection"]
    tenant = bound(guarded, "tenant", {"apiGroups": [""], "resources": ["configmaps"], "verbs": edits})
    operator = bound(guarded, "tollway-operator", {"apiGroups": [""], "resources": ["configmaps"], "verbs": edits})
    made = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "tollway-sidecar", "namespace": "policies-enforced"},
        "data": {"bootstrap.json": "{}"},
    }
    where = path_of("v1", "ConfigMap", "policies-enforced")
    until(lambda: tenant.get(where).ok and operator.get(where).ok, "nothing is granted")
    until(lambda: refused(tenant.create(made, dryRun="All")), "the policy does not act")
    tenant.create({**made, "metadata": {**made["metadata"], "name": "theirs"}}).expect()
    operator.create(made).expect()
    kept = f"{where}/tollway-sidecar"
    merge = "application/merge-patch+json"
    assert refused(tenant.send("PATCH", kept, {"data": {"bootstrap.json": "theirs"}}, merge))
    assert refused(tenant.send("DELETE", kept))
    assert refused(tenant.send("DELETE", where)), "all of them at once"
    assert operator.get(kept).ok
    operator.send("PATCH", kept, {"data": {"bootstrap.json": "ours"}}, merge).expect()
    operator.send("DELETE", kept).expect()


# --- labels of pods that run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(guarded: Cluster) -> Iterator[str]:
    """Where a pod is, which the AgentIdentity `researcher` selects by `app`."""
    guarded.service_account("policies-open", "researcher")
    made = injected("policies-open")
    made["metadata"]["labels"] = {"app": "researcher", "stage": "one"}
    guarded.admin.create(made).expect()
    where = path_of("v1", "Pod", "policies-open", made["metadata"]["name"])
    # Another service account's pods are none of it, and nor are those of labels that this one never has.
    for each in (
        agent("researcher", "policies-open"),
        agent("theirs", "policies-open", selector={"matchLabels": {"stage": "two"}}),
        agent("other", "policies-open", serviceAccountName="researcher"),
    ):
        guarded.admin.create(each).expect()
    until(lambda: refused(relabel(guarded, where, {"app": None})), "the policy does not act")
    yield where
    for name in ("researcher", "theirs", "other"):
        guarded.admin.send("DELETE", path_of(TOLLWAY, "AgentIdentity", "policies-open", name)).expect()


def relabel(guarded: Cluster, where: str, labels: Json) -> Answer:
    patch = {"metadata": {"labels": labels}}
    return guarded.admin.send("PATCH", where, patch, "application/merge-patch+json", dryRun="All")


@pytest.mark.parametrize(
    ("labels", "name"),
    [({"app": "x"}, "researcher"), ({"app": None}, "researcher"), ({"app": "other"}, "")],
    ids=["leaving", "without it", "becoming another"],
)
@pytest.mark.parametrize("part", ["", "/status"])
def test_a_pod_that_runs_stays_the_agent_that_it_is(
    guarded: Cluster, labelled: str, labels: Json, name: str, part: str
) -> None:
    answer = relabel(guarded, labelled + part, labels)
    assert refused(answer), answer.message
    assert f"AgentIdentity {name}" in answer.message
    assert "make the pod again" in answer.message


def test_labels_that_nobody_selects_it_by_may_change(guarded: Cluster, labelled: str) -> None:
    relabel(guarded, labelled, {"stage": "two", "version": "7"}).expect()


# --- network policies ----------------------------------------------------------------------------------------------


def policy(egress: Json, namespace: str = "policies-strict") -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "theirs", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress},
    }


def kept() -> Json:
    made = policy([])
    made["metadata"]["name"] = "tollway-egress"
    return made


def to(peer: Json, *ports: Json) -> Json:
    return [{"to": [peer], **({"ports": list(ports)} if ports else {})}]


def of(namespace: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


DNS = ({"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"})


@pytest.mark.parametrize(
    "egress",
    [
        [],
        to({"podSelector": {}}),
        to({"podSelector": {"matchLabels": {"app": "db"}}}, {"port": 5432}),
        to(of("kube-system"), *DNS),
        to({**of("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}, *DNS),
        to(of(ROOT_NAMESPACE), {"port": 15443}),
        to({"ipBlock": {"cidr": "10.20.3.0/24"}}),
        to({"ipBlock": {"cidr": "192.0.2.7/32"}}, {"port": 443}),
    ],
)
def test_in_a_strict_namespace_what_stays_inside_is_allowed(guarded: Cluster, egress: Json) -> None:
    make(guarded, policy(egress)).expect()


@pytest.mark.parametrize(
    "egress",
    [
        [{}],
        [{"ports": [{"port": 443}]}],
        to({"ipBlock": {"cidr": "0.0.0.0/0"}}),
        to({"ipBlock": {"cidr": "::/0"}}),
        to({"ipBlock": {"cidr": "10.0.0.0/8"}}),
        to({"ipBlock": {"cidr": "192.0.2.6/31"}}),
        to({"namespaceSelector": {}}),
        to({"namespaceSelector": {}, "podSelector": {}}),
        to(of("team-b")),
        to(of("kube-system")),
        to(of("kube-system"), {"port": 443}),
        to(of("kube-system"), {"port": 53, "endPort": 443}),
        to(of("kube-system"), {"protocol": "TCP"}),
        to(of("kube-system"), {"port": "dns"}),
        to(of(ROOT_NAMESPACE)),
        to({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}}),
        [*to({"podSelector": {}}), *to({"ipBlock": {"cidr": "0.0.0.0/0"}})],
    ],
)
def test_in_a_strict_namespace_broader_ways_are_refused(guarded: Cluster, egress: Json) -> None:
    answer = make(guarded, policy(egress))
    assert refused(answer), answer.message
    make(guarded, policy(egress, "policies-open")).expect()


def bound(guarded: Cluster, name: str, rule: Json) -> Client:
    """A service account of the root namespace that may do what the rule says, everywhere."""
    account = guarded.service_account(ROOT_NAMESPACE, name)
    resource = rule["resources"][0]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": f"policies-{name}-{resource}"}}
    guarded.admin.apply({**role, "kind": "ClusterRole", "rules": [rule]}).expect()
    subject = {"kind": "ServiceAccount", "name": name, "namespace": ROOT_NAMESPACE}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]}
    guarded.admin.apply({**role, "kind": "ClusterRoleBinding", "roleRef": ref, "subjects": [subject]}).expect()
    return account


def test_what_the_operator_keeps_is_the_operators(guarded: Cluster) -> None:
    rule = {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["*"]}
    operator, tenant = bound(guarded, "tollway-operator", rule), bound(guarded, "tenant", rule)
    until(lambda: make(guarded, kept(), operator).ok, "the operator may not")
    operator.create(kept()).expect()
    where = path_of("networking.k8s.io/v1", "NetworkPolicy", "policies-strict", "tollway-egress")
    assert refused(guarded.admin.send("DELETE", where))
    everything = path_of("networking.k8s.io/v1", "NetworkPolicy", "policies-strict")
    until(lambda: tenant.get(everything).ok, "nothing is granted")
    assert refused(tenant.send("DELETE", everything)), "all of them at once"
    operator.send("DELETE", where).expect()
