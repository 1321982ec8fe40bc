"""The authority of one trust domain: it issues SVIDs with the signing CA that is active, and rotates its signing CAs.

Whoever owns it calls `rotate` every minute or so (and once before issuing after a pause), and publishes `issuers_pem`
when that says True: a signing CA is published long before its first leaf. What is due is decided by
`tollway.identity.rotation`; here it is done, and written down before it is used.

One process at a time owns the directory.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tollway.identity.root_change import Root, signer_of
from tollway.identity.rotation import USUAL, Pace, Step, ca_validity, leaf_validity, next_step
from tollway.identity.spiffe_id import SPIFFEID, TrustDomain, agent_path
from tollway.resources.models import KeyType
from tollway_files.atomic import REAL_FILES, FileOperations, write_file
from tollway_operator.authority.bundle import TrustBundle
from tollway_operator.authority.certificates import (
    CA,
    certificate_pem,
    key_pem,
    leaf,
    signing_ca,
    validity_of,
)
from tollway_operator.authority.root import BroughtRoot, UnusableRoot, generate_root, read_root
from tollway_operator.authority.state import Line, State, UnreadableState, decode, encode

STATE_FILE: Final = "authority.json"

_CURVES: Final[Mapping[KeyType, type[ec.EllipticCurve]]] = {
    KeyType.ECDSA_P256: ec.SECP256R1,
    KeyType.ECDSA_P384: ec.SECP384R1,
}
_CURVE_NAMES: Final = frozenset(curve().name for curve in _CURVES.values())
_POD_UID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class CannotSign(Exception):  # noqa: N818 - named for what happened
    """Nothing can be issued now: the CA that should sign is not valid. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate for a key that the workload keeps: leaf first, then its signing CA. Times in ms."""

    spiffe_id: SPIFFEID
    chain_pem: bytes
    not_before: int
    not_after: int
    serial: int


@dataclass(frozen=True, slots=True)
class SVID:
    """A certificate with the key that was made for it (PKCS#8 PEM). Times in ms."""

    spiffe_id: SPIFFEID
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    not_before: int
    not_after: int
    serial: int


class Authority:
    """Issues for one trust domain. Made by `load_or_create`."""

    def __init__(self, state: State, save: Callable[[State], None], pace: Pace = USUAL) -> None:
        self._state = state
        self._save = save
        self.pace = pace

    @classmethod
    def load_or_create(
        cls,
        directory: Path,
        trust_domain: TrustDomain,
        now: int,
        brought: BroughtRoot | None = None,
        operations: FileOperations = REAL_FILES,
        pace: Pace = USUAL,
    ) -> Self:
        """The authority whose state is in `directory`, or a new one with a root of its own, or the `brought` one.

        Raises `UnusableRoot` (the brought root, or another than the one in the directory), `UnreadableState`
        (the file, or another trust domain), `CannotSign` (the root has expired) and `OSError`.
        """
        path = directory / STATE_FILE

        def save(state: State) -> None:
            write_file(path, encode(state), operations)

        if path.exists():
            authority = cls(_load(path, trust_domain), save, pace)
            _check_same_root(authority._state, brought, trust_domain, now, path)
        else:
            authority = cls(new_state(trust_domain, now, brought, pace), save, pace)
            save(authority._state)
        authority.rotate(now)
        return authority

    @property
    def trust_domain(self) -> TrustDomain:
        return self._state.trust_domain

    @property
    def state(self) -> State:
        return self._state

    def rotate(self, now: int) -> bool:
        """Do with the signing CAs what is due; says whether `issuers_pem` changed.

        Raises `CannotSign` when no signing CA can be made because the root is not valid, and `OSError`; then
        nothing has changed.
        """
        return self.become(rotated(self._state, now, self.pace))

    def become(self, state: State) -> bool:
        """Go on from this state, made of `state`: written down before it is used. Says whether it is another one.

        Raises `OSError`; then nothing has changed.
        """
        if state is self._state:
            return False
        self._save(state)
        self._state = state
        return True

    def issue(
        self,
        spiffe_id: SPIFFEID,
        key_type: KeyType,
        ttl_ms: int,
        now: int,
        pod_uid: str | None = None,
        under: Root | None = None,
    ) -> SVID:
        """Make a key and sign it; errors as `sign`."""
        key = ec.generate_private_key(_CURVES[key_type]())
        signed = self.sign(key.public_key(), spiffe_id, ttl_ms, now, pod_uid, under)
        return SVID(spiffe_id, signed.chain_pem, key_pem(key), signed.not_before, signed.not_after, signed.serial)

    def sign(
        self,
        public_key: ec.EllipticCurvePublicKey,
        spiffe_id: SPIFFEID,
        ttl_ms: int,
        now: int,
        pod_uid: str | None = None,
        under: Root | None = None,
    ) -> Signed:
        """Issue a leaf for this key, and for this pod if one is named. `under`: the root; usually the phase says which.

        It ends earlier than `ttl_ms` where its issuer does. Raises `ValueError` for what must never be issued (an ID
        of another trust domain or not of our form, a life of more than 4 h, a curve that is not P-256 or P-384) and
        `CannotSign` when `rotate` was not called in time.
        """
        _check_issuable(spiffe_id, self.trust_domain)
        _check_curve(public_key)
        issuer = self._state.line(under or signer_of(self._state.change, spiffe_id)).active
        if not issuer.validity.can_sign(now, self.pace):
            raise CannotSign("the active signing CA is not valid now; rotate the authority first")
        validity = leaf_validity(now, ttl_ms, issuer.validity, self.pace)
        certificate = leaf(spiffe_id, public_key, issuer, validity, _pod_names(pod_uid, self.trust_domain))
        chain = certificate_pem(certificate) + certificate_pem(issuer.certificate)
        return Signed(spiffe_id, chain, validity.not_before, validity.not_after, certificate.serial_number)

    def bundle(self) -> TrustBundle:
        return bundle_of(self._state)

    def trust_bundle(self) -> bytes:
        """What verifies our SVIDs: the SPIFFE bundle, JSON."""
        return self.bundle().document()

    def bundle_map(self) -> bytes:
        """The same as a map with one trust domain, JSON: what Envoy's SPIFFE validator reads."""
        return self.bundle().map()

    def issuers_pem(self) -> bytes:
        """Every signing CA whose leaves may be presented: the active, the prepared, and the retired ones not yet
        expired. While the root is being changed, those of both roots."""
        return issuers_of(self._state)


def bundle_of(state: State) -> TrustBundle:
    return TrustBundle(state.trust_domain, state.sequence, tuple(line.root.certificate for line in state.lines))


def issuers_of(state: State) -> bytes:
    """PEM."""
    return b"".join(certificate_pem(issuer) for line in state.lines for issuer in line.issuers)


def _load(path: Path, trust_domain: TrustDomain) -> State:
    try:
        state = decode(path.read_bytes())
    except UnreadableState as error:
        raise UnreadableState(
            f"{path}: {error}. Restore it from a backup, or remove it to start with a new root, "
            "which invalidates every certificate issued so far"
        ) from None
    if state.trust_domain != trust_domain:
        raise UnreadableState(
            f"{path}: this is the authority of trust domain {state.trust_domain}, not of {trust_domain}; "
            "use another directory for another trust domain"
        )
    return state


def _check_same_root(
    state: State, brought: BroughtRoot | None, trust_domain: TrustDomain, now: int, path: Path
) -> None:
    known = [line.root.certificate for line in state.lines]
    if brought and read_root(brought, trust_domain, now).certificate not in known:
        raise UnusableRoot(
            f"the authority in {path} has another root already, and what that signed would become invalid; "
            "use a new directory for a new root"
        )


def rotated(state: State, now: int, pace: Pace = USUAL) -> State:
    """`state` with everything done to its signing CAs that is due; itself where nothing is. Raises `CannotSign`."""
    for root in state.change.rule.bundle:
        before = state.line(root)
        after = _rotated(before, state, root, now, pace)
        if after is not before:
            state = state.with_line(root, after)
    return state


def _rotated(line: Line, state: State, root: Root, now: int, pace: Pace) -> Line:
    rule = state.change.rule
    if root not in (rule.agents, rule.gateway) and not _ca_can_be_made(line.root, now, pace):
        # It may end while the other signs: that stops nobody.
        return line
    while (step := next_step(line.slots, line.root.validity, now, pace)) is not Step.KEEP:
        line = _ROTATION[step](line, state.trust_domain, now, pace)
    return line


def _ca_can_be_made(root: CA, now: int, pace: Pace) -> bool:
    return ca_validity(now, root.validity, pace).can_sign(now, pace)


def new_state(trust_domain: TrustDomain, now: int, brought: BroughtRoot | None, pace: Pace = USUAL) -> State:
    """A new authority, with a root of its own or the `brought` one. Raises `UnusableRoot` and `CannotSign`."""
    root = read_root(brought, trust_domain, now) if brought else generate_root(trust_domain, now)
    # The time in seconds, so that the sequence also grows when an authority is made anew.
    line = new_line(trust_domain, root, now, pace)
    return State(trust_domain, now // 1000, line.root, line.active)


def new_line(trust_domain: TrustDomain, root: CA, now: int, pace: Pace = USUAL) -> Line:
    """A root with its first signing CA. Raises `CannotSign`."""
    return Line(root, _new_ca(trust_domain, root, now, pace))


def _new_ca(trust_domain: TrustDomain, root: CA, now: int, pace: Pace) -> CA:
    validity = ca_validity(now, root.validity, pace)
    if not validity.can_sign(now, pace):
        raise CannotSign(
            f"the root certificate is valid from {root.certificate.not_valid_before_utc} "
            f"to {root.certificate.not_valid_after_utc} only: check the clock, or bring a new root"
        )
    return signing_ca(trust_domain, root, validity)


def _forget(line: Line, _: TrustDomain, now: int, _pace: Pace) -> Line:
    return replace(line, retired=tuple(each for each in line.retired if now <= validity_of(each).not_after))


def _activate(line: Line, trust_domain: TrustDomain, now: int, pace: Pace) -> Line:
    # `next_step` says this only when there is a prepared CA.
    active = line.prepared or _new_ca(trust_domain, line.root, now, pace)
    return replace(line, active=active, prepared=None, retired=(*line.retired, line.active.certificate))


def _replace(line: Line, trust_domain: TrustDomain, now: int, pace: Pace) -> Line:
    active = _new_ca(trust_domain, line.root, now, pace)
    gone = [ca.certificate for ca in (line.active, line.prepared) if ca]
    return replace(line, active=active, prepared=None, retired=(*line.retired, *gone))


def _prepare(line: Line, trust_domain: TrustDomain, now: int, pace: Pace) -> Line:
    return replace(line, prepared=_new_ca(trust_domain, line.root, now, pace))


_ROTATION: Final[Mapping[Step, Callable[[Line, TrustDomain, int, Pace], Line]]] = {
    Step.FORGET: _forget,
    Step.ACTIVATE: _activate,
    Step.REPLACE: _replace,
    Step.PREPARE: _prepare,
}


def _check_issuable(spiffe_id: SPIFFEID, trust_domain: TrustDomain) -> None:
    if spiffe_id.trust_domain != trust_domain:
        raise ValueError(f"{spiffe_id} is not of trust domain {trust_domain}")
    if agent_path(spiffe_id) is None:
        raise ValueError(f"{spiffe_id} is not an ID of an agent, a workload or a part of Tollway")


def _check_curve(public_key: ec.EllipticCurvePublicKey) -> None:
    if public_key.curve.name not in _CURVE_NAMES:
        raise ValueError(f"the key must be on P-256 or P-384, not {public_key.curve.name}")


def _pod_names(pod_uid: str | None, trust_domain: TrustDomain) -> list[x509.GeneralName]:
    if pod_uid is None:
        return []
    if not _POD_UID.fullmatch(pod_uid):
        raise ValueError(f"{pod_uid!r} is not the UID of a pod")
    return [x509.DNSName(f"{pod_uid}.pod.{trust_domain}")]
