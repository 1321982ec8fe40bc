"""A PodCertificateRequest as facts, and the key in its CSR.

Source: certificates.k8s.io/v1 PodCertificateRequest, RFC 2986. The kubelet makes the key on the node and sends an
empty CSR that proves it has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

SIGNER: Final = "tollway.dev/agent"
LONGEST_CSR: Final = 10 * 1024
_CURVES: Final = frozenset({"secp256r1", "secp384r1"})


@dataclass(frozen=True, slots=True)
class PodCertificateRequest:
    """`spec` of a request with its namespace and name; `csr` is DER, `max_expiration_s` covers the whole validity."""

    namespace: str
    name: str
    signer: str
    pod_name: str
    pod_uid: str
    service_account: str
    service_account_uid: str
    node: str
    csr: bytes = field(repr=False)
    max_expiration_s: int
    annotations: Mapping[str, str] = field(default_factory=dict)


class BadCSR(Exception):  # noqa: N818 - named for what it is
    """A CSR that nothing is signed for; the message says why."""


class UnsupportedKey(Exception):  # noqa: N818 - named for what it is
    """A key of a type that we do not sign."""


def key_of(der: bytes) -> ec.EllipticCurvePublicKey:
    """The key that an empty CSR asks a certificate for. Raises `BadCSR` or `UnsupportedKey`.

    Names in it are refused rather than ignored: whoever wrote them expects to get them.
    """
    csr = _parsed(der)
    key = _public_key(csr)
    if not _is_signed_by_its_key(csr):
        raise BadCSR("its signature is not by the key it names, so nobody proved to have that key")
    if len(csr.subject) > 0:
        raise BadCSR("it has a subject: identities come from the API server, never from the request")
    if len(csr.attributes) > 0:
        raise BadCSR(
            "it asks for names or other extensions: identities come from the API server, never from the request"
        )
    return key


def _parsed(der: bytes) -> x509.CertificateSigningRequest:
    if len(der) > LONGEST_CSR:
        raise BadCSR(f"it has {len(der)} bytes, the limit is {LONGEST_CSR}")
    try:
        return x509.load_der_x509_csr(der)
    except ValueError:
        raise BadCSR("it is not a PKCS#10 request in DER") from None


def _public_key(csr: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    try:
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise UnsupportedKey from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise UnsupportedKey
    return key


def _is_signed_by_its_key(csr: x509.CertificateSigningRequest) -> bool:
    try:
        return csr.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
