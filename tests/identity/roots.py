"""Roots as users bring them, and roots that break one rule."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from identity.crafting import HOUR, NOW, usage
from tollway_operator.authority.root import BroughtRoot

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example Corp Root")])
A_CA = x509.BasicConstraints(ca=True, path_length=None)


def self_signed(
    *,
    key: Any = None,
    subject: x509.Name = NAME,
    issuer: x509.Name | None = None,
    signing_key: Any = None,
    constraints: tuple[x509.BasicConstraints, bool] | None = (A_CA, True),
    key_usage: tuple[x509.KeyUsage, bool] | None = (usage(key_cert_sign=True, crl_sign=True), True),
    uris: Sequence[str] = (),
    demand: x509.ExtensionType | None = None,
    not_before: int = NOW - HOUR,
    not_after: int = NOW + 365 * 24 * HOUR,
) -> tuple[x509.Certificate, BroughtRoot]:
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(not_before // 1000, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after // 1000, UTC))
    )
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]) if uris else None
    for extension, critical in filter(
        None, (constraints, key_usage, names and (names, False), demand and (demand, True))
    ):
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(signing_key or key, hashes.SHA256())
    return certificate, BroughtRoot(certificate.public_bytes(Encoding.PEM), pem_of(key))


def pem_of(key: Any, encryption: Any = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
