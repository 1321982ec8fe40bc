"""The trust bundle of a trust domain as others read it.

Source: SPIFFE_Trust_Domain_and_Bundle.md §4. Envoy's SPIFFE validator reads the *map* (`trust_bundles.filename`) and
refuses a bundle without keys, so there is always at least one root in it.
"""

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tollway.identity.spiffe_id import TrustDomain

REFRESH_HINT_SECONDS: Final = 300

JWK = Mapping[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The roots of one trust domain. `sequence` grows whenever the roots change."""

    trust_domain: TrustDomain
    sequence: int
    roots: tuple[x509.Certificate, ...]

    def document(self) -> bytes:
        """The SPIFFE bundle, a JWK set, JSON."""
        return msgspec.json.encode(self._members())

    def map(self) -> bytes:
        """The map of trust domains to bundles, with this one in it, JSON."""
        return bundle_map([self])

    def _members(self) -> Mapping[str, object]:
        return {
            "keys": [_jwk(root) for root in self.roots],
            "spiffe_sequence": self.sequence,
            "spiffe_refresh_hint": REFRESH_HINT_SECONDS,
        }


def bundle_map(bundles: Iterable[TrustBundle]) -> bytes:
    """Bundles of different trust domains side by side, never merged. The same one twice raises `ValueError`."""
    members: dict[str, Mapping[str, object]] = {}
    for bundle in bundles:
        if bundle.trust_domain.name in members:
            raise ValueError(f"two bundles for trust domain {bundle.trust_domain}")
        members[bundle.trust_domain.name] = bundle._members()  # noqa: SLF001 - of this module
    return msgspec.json.encode({"trust_domains": members})


def _jwk(root: x509.Certificate) -> JWK:
    # No kid: the standard forbids it for x509-svid keys.
    certificate = b64encode(root.public_bytes(Encoding.DER)).decode()
    return {"use": "x509-svid", **_public_key_members(root), "x5c": [certificate]}


def _public_key_members(root: x509.Certificate) -> Mapping[str, str]:
    match root.public_key():
        case ec.EllipticCurvePublicKey() as key:
            return _ec_members(key)
        case rsa.RSAPublicKey() as key:
            numbers = key.public_numbers()
            return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        case other:
            raise TypeError(f"no JWK for a {type(other).__name__}")


def _ec_members(key: ec.EllipticCurvePublicKey) -> Mapping[str, str]:
    # RFC 7518 §6.2.1: coordinates have the full length of the curve's field.
    length = (key.curve.key_size + 7) // 8
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": f"P-{key.curve.key_size}",
        "x": _octets(numbers.x, length),
        "y": _octets(numbers.y, length),
    }


def _number(value: int) -> str:
    return _octets(value, (value.bit_length() + 7) // 8)


def _octets(value: int, length: int) -> str:
    return urlsafe_b64encode(value.to_bytes(length, "big")).rstrip(b"=").decode()
