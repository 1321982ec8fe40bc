"""A serving certificate that signs itself: whoever trusts exactly it needs no authority, and nothing else is trusted.

Source: RFC 5280 §4.2, RFC 9525 (names are DNS names in the subjectAltName).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tollway_operator.authority.certificates import NO_USAGE, certificate_pem, key_pem

SERVING_DAYS: Final = 90
_BACKDATE: Final = timedelta(hours=1)
"""Clocks of API servers may be slow."""
_LONGEST_COMMON_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Serving:
    """PEM both."""

    certificate: bytes
    key: bytes = field(repr=False)


def serving_certificate(dns_names: tuple[str, ...], now: int) -> Serving:
    """`now`: ms since the epoch. At least one name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, dns_names[0][:_LONGEST_COMMON_NAME])])
    made = datetime.fromtimestamp(now // 1_000, UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=made - _BACKDATE,
        not_valid_after=made + timedelta(days=SERVING_DAYS),
    )
    for extension, critical in _extensions(dns_names):
        builder = builder.add_extension(extension, critical)
    return Serving(certificate_pem(builder.sign(key, hashes.SHA256())), key_pem(key))


def _extensions(dns_names: tuple[str, ...]) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**{**NO_USAGE, "digital_signature": True}), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]
