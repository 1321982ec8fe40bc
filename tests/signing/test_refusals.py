"""What the signer refuses: one thing wrong at a time, each with its own reason and a sentence for people."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from signing.requests import GOOD_CSR, KEY, SETTINGS, csr, identity, pod, request, seen
from tollway_operator.signing.evaluator import Deny, Namespace, Seen, Settings, Sign, evaluate
from tollway_operator.signing.request import LONGEST_CSR, PodCertificateRequest

AGENTS_ID = "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher"
UNSELECTED = identity(labels={"app": "writer"})
SUSPENDED = identity(suspended=True)
SUSPENDED_ACCOUNT = identity(labels={"app": "writer"}, account="researcher", suspended=True)
STRICT = replace(SETTINGS, refuse_unselected=True)


def test_what_is_spoilt_below_is_signed_as_it_is() -> None:
    assert isinstance(evaluate(request(), seen(), SETTINGS), Sign)


def case(
    reason: str, says: str, asked: PodCertificateRequest, around: Seen, settings: Settings = SETTINGS, *, of: str = ""
) -> object:
    return pytest.param(asked, around, settings, reason, says, id=of or reason)


@pytest.mark.parametrize(
    ("asked", "around", "settings", "reason", "says"),
    [
        case("OtherSigner", "example.com/other", request(signer="example.com/other"), seen()),
        case(
            "RootNamespace",
            "no agents in tollway-system",
            request(namespace="tollway-system"),
            seen(pod=pod(namespace="tollway-system")),
        ),
        case("NamespaceNotFound", "team-a", request(), seen(namespace=None)),
        case("NamespaceNotEnforced", "tollway.dev/enforce=enabled", request(), seen(namespace=Namespace({}))),
        case(
            "NamespaceNotEnforced",
            "team-a",
            request(),
            seen(namespace=Namespace({"tollway.dev/enforce": "disabled"})),
            of="enforce: disabled",
        ),
        case("InvalidUnverifiedUserAnnotations", "remove them", request(annotations={"a.example/b": "c"}), seen()),
        case("ExpirationTooShort", "at least 3600", request(max_expiration_s=3599), seen()),
        case("PodNotFound", "team-a/researcher-0", request(), seen(pod=None)),
        case("PodMismatch", "not for pod team-a/other", request(), seen(pod=pod(name="other"))),
        case("PodMismatch", "team-b", request(), seen(pod=pod(namespace="team-b")), of="pod of another namespace"),
        case("PodUIDMismatch", "was replaced", request(), seen(pod=pod(uid="another"))),
        case("PodBeingDeleted", "being deleted", request(), seen(pod=pod(being_deleted=True))),
        case("PodFinished", "Succeeded", request(), seen(pod=pod(phase="Succeeded"))),
        case("PodFinished", "Failed", request(), seen(pod=pod(phase="Failed")), of="pod failed"),
        case("NodeMismatch", "node-1", request(), seen(pod=pod(node="node-2"))),
        case("NodeMismatch", "node-1", request(), seen(pod=pod(node="")), of="pod not scheduled"),
        case("ServiceAccountMismatch", "team-a/other", request(), seen(pod=pod(service_account="other"))),
        case("ServiceAccountNotFound", "researcher", request(), seen(service_account_uid=None)),
        case("ServiceAccountUIDMismatch", "was replaced", request(), seen(service_account_uid="another")),
        case("IdentitySuspended", "AgentIdentity team-a/researcher is suspended", request(), seen(SUSPENDED)),
        case(
            "IdentitySuspended",
            "this pod is its agent",
            request(),
            seen(SUSPENDED, identity("younger", created=1_000)),
            of="the older of two is suspended",
        ),
        case(
            "IdentitySuspended",
            "names the pod's service account researcher",
            request(),
            seen(SUSPENDED_ACCOUNT),
            of="service account of a suspended identity",
        ),
        case("NoIdentity", "no AgentIdentity of namespace team-a", request(), seen(UNSELECTED), STRICT),
        case(
            "UnsupportedKeyType",
            "ECDSAP256",
            request(csr=csr(rsa.generate_private_key(65537, 3072))),
            seen(),
            of="RSA",
        ),
        case(
            "UnsupportedKeyType",
            "ECDSAP384",
            request(csr=csr(ed25519.Ed25519PrivateKey.generate())),
            seen(),
            of="Ed25519",
        ),
        case(
            "UnsupportedKeyType",
            "keyType",
            request(csr=csr(ec.generate_private_key(ec.SECP521R1()))),
            seen(),
            of="P-521",
        ),
        case("InvalidCSR", "not a PKCS#10 request", request(csr=b"no CSR"), seen(), of="no CSR"),
        case("InvalidCSR", "not a PKCS#10 request", request(csr=GOOD_CSR + b"\0"), seen(), of="trailing data"),
        case("InvalidCSR", "the limit is", request(csr=bytes(LONGEST_CSR + 1)), seen(), of="huge CSR"),
        case("InvalidCSR", "has a subject", request(csr=csr(subject="researcher")), seen(), of="subject"),
        case(
            "InvalidCSR", "asks for names", request(csr=csr(san="spiffe://cluster.local/ns/x/sa/y")), seen(), of="SAN"
        ),
        case("InvalidCSR", "asks for names", request(csr=csr(san=AGENTS_ID)), seen(), of="SAN that would be right"),
        case("InvalidCSR", "nobody proved", request(csr=GOOD_CSR[:-1] + b"\0"), seen(), of="broken signature"),
    ],
)
def test_refused(asked: PodCertificateRequest, around: Seen, settings: Settings, reason: str, says: str) -> None:
    verdict = evaluate(asked, around, settings)
    assert isinstance(verdict, Deny), verdict
    assert verdict.reason == reason
    assert says in verdict.message


def test_a_key_that_somebody_else_has_is_refused() -> None:
    """The CSR of one key with the public key of another put into it."""
    other = csr(ec.generate_private_key(ec.SECP256R1()))
    mine = KEY.public_key().public_numbers()
    point = b"\4" + mine.x.to_bytes(32, "big") + mine.y.to_bytes(32, "big")
    start = other.index(b"\x03\x42\x00\x04") + 3
    stolen = other[:start] + point + other[start + len(point) :]
    verdict = evaluate(request(csr=stolen), seen(), SETTINGS)
    assert isinstance(verdict, Deny)
    assert "nobody proved" in verdict.message


def test_the_root_namespace_is_the_one_of_the_settings() -> None:
    elsewhere = replace(SETTINGS, root_namespace="team-a")
    verdict = evaluate(request(), seen(), elsewhere)
    assert isinstance(verdict, Deny)
    assert verdict.reason == "RootNamespace"
