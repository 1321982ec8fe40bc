"""Client certificates: whatever comes, the answer is a peer that our CA vouched for, or why there is none."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, agent_id
from tollway_extauthz.peer import Peer, PeerProblem, PeerReason, PeerValidator

BEGAN: Final = datetime(2026, 11, 1, tzinfo=UTC)
NOW: Final = int(BEGAN.timestamp() * 1000) + 60_000
CALLER: Final = agent_id(DEFAULT_TRUST_DOMAIN, "team-a", "researcher", "researcher")
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


def seeds() -> Iterator[bytes]:
    leaf = leaf_of_caller()
    yield leaf.public_bytes(Encoding.DER)
    yield pem(leaf).encode()
    yield quote(pem(leaf), safe="").encode()
    yield ca()[0].public_bytes(Encoding.DER)
    yield _PEM + b"\nAAAA\n-----END CERTIFICATE-----\n"


def check(data: bytes) -> None:
    """Bytes that are no PEM are taken for DER: those mutate better."""
    validator = PeerValidator(DEFAULT_TRUST_DOMAIN, pem(ca()[0]).encode())
    texts = [data.decode("utf-8", "surrogateescape")]
    if _PEM not in data:
        texts.append(quote(_armoured(data), safe=""))
    for text in texts:
        for now in (NOW, 0):
            _check(validator.validate(text, now))


def _check(outcome: Peer | PeerProblem) -> None:
    if isinstance(outcome, Peer):
        assert outcome.spiffe_id == CALLER, "our CA never vouched for this"
        return
    assert outcome.reason in PeerReason
    assert outcome.message.isprintable()
    assert len(outcome.message) < 500


def _armoured(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"{_PEM.decode()}\n{body}-----END CERTIFICATE-----\n"


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


@cache
def ca() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = _key(1)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signing")])
    builder = _begun(name, name, key.public_key(), 1)
    builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True), key


@cache
def leaf_of_caller() -> x509.Certificate:
    issuer, key = ca()
    builder = _begun(x509.Name([]), issuer.subject, _key(2).public_key(), 2)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(CALLER))])
    builder = builder.add_extension(names, critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


def _key(secret: int) -> ec.EllipticCurvePrivateKey:
    """The same in every run, so that what was found stays found."""
    return ec.derive_private_key(secret, ec.SECP256R1())


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, serial: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(BEGAN)
        .not_valid_after(BEGAN + timedelta(hours=1))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    unused = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not signs_certificates, key_cert_sign=signs_certificates, **unused)
