"""Certificates that break exactly one rule: everything not named is as a good leaf has it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, TrustDomain, agent_id
from tollway.resources.models import KeyType
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.certificates import CA, NO_USAGE
from tollway_operator.authority.state import decode

NOW = 1_790_000_000_123
MINUTE = 60_000
HOUR = 60 * MINUTE
RESEARCHER = agent_id(DEFAULT_TRUST_DOMAIN, "team-a", "researcher-sa", "researcher")
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def new_authority(directory: Path, trust_domain: TrustDomain = DEFAULT_TRUST_DOMAIN, now: int = NOW) -> Authority:
    return Authority.load_or_create(directory, trust_domain, now)


def cas_of(directory: Path) -> tuple[CA, CA]:
    """The root and the active signing CA of the authority in `directory`, as its own file says."""
    state = decode((directory / "authority.json").read_bytes())
    return state.root, state.active


def issued(authority: Authority, key_type: KeyType = KeyType.ECDSA_P256, **options: Any) -> x509.Certificate:
    svid = authority.issue(RESEARCHER, key_type, options.pop("ttl_ms", HOUR), options.pop("now", NOW), **options)
    return x509.load_pem_x509_certificates(svid.chain_pem)[0]


def as_envoy_sends(certificate: x509.Certificate) -> str:
    return quote(certificate.public_bytes(Encoding.PEM).decode(), safe="")


def usage(**flags: bool) -> x509.KeyUsage:
    return x509.KeyUsage(**{**NO_USAGE, **flags})


HANDSHAKES = usage(digital_signature=True)


@dataclass(frozen=True)
class Craft:
    uris: Sequence[str] = (str(RESEARCHER),)
    names: Sequence[x509.GeneralName] = ()
    raw_names: bytes | None = None
    subject: str = ""
    names_critical: bool = True
    ca: bool | None = False
    usage: x509.KeyUsage | None = HANDSHAKES
    usage_critical: bool = True
    purposes: Sequence[x509.ObjectIdentifier] | None = BOTH
    demand: x509.ExtensionType | None = None
    not_before: int = NOW - MINUTE
    not_after: int = NOW + HOUR
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def signed_by(self, issuer: CA) -> x509.Certificate:
        common_name = [x509.NameAttribute(NameOID.COMMON_NAME, self.subject)] if self.subject else []
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(common_name))
            .issuer_name(issuer.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(self.not_before // 1000, UTC))
            .not_valid_after(datetime.fromtimestamp(self.not_after // 1000, UTC))
        )
        for extension, critical in self._extensions():
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer.key, hashes.SHA256())

    def _extensions(self) -> list[tuple[x509.ExtensionType, bool]]:
        found: list[tuple[x509.ExtensionType | None, bool]] = [
            (self._subject_alternative_name(), self.names_critical),
            (None if self.ca is None else x509.BasicConstraints(self.ca, None), True),
            (self.usage, self.usage_critical),
            (x509.ExtendedKeyUsage(self.purposes) if self.purposes else None, False),
            (self.demand, True),
        ]
        return [(extension, critical) for extension, critical in found if extension is not None]

    def _subject_alternative_name(self) -> x509.ExtensionType | None:
        if self.raw_names is not None:
            return x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, self.raw_names)
        names = [*map(x509.UniformResourceIdentifier, self.uris), *self.names]
        return x509.SubjectAlternativeName(names) if names else None
