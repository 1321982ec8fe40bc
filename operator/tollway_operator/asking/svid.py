"""The operator's own SVID: issued to itself, kept in memory, renewed like others; and what it trusts."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tollway.identity.rotation import renew_at
from tollway.identity.spiffe_id import SPIFFEID, workload_id
from tollway.resources.models import KeyType, SVIDSpec
from tollway_operator.authority.authority import SVID, Authority
from tollway_operator.authority.certificates import certificate_pem
from tollway_operator.names import MANAGER

_TTL_MS: Final = SVIDSpec().ttl_ms
_MIDDLE: Final = 0.5
"""Of the span in which leaves are renewed: there is only one of it, and nobody to spread it from."""


class OwnSVID:
    """Of one operator process."""

    def __init__(self, root_namespace: str) -> None:
        self._root_namespace = root_namespace
        self._issued: SVID | None = None
        self._by: bytes = b""
        self._context: ssl.SSLContext | None = None

    def context(self, authority: Authority, now: int) -> ssl.SSLContext:
        """For the next connection to a gateway. Whose certificate comes is to be looked at by the caller.

        Raises `CannotSign`.
        """
        known = authority.issuers_pem() + authority.trust_bundle()
        if self._context is None or self._issued is None or self._by != known or now >= _renewal(self._issued):
            self._issued = authority.issue(self._id(authority), KeyType.ECDSA_P256, _TTL_MS, now)
            self._context, self._by = _client_context(self._issued, authority), known
        return self._context

    def _id(self, authority: Authority) -> SPIFFEID:
        return workload_id(authority.trust_domain, self._root_namespace, MANAGER)


def _renewal(svid: SVID) -> int:
    return renew_at(svid.not_before, svid.not_after, _MIDDLE)


def _client_context(svid: SVID, authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # A gateway is known by its SPIFFE ID, and has no host name.
    context.check_hostname = False
    roots = b"".join(map(certificate_pem, authority.bundle().roots))
    context.load_verify_locations(cadata=roots.decode())
    with _file_in_memory(svid.chain_pem + svid.key_pem) as path:
        context.load_cert_chain(path)
    return context


@contextmanager
def _file_in_memory(content: bytes) -> Iterator[str]:
    """`ssl` takes keys from files only; this one is on no disk, and gone afterwards."""
    descriptor = os.memfd_create("svid", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
