"""SPIFFE IDs: one spelling each, and none that the standard does not allow."""

import re
from collections.abc import Iterator
from typing import Final

from tollway.identity.spiffe_id import RULES, InvalidSPIFFEID, agent_id, agent_path, parse_spiffe_id, workload_id

_ALLOWED: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|\Z))[a-zA-Z0-9._-]+)*\Z")
"""SPIFFE-ID.md §2 in one expression, but for the length of the whole."""


def seeds() -> Iterator[bytes]:
    yield from (
        b"spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher",
        b"spiffe://cluster.local/ns/team-a/sa/researcher",
        b"spiffe://cluster.local",
        b"spiffe://cluster.local/ns/../sa/x",
        b"SPIFFE://user@Cluster.local:80/a//b/?q#f",
        b"spiffe://[::1]/%61",
        b"spiffe://1.2.3.4/a/.../b.",
    )


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    allowed = _ALLOWED.match(text) is not None and len(text) <= 2048
    try:
        found = parse_spiffe_id(text)
    except InvalidSPIFFEID as invalid:
        assert not allowed, "an ID in order is refused"
        _check_sentence(invalid)
        return
    assert allowed, "an ID that is none is taken"
    assert str(found) == text
    assert parse_spiffe_id(str(found)) == found
    path = agent_path(found)
    if path is not None and path.agent is not None:
        assert agent_id(found.trust_domain, path.namespace, path.service_account, path.agent) == found
    elif path is not None:
        assert workload_id(found.trust_domain, path.namespace, path.service_account) == found


def _check_sentence(invalid: InvalidSPIFFEID) -> None:
    assert invalid.rule in RULES
    assert str(invalid).isascii()
    assert str(invalid).isprintable()
