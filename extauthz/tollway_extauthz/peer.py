"""Who calls: our own validation of the certificate that the gateway's Envoy was shown.

Envoy checks that the chain leads to a root of the trust domain its first URI names, and little more: it accepts two
URIs, `..` in a path, anything in other names. It also keeps connections open whose certificate has expired. So every
call is judged here, against SPIFFE's rules for a leaf (X509-SVID.md §5.2), our signing CAs, and the clock.

Envoy hands over the leaf only, so the trust anchors are the signing CAs themselves: the path is one certificate long.
What does not depend on the clock is remembered by what Envoy sent. Only certificates that one of our CAs signed are
remembered, so nobody can flush the memory with made-up ones.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from tollway.deciding.rulebook import Caller
from tollway.identity.spiffe_id import SPIFFEID, AgentPath, InvalidSPIFFEID, TrustDomain, agent_path, parse_spiffe_id

MAX_CERTIFICATE_LENGTH: Final = 32_768
"""Characters of one URL-encoded PEM certificate; ours have about 1,200."""
DEFAULT_REMEMBERED: Final = 4096


class PeerReason(StrEnum):
    """Why a peer is nobody to us. The codes are a public, stable interface."""

    MISSING = "identity.missing"
    INVALID = "identity.invalid"
    FOREIGN = "identity.foreign"
    UNTRUSTED = "identity.untrusted"
    NOT_YET_VALID = "identity.not_yet_valid"
    EXPIRED = "identity.expired"


@dataclass(frozen=True, slots=True)
class Peer:
    """A caller whose certificate is valid now. Times in ms since the epoch; `pod_uid` where the leaf names its pod."""

    spiffe_id: SPIFFEID
    path: AgentPath
    not_before: int
    not_after: int
    pod_uid: str | None
    serial: int


@dataclass(frozen=True, slots=True)
class PeerProblem:
    """Why there is no peer: a stable code, and a sentence for the caller."""

    reason: PeerReason
    message: str


class UnusableIssuers(ValueError):  # noqa: N818 - named for what happened
    """The signing CAs handed to us are none of this trust domain's: nobody could be recognised by them."""


@dataclass(frozen=True, slots=True)
class _Issuer:
    certificate: x509.Certificate
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class _Known:
    """What is true of a certificate at any time."""

    peer: Peer
    caller: Caller
    issuer: _Issuer


class PeerValidator:
    """Validates peers of one trust domain. Not for several threads; `with_issuers` makes the successor."""

    def __init__(self, trust_domain: TrustDomain, issuers_pem: bytes, remembered: int = DEFAULT_REMEMBERED) -> None:
        """`issuers_pem`: every signing CA whose leaves may come, PEM. Raises `UnusableIssuers`."""
        self._trust_domain = trust_domain
        self._issuers_pem = issuers_pem
        self._issuers = _read_issuers(issuers_pem, trust_domain)
        self._remembered = remembered
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def with_issuers(self, issuers_pem: bytes) -> "PeerValidator":
        """The validator for these signing CAs: this one, if they are the same, else one that remembers nothing."""
        if issuers_pem == self._issuers_pem:
            return self
        return PeerValidator(self._trust_domain, issuers_pem, self._remembered)

    def validate(self, certificate_pem: str, now: int) -> Peer | PeerProblem:
        """Judge `CheckRequest.source.certificate` (the leaf, URL-encoded PEM) at `now`, ms. Never raises."""
        known = self._judge(certificate_pem)
        return known if isinstance(known, PeerProblem) else _problem_of_time(known, now) or known.peer

    def caller(self, certificate_pem: str, now: int) -> Caller | PeerProblem:
        """The same in the words of the decision. One certificate gives one and the same `Caller` each time."""
        known = self._judge(certificate_pem)
        return known if isinstance(known, PeerProblem) else _problem_of_time(known, now) or known.caller

    def _judge(self, certificate_pem: str) -> _Known | PeerProblem:
        known = self._known.get(certificate_pem)
        if known is not None:
            self._known.move_to_end(certificate_pem)
            return known
        if not certificate_pem:
            return PeerProblem(PeerReason.MISSING, "The call came without a client certificate.")
        if len(certificate_pem) > MAX_CERTIFICATE_LENGTH:
            return _invalid("it is too long")
        examined = _examine(certificate_pem, self._trust_domain, self._issuers)
        if isinstance(examined, _Known):
            self._known[certificate_pem] = examined
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
        return examined


