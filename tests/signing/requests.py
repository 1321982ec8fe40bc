"""A PodCertificateRequest that is granted, and everything around it, to be spoilt by one thing at a time."""

from collections.abc import Mapping
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.resources.models import AgentIdentity, Meta, Selector, SVIDSpec
from tollway.resources.selection import Declared
from tollway_operator.signing.evaluator import Namespace, Pod, Seen, Settings
from tollway_operator.signing.request import SIGNER, PodCertificateRequest

HOUR_MS: Final = 3_600_000
SETTINGS: Final = Settings(DEFAULT_TRUST_DOMAIN)
KEY: Final = ec.generate_private_key(ec.SECP256R1())

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def csr(key: PrivateKey = KEY, *, subject: str = "", san: str = "") -> bytes:
    """A CSR in DER, empty as the kubelet makes it unless told otherwise."""
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder(x509.Name(names))
    if san:
        alternative = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(san)])
        builder = builder.add_extension(alternative, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


GOOD_CSR: Final = csr()


def request(**changed: object) -> PodCertificateRequest:
    values: dict[str, object] = {
        "namespace": "team-a",
        "name": "req-1",
        "signer": SIGNER,
        "pod_name": "researcher-0",
        "pod_uid": "pod-uid",
        "service_account": "researcher",
        "service_account_uid": "account-uid",
        "node": "node-1",
        "csr": GOOD_CSR,
        "max_expiration_s": 86_400,
    }
    return PodCertificateRequest(**{**values, **changed})  # type: ignore[arg-type]


def pod(**changed: object) -> Pod:
    values: dict[str, object] = {
        "namespace": "team-a",
        "name": "researcher-0",
        "uid": "pod-uid",
        "service_account": "researcher",
        "labels": {"app": "researcher"},
        "node": "node-1",
    }
    return Pod(**{**values, **changed})  # type: ignore[arg-type]


def identity(
    name: str = "researcher",
    *,
    labels: Mapping[str, str] | None = None,
    account: str | None = None,
    ttl_ms: int = HOUR_MS,
    suspended: bool = False,
    created: int = 0,
) -> Declared:
    selector = Selector({"app": "researcher"} if labels is None else labels)
    agent = AgentIdentity(Meta(name, "team-a"), selector, account, SVIDSpec(ttl_ms=ttl_ms), suspended=suspended)
    return Declared(agent, created)


ENFORCED: Final = Namespace({"tollway.dev/enforce": "enabled"})


def seen(*identities: Declared, **changed: object) -> Seen:
    """Everything in place; without identities there is the one that selects the pod."""
    values: dict[str, object] = {
        "pod": pod(),
        "service_account_uid": "account-uid",
        "namespace": ENFORCED,
        "identities": identities or (identity(),),
    }
    return Seen(**{**values, **changed})  # type: ignore[arg-type]
