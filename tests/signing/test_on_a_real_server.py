"""Requests made as a kubelet makes them, judged and answered on a real API server by a service account that may
only sign.
"""

import base64
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from clusters import Client, Cluster, path_of, until
from signing.requests import SETTINGS, csr
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.resources.parse import parse_files
from tollway.resources.selection import Declared
from tollway_operator.authority.authority import Authority
from tollway_operator.signing.evaluator import Deny, Namespace, Seen, evaluate
from tollway_operator.signing.objects import declared, read_pod, read_request
from tollway_operator.signing.request import SIGNER
from tollway_operator.signing.status import Status, denied, issued

CERTIFICATES = "certificates.k8s.io/v1"
NODE = "node-signing"
NAMESPACE = "signing"
RULES = [
    {"apiGroups": [""], "resources": ["pods", "serviceaccounts", "namespaces"], "verbs": ["get"]},
    {"apiGroups": ["tollway.dev"], "resources": ["agentidentities"], "verbs": ["list"]},
    {"apiGroups": ["certificates.k8s.io"], "resources": ["podcertificaterequests"], "verbs": ["get", "list"]},
    {"apiGroups": ["certificates.k8s.io"], "resources": ["podcertificaterequests/status"], "verbs": ["update"]},
    {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [SIGNER], "verbs": ["sign"]},
]
SOURCE = {"signerName": SIGNER, "keyType": "ECDSAP256", "credentialBundlePath": "svid.pem"}
numbers = itertools.count()


def now() -> int:
    return time.time_ns() // 1_000_000


# --- the cluster's side --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kubelet(cluster: Cluster) -> Client:
    cluster.namespace(NAMESPACE, **{"tollway.dev/enforce": "enabled"})
    cluster.admin.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}).expect()
    cluster.service_account(NAMESPACE, "researcher")
    return cluster.user(f"system:node:{NODE}", "system:nodes")


@pytest.fixture(scope="module")
def signer(cluster: Cluster) -> Client:
    cluster.namespace("tollway-system")
    client = cluster.service_account("tollway-system", "signer-under-test")
    meta = {"name": "signer-under-test"}
    rbac = "rbac.authorization.k8s.io"
    cluster.admin.apply({"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": meta, "rules": RULES}).expect()
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "signer-under-test"},
        "subjects": [{"kind": "ServiceAccount", "name": "signer-under-test", "namespace": "tollway-system"}],
    }
    cluster.admin.apply(binding).expect()
    until(lambda: client.get(path_of(CERTIFICATES, "PodCertificateRequest", NAMESPACE)).ok, "nothing is granted")
    return client


@pytest.fixture
def agent(cluster: Cluster) -> Iterator[str]:
    """An AgentIdentity for the pods of one test."""
    name = f"agent-{next(numbers)}"
    identity = {
        "apiVersion": "tollway.dev/v1alpha1",
        "kind": "AgentIdentity",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": name}}},
    }
    cluster.admin.create(identity).expect()
    yield name
    cluster.admin.send("DELETE", path_of("tollway.dev/v1alpha1", "AgentIdentity", NAMESPACE, name))


def pod_of(cluster: Cluster, app: str) -> dict[str, Any]:
    """A pod on the node; nothing runs it."""
    content = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{app}-0", "namespace": NAMESPACE, "labels": {"app": app}},
        "spec": {
            "nodeName": NODE,
            "serviceAccountName": "researcher",
            "containers": [{"name": "agent", "image": "none.example/agent"}],
            # Without it the API server takes no request from the node for this pod.
            "volumes": [{"name": "svid", "projected": {"sources": [{"podCertificate": SOURCE}]}}],
        },
    }
    return dict(cluster.admin.create(content).expect())


def request_for(
    cluster: Cluster, pod: dict[str, Any], key: ec.EllipticCurvePrivateKey, **spec: object
) -> dict[str, Any]:
    account = cluster.admin.get(path_of("v1", "ServiceAccount", NAMESPACE, "researcher")).expect()
    node = cluster.admin.get(path_of("v1", "Node", name=NODE)).expect()
    return {
        "apiVersion": CERTIFICATES,
        "kind": "PodCertificateRequest",
        "metadata": {"name": f"req-{next(numbers)}", "namespace": NAMESPACE},
        "spec": {
            "signerName": SIGNER,
            "podName": pod["metadata"]["name"],
            "podUID": pod["metadata"]["uid"],
            "serviceAccountName": "researcher",
            "serviceAccountUID": account["metadata"]["uid"],
            "nodeName": NODE,
            "nodeUID": node["metadata"]["uid"],
            "maxExpirationSeconds": 3600,
            "stubPKCS10Request": base64.b64encode(csr(key)).decode(),
            **spec,
        },
    }


def asked(kubelet: Client, request: dict[str, Any]) -> str:
    """The name of a request that the kubelet made; the server knows a moment later which pods a node has."""
    until(lambda: kubelet.create(request).status in {201, 409}, "the node may not ask for its pod")
    return str(request["metadata"]["name"])


# --- the signer's side: gather, decide, act ------------------------------------------------------------------------


