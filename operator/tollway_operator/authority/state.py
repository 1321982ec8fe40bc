"""What of an authority must survive: one value, encoded as one document, so that it is never half written.

In a directory it is one file that is replaced as a whole. Certificates and PKCS#8 keys are PEM inside of JSON.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tollway.identity.rotation import Slots
from tollway.identity.spiffe_id import TrustDomain
from tollway_operator.authority.certificates import CA, certificate_pem, key_pem, validity_of


@dataclass(frozen=True, slots=True)
class State:
    """The root, the two slots, and the certificates of CAs whose leaves may still live (their keys are gone).

    `sequence` is that of the trust bundle: it grows whenever the bundle changes.
    """

    trust_domain: TrustDomain
    sequence: int
    root: CA
    active: CA
    prepared: CA | None = None
    retired: tuple[x509.Certificate, ...] = ()

    @property
    def slots(self) -> Slots:
        return Slots(
            self.active.validity,
            self.prepared.validity if self.prepared else None,
            tuple(validity_of(certificate) for certificate in self.retired),
        )


class UnreadableState(ValueError):  # noqa: N818 - named for what happened
    """The document is not the state of an authority. The message never shows what it contains."""


class _Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate: str
    key: str


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    trust_domain: str
    sequence: int
    root: _Pair
    active: _Pair
    prepared: _Pair | None
    retired: list[str]


def encode(state: State) -> bytes:
    document = _Document(
        version=1,
        trust_domain=state.trust_domain.name,
        sequence=state.sequence,
        root=_pair(state.root),
        active=_pair(state.active),
        prepared=_pair(state.prepared) if state.prepared else None,
        retired=[certificate_pem(certificate).decode() for certificate in state.retired],
    )
    return msgspec.json.encode(document)


def decode(data: bytes) -> State:
    """Read what `encode` wrote; raises `UnreadableState`."""
    try:
        document = msgspec.json.decode(data, type=_Document)
        return State(
            trust_domain=TrustDomain(document.trust_domain),
            sequence=document.sequence,
            root=_ca(document.root),
            active=_ca(document.active),
            prepared=_ca(document.prepared) if document.prepared else None,
            retired=tuple(x509.load_pem_x509_certificate(pem.encode()) for pem in document.retired),
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # What went wrong may quote a key.
        raise UnreadableState("it is not the state of a Tollway authority, or it is damaged") from None


def _pair(ca: CA) -> _Pair:
    return _Pair(certificate_pem(ca.certificate).decode(), key_pem(ca.key).decode())


def _ca(pair: _Pair) -> CA:
    certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
    key = load_pem_private_key(pair.key.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise UnreadableState("a key is of an unknown type")
    if key.public_key() != certificate.public_key():
        raise UnreadableState("a key does not belong to its certificate")
    return CA(certificate, key)
