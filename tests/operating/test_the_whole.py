"""Everything that follows from resources, by the real process, with the rights that the chart gives it."""

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import TrustDomain, X509Bundle, X509BundleSet, X509Svid

from clusters import Client, Cluster, path_of
from operating.operators import TOLLWAY, agent, condition, install, operating, status, wait_for
from operating.pods import CERTIFICATES, Node
from signing.requests import csr

ROOT = "tollway-whole"
TEAM, PODS, RIGHTLESS = "whole-secrets", "whole-pods", "whole-rightless"
BUNDLE = path_of(CERTIFICATES, "ClusterTrustBundle", name="tollway.dev:agent:bundle")
numbers = itertools.count()

Json = Any


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Iterator[Client]:
    account = install(cluster, ROOT, (TEAM,))
    for namespace in (PODS, RIGHTLESS):
        cluster.namespace(namespace, **{"tollway.dev/enforce": "enabled"})
    cluster.service_account(PODS, "researcher")
    with operating(account, ROOT, TOLLWAY_SECRET_NAMESPACES=f"{TEAM},{RIGHTLESS}"):
        wait_for(lambda: cluster.admin.get(path_of("v1", "ConfigMap", ROOT, "tollway-gateway")).ok, "nothing happens")
        yield cluster.admin


@pytest.fixture(scope="module")
def node(cluster: Cluster, admin: Client) -> Node:
    return Node(cluster, "node-whole")


@pytest.fixture
def name(admin: Client) -> str:
    return f"agent-{next(numbers)}"


def ready(admin: Client, name: str, namespace: str) -> Json:
    """The status, once it says Ready."""
    wait_for(lambda: condition(status(admin, "AgentIdentity", name, namespace), "Ready")[0] == "True", "not ready")
    return status(admin, "AgentIdentity", name, namespace)


def reason(admin: Client, name: str, namespace: str, expected: str, kind: str = "Issued") -> Json:
    def found() -> tuple[str, str]:
        return condition(status(admin, "AgentIdentity", name, namespace), kind)

    wait_for(lambda: found()[1] == expected, f"{kind} is not {expected}")
    conditions = status(admin, "AgentIdentity", name, namespace)["conditions"]
    return next(each for each in conditions if each["type"] == kind)


def files(admin: Client, namespace: str, name: str) -> dict[str, bytes]:
    data = admin.get(path_of("v1", "Secret", namespace, name)).expect()["data"]
    return {file: base64.b64decode(content) for file, content in data.items()}


def trusted(admin: Client) -> X509Bundle:
    """The cluster's trust bundle, as an independent implementation reads it."""
    roots = admin.get(BUNDLE).expect()["spec"]["trustBundle"]
    return X509Bundle.parse(TrustDomain("cluster.local"), roots.encode())


def assert_verifies(svid: X509Svid, bundle: X509Bundle) -> None:
    leaf, issuer = svid.cert_chain
    [root] = bundle.x509_authorities
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)


# --- delivery as Secret --------------------------------------------------------------------------------------------


def test_an_svid_in_a_secret_is_accepted_by_an_independent_implementation(admin: Client, name: str) -> None:
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    found = ready(admin, name, TEAM)
    held = files(admin, TEAM, f"tollway-svid-{name}")
    svid = X509Svid.parse(held["tls.crt"], held["tls.key"])
    assert str(svid.spiffe_id) == f"spiffe://cluster.local/ns/{TEAM}/sa/{name}/agent/{name}" == found["spiffeID"]
    assert_verifies(svid, trusted(admin))
    assert (
        trusted(admin).x509_authorities
        == X509Bundle.parse(TrustDomain("cluster.local"), held["ca.crt"]).x509_authorities
    )
    assert "cluster.local" in json.loads(held["bundle.json"])["trust_domains"]


def test_the_bundle_beside_an_svid_is_the_cluster_s_for_an_independent_implementation(admin: Client, name: str) -> None:
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    ready(admin, name, TEAM)
    held = files(admin, TEAM, f"tollway-svid-{name}")
    [(domain, document)] = json.loads(held["bundle.json"])["trust_domains"].items()
    # The SPIFFE bundle format: a JWK set, whose keys for X.509 carry one certificate each.
    assert [key["use"] for key in document["keys"]] == ["x509-svid"]
    roots = b"".join(base64.b64decode(key["x5c"][0]) for key in document["keys"])
    found = X509BundleSet.of([X509Bundle.parse_raw(TrustDomain(domain), roots)])
    svid = X509Svid.parse(held["tls.crt"], held["tls.key"])
    bundle = found.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    assert bundle == trusted(admin)
    assert_verifies(svid, bundle)


