import base64
from pathlib import Path

import pytest
from cryptography import x509

from e2e.installation import Installation
from e2e.stage import Json, apply, condition, exists, listed, read, ready, until

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def told(installation: Installation) -> None:
    apply(HERE / "story.yaml")
    ready("by-secret", "team-b")


def identity(name: str, namespace: str) -> Json:
    """The AgentIdentity, once it says Ready."""

    def found() -> Json:
        known = read("aid", name, namespace)
        return (
            known if condition(known, "Ready")[0] == "True" and "notAfter" in known["status"].get("svid", {}) else None
        )

    return until(found, f"AgentIdentity {namespace}/{name} is not Ready")


def volume(pod: str, namespace: str) -> list[Json]:
    """What the sidecar's identity is made of."""
    volumes = read("pod", pod, namespace)["spec"]["volumes"]
    return [source for each in volumes for source in each.get("projected", {}).get("sources", ())]


def test_a_pod_gets_its_certificate_from_the_kubelet_where_the_cluster_can(installation: Installation) -> None:
    told = identity("researcher", "team-a")["status"]
    assert told["spiffeID"] == "spiffe://cluster.local/ns/team-a/sa/default/agent/researcher"
    assert told["svid"]["delivery"] == "PodCertificate"
    assert any(
        each.get("podCertificate", {}).get("signerName") == "tollway.dev/agent"
        for each in volume("researcher", "team-a")
    )
    assert not exists("secret", "tollway-svid-researcher", "team-a")
    requests = [each for each in listed("podcertificaterequest", "team-a") if each["spec"]["podName"] == "researcher"]
    assert all(condition(each, "Issued")[0] == "True" for each in requests)


def test_a_pod_gets_it_from_a_secret_where_that_is_asked_for() -> None:
    told = identity("by-secret", "team-b")["status"]
    assert told["svid"]["delivery"] == "Secret"
    leaf = x509.load_pem_x509_certificate(
        base64.b64decode(read("secret", "tollway-svid-by-secret", "team-b")["data"]["tls.crt"])
    )
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [told["spiffeID"]]
    assert any(each.get("secret", {}).get("name") == "tollway-svid-by-secret" for each in volume("by-secret", "team-b"))


def test_the_agents_own_container_sees_neither_certificate_nor_key() -> None:
    for name, namespace in (("researcher", "team-a"), ("by-secret", "team-b")):
        [agent] = read("pod", name, namespace)["spec"]["containers"]
        mounted = {each["mountPath"] for each in agent["volumeMounts"]}
        assert not any(path.startswith(("/etc/tollway", "/run/tollway")) for path in mounted)
