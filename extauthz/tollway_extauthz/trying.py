"""Tries whether a gateway's Envoy takes the trial certificate: by a handshake, and nothing else.

In TLS 1.3 a client is done before the server has looked at the client's certificate. So the first bytes of HTTP/2
follow: only a server that took the certificate answers them.
"""

import hashlib
import socket
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509

from tollway.identity.spiffe_id import parse_spiffe_id, tried_bundle
from tollway_extauthz.identity_files import BUNDLE_FILE

_CERTIFICATE: Final = "trial.crt"
_KEY: Final = "trial.key"
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_WITHIN_S: Final = 2.0


def taken_bundle(address: str, port: int, identity: Path) -> str:
    """The digest of the trust bundle that the gateway at `address:port` has proved to run, by taking the trial
    certificate in its directory `identity` from a client; empty where it has proved nothing. Blocks for seconds."""
    try:
        # Both files of one moment.
        shown = (identity / _CERTIFICATE).resolve(strict=True).parent
        bundle = _named_bundle((shown / _CERTIFICATE).read_bytes())
        # A bundle with more roots than that one would take it too.
        is_shown = bundle == hashlib.sha256((shown / BUNDLE_FILE).read_bytes()).hexdigest()
        return bundle if is_shown and _is_taken(address, port, shown) else ""
    except (OSError, ValueError):
        return ""


def _named_bundle(chain: bytes) -> str:
    names = x509.load_pem_x509_certificates(chain)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    [uri] = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    return tried_bundle(parse_spiffe_id(uri))


def _is_taken(address: str, port: int, shown: Path) -> bool:
    with (
        socket.create_connection((address, port), _WITHIN_S) as plain,
        _context(shown).wrap_socket(plain) as secured,
    ):
        secured.sendall(_PREFACE)
        return bool(secured.recv(1))


def _context(shown: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # It says nothing to the server, and asks only whether it is taken itself.
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(shown / _CERTIFICATE, shown / _KEY)
    return context
