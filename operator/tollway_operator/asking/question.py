"""Asks one replica for its report. Blocking; for a thread."""

import http.client
import ssl
from typing import Final

import msgspec
from cryptography import x509

from tollway.identity.spiffe_id import SPIFFEID
from tollway.usage_report import PATH, UsageReport

PATIENCE_S: Final = 3.0
"""For connecting, and for each piece of the answer."""
LARGEST: Final = 64 << 20
_OK: Final = 200


class NoAnswer(Exception):  # noqa: N818 - named for what happened
    """A replica gave no report; the message says why."""


def ask(address: str, port: int, context: ssl.SSLContext, gateway: SPIFFEID) -> UsageReport:
    """The report of the gateway's replica at an IP address. Raises `NoAnswer`."""
    connection = http.client.HTTPSConnection(address, port, timeout=PATIENCE_S, context=context)
    try:
        connection.connect()
        _check_who_answers(connection.sock, gateway)
        connection.request("GET", PATH, headers={"Connection": "close"})
        return _read(connection.getresponse())
    except (OSError, http.client.HTTPException) as problem:
        raise NoAnswer(_reason(problem)) from problem
    finally:
        connection.close()


def _check_who_answers(sock: ssl.SSLSocket, gateway: SPIFFEID) -> None:
    """The chain is verified by the handshake; that it is the gateway's, and nobody else's of ours, is for us to see."""
    named = _uris(sock.getpeercert(binary_form=True) or b"")
    if named != [str(gateway)]:
        raise NoAnswer(f"it is {', '.join(named) or 'nobody'}, and not {gateway}")


def _uris(certificate: bytes) -> list[str]:
    try:
        names = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except (ValueError, x509.ExtensionNotFound):
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def _read(response: http.client.HTTPResponse) -> UsageReport:
    body = response.read(LARGEST + 1)
    if response.status != _OK:
        raise NoAnswer(f"it answers {response.status}: {body[:200].decode(errors='replace').strip()}")
    if len(body) > LARGEST:
        raise NoAnswer("its report is too large")
    try:
        return msgspec.json.decode(body, type=UsageReport)
    except msgspec.MsgspecError as problem:
        raise NoAnswer(f"its report cannot be read: {problem}") from problem


def _reason(problem: Exception) -> str:
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {problem.verify_message}"
    if isinstance(problem, ssl.SSLError):
        return f"TLS failed: {(problem.reason or str(problem)).replace('_', ' ').lower()}"
    return str(problem) or type(problem).__name__