def _problem_of_time(known: _Known, now: int) -> PeerProblem | None:
    peer, issuer = known.peer, known.issuer
    if now > peer.not_after or now > issuer.not_after:
        message = f"The certificate of {peer.spiffe_id} has expired; its sidecar did not get a new one in time."
        return PeerProblem(PeerReason.EXPIRED, message)
    if now < peer.not_before or now < issuer.not_before:
        message = f"The certificate of {peer.spiffe_id} is not valid yet; check the clocks of both machines."
        return PeerProblem(PeerReason.NOT_YET_VALID, message)
    return None


def _invalid(problem: str) -> PeerProblem:
    return PeerProblem(PeerReason.INVALID, f"The client certificate is not a valid X509-SVID: {problem}.")


def _examine(certificate_pem: str, trust_domain: TrustDomain, issuers: Sequence[_Issuer]) -> _Known | PeerProblem:
    leaf = _read_leaf(certificate_pem)
    if leaf is None:
        return _invalid("it cannot be read")
    if broken := next((sentence for is_kept, sentence in _LEAF_RULES if not is_kept(leaf)), None):
        return _invalid(broken)
    identity = _read_identity(leaf, trust_domain)
    if isinstance(identity, PeerProblem):
        return identity
    issuer = next((each for each in issuers if _has_signed(each, leaf.certificate)), None)
    if issuer is None:
        message = f"The certificate of {identity.spiffe_id} was not issued by this installation."
        return PeerProblem(PeerReason.UNTRUSTED, message)
    return _Known(identity, _caller_of(identity), issuer)