def gather(client: Client, request: dict[str, Any]) -> Seen:
    namespace, spec = request["metadata"]["namespace"], request["spec"]
    pod = client.get(path_of("v1", "Pod", namespace, spec["podName"]))
    account = client.get(path_of("v1", "ServiceAccount", namespace, spec["serviceAccountName"]))
    labels = client.get(path_of("v1", "Namespace", name=namespace)).expect()["metadata"].get("labels", {})
    listed = client.get(path_of("tollway.dev/v1alpha1", "AgentIdentity", namespace)).expect()["items"]
    return Seen(
        pod=read_pod(pod.expect()) if pod.ok else None,
        service_account_uid=account.body["metadata"]["uid"] if account.ok else None,
        namespace=Namespace(labels),
        identities=[identity_of(content) for content in listed],
    )


def identity_of(content: dict[str, Any]) -> Declared:
    [identity] = parse_files({"listed": json.dumps(content).encode()}).resources.agents
    return declared(identity, content)


def answer(client: Client, authority: Authority, name: str) -> None:
    where = path_of(CERTIFICATES, "PodCertificateRequest", NAMESPACE, name)
    request = client.get(where).expect()
    status = decide(authority, request, gather(client, request))
    client.send("PUT", f"{where}/status", {**request, "status": status}).expect()


def decide(authority: Authority, request: dict[str, Any], seen: Seen) -> Status:
    verdict = evaluate(read_request(request), seen, SETTINGS)
    if isinstance(verdict, Deny):
        return denied(verdict, now())
    signed = authority.sign(verdict.public_key, verdict.spiffe_id, verdict.ttl_ms, now(), verdict.pod_uid)
    return issued(signed, now(), jitter=0.5)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.load_or_create(tmp_path, DEFAULT_TRUST_DOMAIN, now())


def answered(client: Client, name: str) -> dict[str, Any]:
    status = client.get(path_of(CERTIFICATES, "PodCertificateRequest", NAMESPACE, name)).expect()["status"]
    return dict(status)


# --- what it comes to ----------------------------------------------------------------------------------------------


def test_a_request_as_the_kubelet_makes_it_is_signed_for_the_agent_and_verifies(
    cluster: Cluster, kubelet: Client, signer: Client, authority: Authority, agent: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pod = pod_of(cluster, agent)
    name = asked(kubelet, request_for(cluster, pod, key))
    answer(signer, authority, name)
    status = answered(kubelet, name)
    leaf, issuer = x509.load_pem_x509_certificates(status["certificateChain"].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    [root] = authority.bundle().roots
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)
    assert leaf.public_key() == key.public_key()
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        f"spiffe://cluster.local/ns/{NAMESPACE}/sa/researcher/agent/{agent}"
    ]
    assert names.get_values_for_type(x509.DNSName) == [f"{pod['metadata']['uid']}.pod.cluster.local"]
    assert [condition["type"] for condition in status["conditions"]] == ["Issued"]


def test_a_pod_that_is_no_agent_gets_its_service_accounts_id(
    cluster: Cluster, kubelet: Client, signer: Client, authority: Authority
) -> None:
    pod = pod_of(cluster, f"plain-{next(numbers)}")
    key = ec.generate_private_key(ec.SECP384R1())
    name = asked(kubelet, request_for(cluster, pod, key, maxExpirationSeconds=86_400))
    answer(signer, authority, name)
    leaf, _ = x509.load_pem_x509_certificates(answered(kubelet, name)["certificateChain"].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [f"spiffe://cluster.local/ns/{NAMESPACE}/sa/researcher"]


def test_a_wrong_request_is_denied_with_its_reason(
    cluster: Cluster, kubelet: Client, signer: Client, authority: Authority, agent: str
) -> None:
    named = csr(ec.generate_private_key(ec.SECP256R1()), subject="admin")
    pod = pod_of(cluster, agent)
    wrong = request_for(cluster, pod, ec.generate_private_key(ec.SECP256R1()))
    wrong["spec"]["stubPKCS10Request"] = base64.b64encode(named).decode()
    name = asked(kubelet, wrong)
    answer(signer, authority, name)
    status = answered(kubelet, name)
    assert [(each["type"], each["reason"]) for each in status["conditions"]] == [("Denied", "InvalidCSR")]
    assert "has a subject" in status["conditions"][0]["message"]
    assert "certificateChain" not in status


def test_an_identity_suspended_after_the_request_was_made_is_denied(
    cluster: Cluster, kubelet: Client, signer: Client, authority: Authority, agent: str
) -> None:
    request = request_for(cluster, pod_of(cluster, agent), ec.generate_private_key(ec.SECP256R1()))
    name = asked(kubelet, request)
    where = path_of("tollway.dev/v1alpha1", "AgentIdentity", NAMESPACE, agent)
    cluster.admin.send("PATCH", where, {"spec": {"suspended": True}}, "application/merge-patch+json").expect()
    answer(signer, authority, name)
    assert answered(kubelet, name)["conditions"][0]["reason"] == "IdentitySuspended"


def test_a_node_cannot_ask_for_the_pod_of_another_node(cluster: Cluster, kubelet: Client, agent: str) -> None:
    """The API server's own check, which the evaluator's `NodeMismatch` stands behind."""
    cluster.admin.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-other"}}).expect()
    other = cluster.user("system:node:node-other", "system:nodes")
    request = request_for(cluster, pod_of(cluster, agent), ec.generate_private_key(ec.SECP256R1()))
    until(lambda: kubelet.create(request, dryRun="All").ok, "the pod's own node may not ask")
    refusal = other.create(request)
    assert refusal.status == 403
    assert "node-other" in refusal.message
