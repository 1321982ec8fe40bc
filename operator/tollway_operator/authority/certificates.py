"""X.509 certificates as the SPIFFE X509-SVID standard asks: a root, a signing CA, a leaf.

Source: X509-SVID.md §2-4, RFC 5280 §4.2. Name constraints are left off: peers that do not support them for URIs
would refuse the chain.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tollway.identity.rotation import Validity
from tollway.identity.spiffe_id import SPIFFEID, TrustDomain

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Extensions = Iterable[tuple[x509.ExtensionType, bool]]
"""Each with whether it is critical."""

NO_USAGE: Final = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}
_CA_USAGE: Final = x509.KeyUsage(**{**NO_USAGE, "key_cert_sign": True})
_LEAF_USAGE: Final = x509.KeyUsage(**{**NO_USAGE, "digital_signature": True})
_LEAF_PURPOSES: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_EMPTY_NAME: Final = x509.Name([])
_ORGANIZATION: Final = "Tollway"
_ROOT_NAME: Final = "Tollway root"


@dataclass(frozen=True, slots=True)
class CA:
    """A certificate that may sign others, with its key."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    @property
    def validity(self) -> Validity:
        return validity_of(self.certificate)


def validity_of(certificate: x509.Certificate) -> Validity:
    return Validity(_milliseconds(certificate.not_valid_before_utc), _milliseconds(certificate.not_valid_after_utc))


def root_ca(trust_domain: TrustDomain, validity: Validity) -> CA:
    """A new self-signed root."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = _ca_name(_ROOT_NAME, serial)
    return CA(_sign(name, key.public_key(), serial, validity, _ca_extensions(trust_domain, None), name, key), key)


def is_generated(root: x509.Certificate) -> bool:
    """Whether `root_ca` made it, as its name says: then another one may be made without asking anybody."""
    names = root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    names += root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [name.value for name in names] == [_ORGANIZATION, _ROOT_NAME]


def signing_ca(trust_domain: TrustDomain, root: CA, validity: Validity) -> CA:
    """A new CA under `root` that may sign leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    extensions = (*_ca_extensions(trust_domain, 0), (issuer_key_identifier(root.certificate), False))
    name = _ca_name("Tollway signing CA", serial)
    subject = root.certificate.subject
    return CA(_sign(name, key.public_key(), serial, validity, extensions, subject, root.key), key)


def leaf(
    spiffe_id: SPIFFEID,
    public_key: ec.EllipticCurvePublicKey,
    issuer: CA,
    validity: Validity,
    names: Iterable[x509.GeneralName] = (),
) -> x509.Certificate:
    """An X509-SVID. `names` are further subject alternative names; there must be no URI among them."""
    extensions = (
        # Critical, because the subject is empty (RFC 5280 §4.1.2.6).
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id)), *names]), True),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_LEAF_USAGE, True),
        (_LEAF_PURPOSES, False),
        (issuer_key_identifier(issuer.certificate), False),
    )
    serial = x509.random_serial_number()
    return _sign(_EMPTY_NAME, public_key, serial, validity, extensions, issuer.certificate.subject, issuer.key)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: PrivateKey) -> bytes:
    """PKCS#8, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def issuer_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """How certificates of this issuer name its key: by its own identifier, if it has one."""
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        identifier = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _ca_name(role: str, serial: int) -> x509.Name:
    # The serial number keeps the names of successive CAs apart: chains are built by name.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, role),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:x}"),
        ]
    )


def _ca_extensions(trust_domain: TrustDomain, path_length: int | None) -> Extensions:
    return (
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(SPIFFEID(trust_domain)))]), False),
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_CA_USAGE, True),
    )


def _sign(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    serial: int,
    validity: Validity,
    extensions: Extensions,
    issuer: x509.Name,
    key: PrivateKey,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(_moment(validity.not_before))
        .not_valid_after(_moment(validity.not_after))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, _digest_for(key))


def _digest_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    return hashes.SHA384() if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256 else hashes.SHA256()


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