def _caller_of(peer: Peer) -> Caller:
    return Caller(
        spiffe_id=str(peer.spiffe_id),
        namespace=peer.path.namespace,
        service_account=peer.path.service_account,
        agent=peer.path.agent,
        pod=peer.pod_uid or "",
    )


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A certificate taken apart. An extension that is absent is None."""

    certificate: x509.Certificate
    names: x509.Extension[x509.SubjectAlternativeName] | None
    constraints: x509.BasicConstraints | None
    usage: x509.Extension[x509.KeyUsage] | None
    purposes: x509.ExtendedKeyUsage | None

    @property
    def uris(self) -> Sequence[str]:
        return self.names.value.get_values_for_type(x509.UniformResourceIdentifier) if self.names else ()

    @property
    def dns_names(self) -> Sequence[str]:
        return self.names.value.get_values_for_type(x509.DNSName) if self.names else ()

    @property
    def texts(self) -> Sequence[str]:
        mails = self.names.value.get_values_for_type(x509.RFC822Name) if self.names else ()
        return (*self.uris, *self.dns_names, *mails)


_BEGIN: Final = b"-----BEGIN"


def _read_leaf(certificate_pem: str) -> _Leaf | None:
    # Whatever a parser of hostile bytes throws, the answer is that this is no certificate.
    try:
        pem = unquote_to_bytes(certificate_pem)
        return _take_apart(x509.load_pem_x509_certificate(pem)) if pem.count(_BEGIN) == 1 else None
    except Exception:  # noqa: BLE001
        return None


def _take_apart(certificate: x509.Certificate) -> _Leaf:
    constraints = _extension(certificate, x509.BasicConstraints)
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    return _Leaf(
        certificate,
        names=_extension(certificate, x509.SubjectAlternativeName),
        constraints=constraints.value if constraints else None,
        usage=_extension(certificate, x509.KeyUsage),
        purposes=purposes.value if purposes else None,
    )


_E = TypeVar("_E", bound=x509.ExtensionType)


def _extension(certificate: x509.Certificate, kind: type[_E]) -> x509.Extension[_E] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


_UNDERSTOOD: Final = frozenset(
    kind.oid for kind in (x509.SubjectAlternativeName, x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
)
_PURPOSES: Final = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})


def _is_version_3(leaf: _Leaf) -> bool:
    return leaf.certificate.version is x509.Version.v3


def _has_no_unknown_demands(leaf: _Leaf) -> bool:
    return all(each.oid in _UNDERSTOOD for each in leaf.certificate.extensions if each.critical)


def _has_one_uri(leaf: _Leaf) -> bool:
    return len(leaf.uris) == 1


def _has_plain_names(leaf: _Leaf) -> bool:
    return all(text.isascii() and text.isprintable() for text in leaf.texts)


def _says_who_it_is(leaf: _Leaf) -> bool:
    # RFC 5280 §4.1.2.6: without a subject, whoever does not understand the other names must not go on.
    return len(leaf.certificate.subject.rdns) > 0 or (leaf.names is not None and leaf.names.critical)


def _is_no_ca(leaf: _Leaf) -> bool:
    return leaf.constraints is None or not leaf.constraints.ca


def _has_critical_usage(leaf: _Leaf) -> bool:
    return leaf.usage is not None and leaf.usage.critical


def _may_sign_handshakes(leaf: _Leaf) -> bool:
    return leaf.usage is not None and leaf.usage.value.digital_signature


def _may_not_sign_certificates(leaf: _Leaf) -> bool:
    return leaf.usage is not None and not (leaf.usage.value.key_cert_sign or leaf.usage.value.crl_sign)


def _may_be_client_and_server(leaf: _Leaf) -> bool:
    return leaf.purposes is None or _PURPOSES.issubset(leaf.purposes)


_LEAF_RULES: Final[tuple[tuple[Callable[[_Leaf], bool], str], ...]] = (
    (_is_version_3, "it is not of X.509 version 3"),
    (_has_no_unknown_demands, "it has a critical extension that is unknown here"),
    (_is_no_ca, "it is the certificate of an authority, which must not be used to authenticate"),
    (_has_critical_usage, "its key usage must be there and be critical"),
    (_may_not_sign_certificates, "its key usage includes keyCertSign or cRLSign"),
    (_may_sign_handshakes, "its key usage does not include digitalSignature"),
    (_may_be_client_and_server, "its extended key usage must include both clientAuth and serverAuth, or be absent"),
    (_has_one_uri, "it must have exactly one URI among its subject alternative names"),
    (_has_plain_names, "one of its subject alternative names has characters that no name has"),
    (_says_who_it_is, "its subject is empty, so its subject alternative names must be critical"),
)
"""What every leaf fulfils, and the sentence when it does not. The list is the specification."""


def _read_identity(leaf: _Leaf, trust_domain: TrustDomain) -> Peer | PeerProblem:
    try:
        spiffe_id = parse_spiffe_id(leaf.uris[0])
    except InvalidSPIFFEID as error:
        return _invalid(str(error))
    if spiffe_id.trust_domain != trust_domain:
        message = f"The certificate is of trust domain {spiffe_id.trust_domain}; this gateway serves {trust_domain}."
        return PeerProblem(PeerReason.FOREIGN, message)
    path = agent_path(spiffe_id)
    if path is None:
        return _invalid(f"{spiffe_id} names no agent and no workload")
    pods = _pods(leaf, trust_domain)
    if len(pods) > 1:
        return _invalid("it names several pods")
    not_before, not_after = _validity(leaf.certificate)
    pod_uid = pods[0] if pods else None
    return Peer(spiffe_id, path, not_before, not_after, pod_uid, leaf.certificate.serial_number)


def _pods(leaf: _Leaf, trust_domain: TrustDomain) -> Sequence[str]:
    # `<uid>.pod.<trust domain>`; any other DNS name is allowed, and means nothing to us.
    pattern = re.compile(rf"([a-z0-9-]+)\.pod\.{re.escape(trust_domain.name)}")
    return [match[1] for name in leaf.dns_names if (match := pattern.fullmatch(name))]


def _has_signed(issuer: _Issuer, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer.certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _read_issuers(issuers_pem: bytes, trust_domain: TrustDomain) -> Sequence[_Issuer]:
    try:
        certificates = x509.load_pem_x509_certificates(issuers_pem)
        unusable = next((each for each in certificates if not _is_signing_ca(each, trust_domain)), None)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise UnusableIssuers("the signing CA certificates cannot be read: they must be PEM, at least one") from error
    if unusable is not None:
        name = unusable.subject.rfc4514_string()
        raise UnusableIssuers(f"the certificate {name!r} is no signing CA of trust domain {trust_domain}")
    return [_Issuer(each, *_validity(each)) for each in certificates]


def _is_signing_ca(certificate: x509.Certificate, trust_domain: TrustDomain) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    names = _extension(certificate, x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    return (
        constraints is not None
        and constraints.value.ca
        and usage is not None
        and usage.value.key_cert_sign
        and uris in ([], [str(SPIFFEID(trust_domain))])
    )


def _validity(certificate: x509.Certificate) -> tuple[int, int]:
    return _milliseconds(certificate.not_valid_before_utc), _milliseconds(certificate.not_valid_after_utc)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