def test_the_secret_goes_with_its_identity_and_its_certificate_is_not_made_anew(admin: Client, name: str) -> None:
    created = admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    ready(admin, name, TEAM)
    where = path_of("v1", "Secret", TEAM, f"tollway-svid-{name}")
    before = admin.get(where).expect()
    [owner] = before["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (created["metadata"]["uid"], True)
    path = path_of(TOLLWAY, "AgentIdentity", TEAM, name)
    admin.send("PATCH", path, {"spec": {"capture": "None"}}, "application/merge-patch+json").expect()
    wait_for(lambda: status(admin, "AgentIdentity", name, TEAM)["observedGeneration"] == 2, "the change is not seen")
    assert admin.get(where).expect()["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_secret_that_somebody_removed_or_spoilt_comes_back(admin: Client, name: str) -> None:
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    ready(admin, name, TEAM)
    where = path_of("v1", "Secret", TEAM, f"tollway-svid-{name}")
    admin.send("DELETE", where).expect()
    wait_for(lambda: admin.get(where).ok, "it does not come back")
    admin.send("PATCH", where, {"data": {"tls.crt": ""}}, "application/merge-patch+json").expect()
    wait_for(lambda: len(files(admin, TEAM, f"tollway-svid-{name}")["tls.crt"]) > 0, "it stays spoilt")


def test_a_suspended_identity_gets_no_certificate(admin: Client, name: str) -> None:
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"}, suspended=True)).expect()
    assert reason(admin, name, TEAM, "Suspended")["status"] == "False"
    assert admin.get(path_of("v1", "Secret", TEAM, f"tollway-svid-{name}")).status == 404


def test_a_namespace_that_is_not_listed_is_named_in_the_condition(admin: Client, name: str) -> None:
    admin.create(agent(name, PODS, svid={"delivery": "Secret"})).expect()
    assert PODS in reason(admin, name, PODS, "NamespaceNotListed")["message"]


def test_a_listed_namespace_whose_role_is_missing_is_named_and_served_once_it_is_there(
    admin: Client, cluster: Cluster, name: str
) -> None:
    admin.create(agent(name, RIGHTLESS, svid={"delivery": "Secret"})).expect()
    message = reason(admin, name, RIGHTLESS, "IssueFailed")["message"]
    assert "403" in message
    assert f'cannot create resource "secrets" in API group "" in the namespace "{RIGHTLESS}"' in message
    install(cluster, ROOT, (RIGHTLESS,))
    ready(admin, name, RIGHTLESS)


def test_a_namespace_that_is_not_enforced_is_named_until_it_is(admin: Client, cluster: Cluster, name: str) -> None:
    space = cluster.namespace("whole-later")
    admin.create(agent(name, space)).expect()
    assert "tollway.dev/enforce=enabled" in reason(admin, name, space, "NamespaceNotEnforced")["message"]
    cluster.namespace(space, **{"tollway.dev/enforce": "enabled"})
    ready(admin, name, space)
    wait_for(lambda: admin.get(path_of("v1", "ConfigMap", space, "tollway-sidecar")).ok, "no sidecar configuration")


def test_an_event_tells_whoever_looks_at_the_identity(admin: Client, name: str) -> None:
    admin.create(agent(name, TEAM, svid={"delivery": "Secret"})).expect()
    ready(admin, name, TEAM)
    events = admin.get(path_of("v1", "Event", TEAM), fieldSelector=f"involvedObject.name={name}").expect()["items"]
    assert [(event["type"], event["reason"]) for event in events] == [("Normal", "Issued")]


# --- delivery as PodCertificate ------------------------------------------------------------------------------------


def test_a_request_as_the_kubelet_makes_it_is_signed_and_verifies(admin: Client, node: Node, name: str) -> None:
    admin.create(agent(name, PODS, serviceAccountName="researcher")).expect()
    ready(admin, name, PODS)
    key = ec.generate_private_key(ec.SECP256R1())
    pod = node.pod(PODS, name, "researcher")
    answer = node.answer(PODS, node.ask(pod, key))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    svid = X509Svid.parse(answer["certificateChain"].encode(), pem)
    assert_verifies(svid, trusted(admin))
    assert str(svid.spiffe_id) == f"spiffe://cluster.local/ns/{PODS}/sa/researcher/agent/{name}"
    names = svid.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"{pod['metadata']['uid']}.pod.cluster.local"]
    wait_for(lambda: "notAfter" in status(admin, "AgentIdentity", name, PODS).get("svid", {}), "status does not say so")
    found = status(admin, "AgentIdentity", name, PODS)
    assert found["pods"]["matched"] == 1
    assert found["svid"]["notAfter"] == answer["notAfter"]
    assert condition(found, "Issued") == ("True", "Issued")


def test_a_wrong_request_is_denied_and_the_pod_has_an_event_that_says_why(admin: Client, node: Node, name: str) -> None:
    pod = node.pod(PODS, name, "researcher")
    named = csr(ec.generate_private_key(ec.SECP256R1()), subject="admin")
    key = ec.generate_private_key(ec.SECP256R1())
    answer = node.answer(PODS, node.ask(pod, key, stubPKCS10Request=base64.b64encode(named).decode()))
    assert [(each["type"], each["reason"]) for each in answer["conditions"]] == [("Denied", "InvalidCSR")]
    assert "certificateChain" not in answer

    def events() -> list[Json]:
        chosen = f"involvedObject.name={pod['metadata']['name']}"
        return admin.get(path_of("v1", "Event", PODS), fieldSelector=chosen).expect()["items"]

    wait_for(events, "no event")
    assert [(event["type"], event["reason"]) for event in events()] == [("Warning", "InvalidCSR")]
    assert "has a subject" in events()[0]["message"]


def test_requests_for_other_signers_are_left_alone(admin: Client, node: Node, name: str) -> None:
    other = node.pod(PODS, name, "researcher", signer="example.com/other")
    theirs = node.ask(other, ec.generate_private_key(ec.SECP256R1()), signerName="example.com/other")
    mine = node.ask(node.pod(PODS, name, "researcher"), ec.generate_private_key(ec.SECP256R1()))
    node.answer(PODS, mine)
    found = admin.get(path_of(CERTIFICATES, "PodCertificateRequest", PODS, theirs)).expect()
    assert not found.get("status", {}).get("conditions")


def test_a_pod_that_two_identities_select_is_the_older_ones_and_both_say_so(
    admin: Client, node: Node, name: str
) -> None:
    admin.create(agent(name, PODS, serviceAccountName="researcher")).expect()
    ready(admin, name, PODS)
    younger = agent(f"{name}-z", PODS, serviceAccountName="researcher")
    younger["spec"]["selector"]["matchLabels"]["app"] = name
    admin.create(younger).expect()
    node.pod(PODS, name, "researcher")
    for each, other in ((name, f"{name}-z"), (f"{name}-z", name)):
        assert other in reason(admin, each, PODS, "Overlaps", "Accepted")["message"]


# --- configuration -------------------------------------------------------------------------------------------------


def provider(name: str, **spec: object) -> Json:
    credential = {"secretRef": {"name": f"{name}-key"}}
    spec = {"type": "OpenAI", "credential": credential, "models": [{"name": "gpt-5*"}, {"name": "no-such"}], **spec}
    return {"apiVersion": TOLLWAY, "kind": "AIProvider", "metadata": {"name": name}, "spec": spec}


def key_of(name: str, key: str) -> Json:
    meta = {"name": f"{name}-key", "namespace": ROOT}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"api-key": key}}


