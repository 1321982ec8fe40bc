"""What of an authority must survive: one value, encoded as one document, so that it is never half written.

In a directory it is one file that is replaced as a whole. Certificates and PKCS#8 keys are PEM inside of JSON.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tollway.identity.root_change import NO_CHANGE, Change, Phase, Root
from tollway.identity.rotation import Slots
from tollway.identity.spiffe_id import TrustDomain
from tollway_operator.authority.certificates import CA, certificate_pem, key_pem, validity_of


@dataclass(frozen=True, slots=True)
class Line:
    """A root, its two slots, and the certificates of CAs whose leaves may still live (their keys are gone)."""

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

    @property
    def issuers(self) -> tuple[x509.Certificate, ...]:
        """Every signing CA whose leaves may be presented, or will be."""
        prepared = (self.prepared.certificate,) if self.prepared else ()
        return (self.active.certificate, *prepared, *self.retired)


@dataclass(frozen=True, slots=True)
class State:
    """The current root with its signing CAs, and while it is being changed the next one with its own.

    `sequence` is that of the trust bundle: it grows whenever the bundle changes.
    """

    trust_domain: TrustDomain
    sequence: int
    root: CA
    active: CA
    prepared: CA | None = None
    retired: tuple[x509.Certificate, ...] = ()
    change: Change = NO_CHANGE
    next: Line | None = None

    def __post_init__(self) -> None:
        if self.change.has_next != (self.next is not None):
            raise ValueError(f"there must be a next root in a change that says so, and only then: {self.change.phase}")

    @property
    def lines(self) -> tuple[Line, ...]:
        """Those whose roots are in the trust bundle, the current one first."""
        return tuple(map(self.line, self.change.rule.bundle))

    def line(self, root: Root) -> Line:
        """One of the two. The next one only while there is one."""
        if root is Root.CURRENT:
            return Line(self.root, self.active, self.prepared, self.retired)
        if self.next is None:
            raise ValueError("there is no next root")
        return self.next

    def with_line(self, root: Root, line: Line) -> Self:
        if root is Root.NEXT:
            return replace(self, next=line)
        return replace(self, root=line.root, active=line.active, prepared=line.prepared, retired=line.retired)


class UnreadableState(ValueError):  # noqa: N818 - named for what happened
    """The document is not the state of an authority. The message never shows what it contains."""


class _Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate: str
    key: str


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    root: _Pair
    active: _Pair
    prepared: _Pair | None
    retired: list[str]


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    phase: Phase
    since: int
    next: _Line | None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    version: Literal[1]
    trust_domain: str
    sequence: int
    root: _Pair
    active: _Pair
    prepared: _Pair | None
    retired: list[str]
    change: _Change | None = None
    """Absent where no change of the root is under way: so it was written before there were any."""


def encode(state: State) -> bytes:
    current = _document_line(state.line(Root.CURRENT))
    document = _Document(
        version=1,
        trust_domain=state.trust_domain.name,
        sequence=state.sequence,
        root=current.root,
        active=current.active,
        prepared=current.prepared,
        retired=current.retired,
        change=_document_change(state),
    )
    return msgspec.json.encode(document)


def decode(data: bytes) -> State:
    """Read what `encode` wrote, also before there were changes of the root; raises `UnreadableState`."""
    try:
        document = msgspec.json.decode(data, type=_Document)
        change = document.change
        return State(
            trust_domain=TrustDomain(document.trust_domain),
            sequence=document.sequence,
            root=_ca(document.root),
            active=_ca(document.active),
            prepared=_ca(document.prepared) if document.prepared else None,
            retired=_certificates(document.retired),
            change=Change(change.phase, change.since) if change else NO_CHANGE,
            next=_line(change.next) if change and change.next else None,
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # What went wrong may quote a key.
        raise UnreadableState("it is not the state of a Tollway authority, or it is damaged") from None


def _document_change(state: State) -> _Change | None:
    if state.change == NO_CHANGE:
        return None
    following = _document_line(state.next) if state.next else None
    return _Change(state.change.phase, state.change.since, following)


def _document_line(line: Line) -> _Line:
    return _Line(
        root=_pair(line.root),
        active=_pair(line.active),
        prepared=_pair(line.prepared) if line.prepared else None,
        retired=[certificate_pem(certificate).decode() for certificate in line.retired],
    )


def _line(line: _Line) -> Line:
    prepared = _ca(line.prepared) if line.prepared else None
    return Line(_ca(line.root), _ca(line.active), prepared, _certificates(line.retired))


def _certificates(pems: list[str]) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_pem_x509_certificate(pem.encode()) for pem in pems)


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
