"""The root of a trust domain: generated, or brought by the user and judged before anything is signed with it.

Sidecars and gateway trust the root and nothing else, so one that a peer would refuse must be refused here, with the
reason, and not in a failed handshake later.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tollway.identity.rotation import Validity
from tollway.identity.spiffe_id import SPIFFEID, TrustDomain
from tollway_operator.authority.certificates import CA, PrivateKey, root_ca, validity_of

ROOT_TTL_MS: Final = 10 * 365 * 86_400_000
ROOT_BACKDATE_MS: Final = 86_400_000
"""A root must be valid on every machine, and also after somebody set a clock back."""

_UNDERSTOOD: Final = frozenset(
    extension.oid for extension in (x509.BasicConstraints, x509.KeyUsage, x509.SubjectAlternativeName)
)


class UnusableRoot(ValueError):  # noqa: N818 - named for what happened
    """The root that the user brought cannot be used; the message says why. It never shows the key."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the root certificate authority cannot be used: {problem}")


@dataclass(frozen=True, slots=True)
class BroughtRoot:
    """A root as the user hands it over, PEM: one certificate, and its key, not encrypted."""

    certificate: bytes
    key: bytes = field(repr=False)


def generate_root(trust_domain: TrustDomain, now: int) -> CA:
    start = now - now % 1000
    return root_ca(trust_domain, Validity(start - ROOT_BACKDATE_MS, start + ROOT_TTL_MS))


def read_root(brought: BroughtRoot, trust_domain: TrustDomain, now: int) -> CA:
    """Judge a root that a user brings; raises `UnusableRoot`."""
    certificate = _read_certificate(brought.certificate)
    key = _read_key(brought.key)
    for acceptable, problem in _RULES:
        if not _holds(acceptable, certificate, trust_domain):
            raise UnusableRoot(problem.format(trust_domain=trust_domain))
    if certificate.public_key() != key.public_key():
        raise UnusableRoot("the key does not belong to the certificate")
    if not validity_of(certificate).covers(now):
        raise UnusableRoot(
            f"it is valid from {certificate.not_valid_before_utc} to {certificate.not_valid_after_utc} only"
        )
    return CA(certificate, key)


def _read_certificate(pem: bytes) -> x509.Certificate:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise UnusableRoot("the certificate is not PEM") from error
    if len(certificates) != 1:
        raise UnusableRoot(f"exactly one certificate is needed, there are {len(certificates)}")
    return certificates[0]


def _read_key(pem: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise UnusableRoot("the key is encrypted; store it decrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableRoot("the key is not a PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise UnusableRoot("the key must be ECDSA (P-256 or P-384) or RSA (2048 bits or more)")
    return key


Rule = Callable[[x509.Certificate, TrustDomain], bool]


def _holds(rule: Rule, certificate: x509.Certificate, trust_domain: TrustDomain) -> bool:
    try:
        return rule(certificate, trust_domain)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False


def _is_well_formed(certificate: x509.Certificate, _: TrustDomain) -> bool:
    return certificate.version is x509.Version.v3 and len(certificate.extensions) > 0


def _has_known_key_type(certificate: x509.Certificate, _: TrustDomain) -> bool:
    match certificate.public_key():
        case ec.EllipticCurvePublicKey() as key:
            return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
        case rsa.RSAPublicKey() as key:
            return key.key_size >= 2048
        case _:
            return False


def _is_self_signed(certificate: x509.Certificate, _: TrustDomain) -> bool:
    certificate.verify_directly_issued_by(certificate)
    return True


def _has_a_name(certificate: x509.Certificate, _: TrustDomain) -> bool:
    return len(certificate.subject.rdns) > 0


def _is_a_ca(certificate: x509.Certificate, _: TrustDomain) -> bool:
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    return constraints.critical and constraints.value.ca


def _allows_a_ca_below(certificate: x509.Certificate, _: TrustDomain) -> bool:
    path_length = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    return path_length is None or path_length >= 1


def _may_sign(certificate: x509.Certificate, _: TrustDomain) -> bool:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    return usage.critical and usage.value.key_cert_sign


def _has_no_name_constraints(certificate: x509.Certificate, _: TrustDomain) -> bool:
    return all(extension.oid != x509.NameConstraints.oid for extension in certificate.extensions)


def _has_no_unknown_demands(certificate: x509.Certificate, _: TrustDomain) -> bool:
    return all(not extension.critical or extension.oid in _UNDERSTOOD for extension in certificate.extensions)


def _names_our_trust_domain(certificate: x509.Certificate, trust_domain: TrustDomain) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return True
    return names.get_values_for_type(x509.UniformResourceIdentifier) in ([], [str(SPIFFEID(trust_domain))])


_RULES: Final[tuple[tuple[Rule, str], ...]] = (
    (_is_well_formed, "the certificate is malformed, or not of X.509 version 3 with extensions"),
    (_has_known_key_type, "its key must be ECDSA (P-256 or P-384) or RSA (2048 bits or more)"),
    (_is_self_signed, "it is not self-signed; bring the root itself, not a certificate below it"),
    (_has_a_name, "its subject is empty; a certificate authority needs a name"),
    (_is_a_ca, "its basic constraints must be critical and say that it is a certificate authority"),
    (_allows_a_ca_below, "its path length must be 1 or more, or absent: Tollway's signing CAs stand below it"),
    (_may_sign, "its key usage must be critical and include keyCertSign"),
    (_has_no_name_constraints, "it has name constraints, which many peers cannot apply to SPIFFE IDs"),
    (_has_no_unknown_demands, "it has a critical extension that is unknown here"),
    (_names_our_trust_domain, "its URI must be spiffe://{trust_domain} (without a path), or absent"),
)
"""What a usable root fulfils, and the sentence when it does not. The list is the specification."""