def test_a_provider_is_served_once_its_key_is_there_and_a_new_key_is_followed(admin: Client, name: str) -> None:
    admin.create(provider(name)).expect()

    def ready_says() -> tuple[str, str]:
        return condition(status(admin, "AIProvider", name), "CredentialReady")

    wait_for(lambda: ready_says() == ("False", "CredentialMissing"), "it is not missed")
    assert status(admin, "AIProvider", name)["models"] == {"priced": 1, "unpriced": 1}
    for key in ("sk-first", "sk-second"):
        admin.apply(key_of(name, key)).expect()
        wait_for(lambda: key in credentials(admin, name), "the key does not arrive")  # noqa: B023
    assert ready_says() == ("True", "Ready")
    assert condition(status(admin, "AIProvider", name), "Programmed") == ("Unknown", "NotReported")
    config = admin.get(path_of("v1", "ConfigMap", ROOT, "tollway-gateway")).expect()["data"]
    assert name in json.loads(config["parts.json"])["providers"]
    assert f"provider/{name}" in config["cds.json"]
    assert not any("sk-" in content for content in config.values())
    sidecar = admin.get(path_of("v1", "ConfigMap", TEAM, "tollway-sidecar")).expect()["data"]
    wait_for(lambda: name in sidecar_routes(admin), "the sidecars do not know it")
    assert set(sidecar) == {"bootstrap.json", "cds.json", "rds.json", "identity.json", "bundle.json", "ca.crt"}
    admin.send("DELETE", path_of(TOLLWAY, "AIProvider", name=name)).expect()
    wait_for(lambda: not credentials(admin, name), "the key of a removed provider stays")
    wait_for(lambda: name not in sidecar_routes(admin), "the way to a removed provider stays")


