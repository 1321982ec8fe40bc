"""Tries a provider's endpoint as Envoy would: its name, a connection, TLS with verification. Nothing is ever sent."""

import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Final

from tollway.resources.models import AIProvider
from tollway_cli.doctor.snapshot import EndpointFacts

TIMEOUT: Final = 5.0
"""For each step, seconds."""
_PATIENCE: Final = 3 * TIMEOUT
"""For all providers together: looking up a name cannot be told to give up."""


def try_all(providers: Sequence[AIProvider], ca_file: str) -> tuple[EndpointFacts, ...]:
    """One result per provider; they are tried at the same time."""
    found: dict[str, EndpointFacts] = {}

    def look(provider: AIProvider) -> None:
        found[provider.meta.name] = try_one(provider, ca_file)

    threads = [threading.Thread(target=look, args=(provider,), daemon=True) for provider in providers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE)
    return tuple(found.get(each.meta.name) or _failed(each, "resolve", "no answer in time") for each in providers)


def try_one(provider: AIProvider, ca_file: str, timeout: float = TIMEOUT) -> EndpointFacts:
    place = provider.endpoint
    try:
        socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return _failed(provider, "resolve", _said(error))
    try:
        connection = socket.create_connection((place.host, place.port), timeout)
    except OSError as error:
        return _failed(provider, "connect", _said(error))
    with connection:
        return _handshake(provider, connection, ca_file) if place.tls else _fine(provider)


def _handshake(provider: AIProvider, connection: socket.socket, ca_file: str) -> EndpointFacts:
    try:
        context = ssl.create_default_context(cafile=ca_file)
        with context.wrap_socket(connection, server_hostname=provider.endpoint.host):
            return _fine(provider)
    except ssl.SSLCertVerificationError as error:
        return _failed(provider, "tls", error.verify_message)
    except OSError as error:
        return _failed(provider, "tls", _said(error))


def _said(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error)


def _fine(provider: AIProvider) -> EndpointFacts:
    return EndpointFacts(provider.meta.name, _address(provider))


def _failed(provider: AIProvider, step: str, error: str) -> EndpointFacts:
    return EndpointFacts(provider.meta.name, _address(provider), step, error)


def _address(provider: AIProvider) -> str:
    place = provider.endpoint
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"
