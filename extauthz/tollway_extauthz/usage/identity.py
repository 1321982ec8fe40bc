"""Who this gateway is towards the operator, and whom it believes: from files that others renew while it runs.

In the directory of the gateway's SVID are its certificate, its key and the trust bundle, as the gateway's Envoy has
them. They are swapped together; until they can be read, nobody is let in.
"""

import logging
import ssl
from base64 import b64decode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from tollway.identity.spiffe_id import TrustDomain, workload_id
from tollway_extauthz.identity_files import BUNDLE_FILE, CERTIFICATE_FILE, KEY_FILE
from tollway_extauthz.peer import Peer, PeerProblem, PeerReason, PeerValidator

_log = logging.getLogger(__name__)
"""The map of trust domains to SPIFFE bundles."""
OPERATOR: Final = "tollway-operator"
_FOR_X509: Final = "x509-svid"


class _JWK(msgspec.Struct):
    use: str = ""
    x5c: tuple[str, ...] = ()


class _Bundle(msgspec.Struct):
    keys: tuple[_JWK, ...] = ()


class _BundleMap(msgspec.Struct):
    trust_domains: Mapping[str, _Bundle]


class Identity:
    """For one thread. `directory` has the SVID's files, `issuers` is the PEM of the signing CAs."""

    def __init__(self, directory: Path, issuers: Path, trust_domain: str, root_namespace: str) -> None:
        self._files = [directory / name for name in (CERTIFICATE_FILE, KEY_FILE, BUNDLE_FILE)] + [issuers]
        self._trust_domain = TrustDomain(trust_domain)
        self._operator = workload_id(self._trust_domain, root_namespace, OPERATOR)
        self._stamps: object = None
        self._context: ssl.SSLContext | None = None
        self._peers: PeerValidator | None = None

    def context(self) -> ssl.SSLContext | None:
        """For the next connection; None while there is nothing to serve with."""
        self._refresh()
        return self._context

    def refusal(self, leaf: bytes | None, now: int) -> PeerProblem | None:
        """Why whoever shows this certificate (DER) is not let in now; None for the operator."""
        self._refresh()
        if self._peers is None:
            return PeerProblem(PeerReason.UNTRUSTED, "The signing CAs are not known yet.")
        judged = self._peers.validate(ssl.DER_cert_to_PEM_cert(leaf) if leaf else "", now)
        if isinstance(judged, Peer) and judged.spiffe_id != self._operator:
            return PeerProblem(PeerReason.UNTRUSTED, f"{judged.spiffe_id} is not {self._operator}.")
        return judged if isinstance(judged, PeerProblem) else None

    def _refresh(self) -> None:
        """Take the files that are there, if they are others. What cannot be read keeps the last good ones, and is said
        once."""
        stamps = [_stamp(path) for path in self._files]
        if stamps == self._stamps:
            return
        self._stamps = stamps
        certificate, key, bundle, issuers = self._files
        try:
            peers = PeerValidator(self._trust_domain, issuers.read_bytes())
            roots = _roots(bundle.read_bytes(), self._trust_domain)
            self._context, self._peers = _server_context(certificate, key, roots), peers
        except (OSError, ValueError) as problem:
            # ssl.SSLError is an OSError.
            _log.warning("the operator cannot ask for usage by the files there are now: %s", problem)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _roots(bundle_map: bytes, trust_domain: TrustDomain) -> bytes:
    """The roots of our own trust domain, DER one after the other. Raises `ValueError`."""
    bundle = msgspec.json.decode(bundle_map, type=_BundleMap).trust_domains.get(trust_domain.name, _Bundle())
    roots = b"".join(_certificates(bundle.keys))
    if not roots:
        raise ValueError(f"the trust bundle has no root of {trust_domain}")
    return roots


def _certificates(keys: Iterable[_JWK]) -> Iterable[bytes]:
    # The first of `x5c` is the certificate of the key itself: SPIFFE_Trust_Domain_and_Bundle.md §4.2.2.
    return (b64decode(key.x5c[0], validate=True) for key in keys if key.use == _FOR_X509 and key.x5c)


def _server_context(certificate: Path, key: Path, roots: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would bring a certificate that nobody has looked at again.
    context.num_tickets = 0
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata=roots)
    return context