def sidecar_routes(admin: Client) -> str:
    return str(admin.get(path_of("v1", "ConfigMap", TEAM, "tollway-sidecar")).expect()["data"]["rds.json"])


def credentials(admin: Client, name: str) -> str:
    held = (
        files(admin, ROOT, "tollway-gateway-credentials")
        if admin.get(path_of("v1", "Secret", ROOT, "tollway-gateway-credentials")).body.get("data")
        else {}
    )
    return held.get(f"credential-{name}.json", b"").decode()


def test_the_gateway_has_an_svid_of_its_own(admin: Client) -> None:
    held = files(admin, ROOT, "tollway-gateway-svid")
    svid = X509Svid.parse(held["tls.crt"], held["tls.key"])
    assert str(svid.spiffe_id) == f"spiffe://cluster.local/ns/{ROOT}/sa/tollway-gateway"
    assert_verifies(svid, trusted(admin))


def test_configuration_that_somebody_changed_is_put_right(admin: Client) -> None:
    where = path_of("v1", "ConfigMap", TEAM, "tollway-sidecar")
    before = admin.get(where).expect()["data"]["rds.json"]
    admin.send("PATCH", where, {"data": {"rds.json": "{}"}}, "application/merge-patch+json").expect()
    wait_for(lambda: admin.get(where).expect()["data"]["rds.json"] == before, "it stays changed")
    admin.send("DELETE", where).expect()
    wait_for(lambda: admin.get(where).ok, "it does not come back")


def test_a_trust_bundle_that_somebody_changed_is_put_right(admin: Client) -> None:
    before = admin.get(BUNDLE).expect()["spec"]
    admin.send("DELETE", BUNDLE).expect()
    wait_for(lambda: admin.get(BUNDLE).ok and admin.get(BUNDLE).body["spec"] == before, "it does not come back")


def test_an_authority_that_somebody_removed_is_put_back_and_stays_the_same(admin: Client) -> None:
    where = path_of("v1", "Secret", ROOT, "tollway-ca")
    before = admin.get(where).expect()["data"]
    admin.send("DELETE", where).expect()
    wait_for(lambda: admin.get(where).ok, "it does not come back")
    assert admin.get(where).expect()["data"] == before


# --- quotas --------------------------------------------------------------------------------------------------------


def test_a_quota_says_for_how_many_agents_it_is(admin: Client, cluster: Cluster) -> None:
    space = cluster.namespace("whole-quotas", **{"tollway.dev/enforce": "enabled"})
    for number in range(3):
        admin.create(agent(f"quota-{number}", space)).expect()
    quota = {
        "apiVersion": TOLLWAY,
        "kind": "AIQuota",
        "metadata": {"name": "q", "namespace": space},
        "spec": {"agents": {"matchLabels": {"team": "search"}}, "limits": [{"name": "parallel", "concurrent": 4}]},
    }
    admin.create(quota).expect()
    wait_for(lambda: status(admin, "AIQuota", "q", space).get("matched") == {"agents": 3}, "it does not count three")
    admin.send("DELETE", path_of(TOLLWAY, "AgentIdentity", space, "quota-0")).expect()
    wait_for(lambda: status(admin, "AIQuota", "q", space).get("matched") == {"agents": 2}, "it does not count two")
    found = status(admin, "AIQuota", "q", space)
    assert condition(found, "Accepted") == ("True", "Accepted")
    assert condition(found, "Enforced") == ("Unknown", "NotReported")


# --- manners -------------------------------------------------------------------------------------------------------


def test_nothing_of_kopf_is_written_into_anything(admin: Client) -> None:
    for kind, space in (("Pod", PODS), ("AgentIdentity", TEAM), ("Secret", ROOT), ("Secret", TEAM)):
        version = TOLLWAY if kind == "AgentIdentity" else "v1"
        for each in admin.get(path_of(version, kind, space)).expect()["items"]:
            assert "finalizers" not in each["metadata"]
            assert not any("operator.tollway.dev" in name for name in each["metadata"].get("annotations", {}))


def test_the_operator_may_not_read_secrets_elsewhere(cluster: Cluster, admin: Client) -> None:
    operator = cluster.service_account(ROOT, "tollway-operator")
    assert operator.get(path_of("v1", "Secret", PODS)).status == 403
    assert operator.get("/api/v1/secrets").status == 403
    assert operator.get("/api/v1/configmaps").status == 403
