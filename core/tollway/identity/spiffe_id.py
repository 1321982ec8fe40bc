"""SPIFFE IDs: the key by which Tollway knows every agent, parsed strictly and made in one place.

Source: the SPIFFE standard, SPIFFE-ID.md §2. The standard lets a reader fold an upper-case scheme or trust domain to
lower case or refuse it. We refuse: an ID is compared, counted and journalled as a string in several programs (Envoy,
the ledger, the journal), and an identity with two spellings would have two budgets. Envoy refuses them too.

`spiffe://<trust domain>/ns/<namespace>/sa/<service account>[/agent/<name>]` are the IDs that are ours.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SCHEME: Final = "spiffe://"
MAX_ID_LENGTH: Final = 2048
MAX_TRUST_DOMAIN_LENGTH: Final = 255

RULES: Final[Mapping[str, str]] = {
    "ID-01": 'the scheme must be "spiffe", in lower case',
    "ID-02": "the trust domain must not be empty",
    "ID-03": "there must be no query",
    "ID-04": "there must be no fragment",
    "ID-05": "there must be no user information",
    "ID-06": "there must be no port",
    "ID-07": "the trust domain must be in lower case",
    "ID-08": "the trust domain may contain only a-z, 0-9, '.', '-' and '_'",
    "ID-09": "the trust domain must not be percent-encoded",
    "ID-10": "the trust domain must not be an IPv6 address",
    "ID-11": "the path must not be percent-encoded",
    "ID-12": "the path must not contain an empty segment",
    "ID-13": "the path must not contain a '.' or '..' segment",
    "ID-14": "the path must not end with '/'",
    "ID-15": "a path segment may contain only a-z, A-Z, 0-9, '.', '-' and '_'",
    "ID-16": f"the ID must not be longer than {MAX_ID_LENGTH} bytes",
    "ID-17": f"the trust domain must not be longer than {MAX_TRUST_DOMAIN_LENGTH} bytes",
}
"""The rules of SPIFFE-ID.md §2 that a single ID can break."""

_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+")
_TRUST_DOMAIN_MARKS: Final = (("[", "ID-10"), ("@", "ID-05"), (":", "ID-06"), ("%", "ID-09"))
_SEGMENT: Final = re.compile(r"[a-zA-Z0-9._-]+")
_PATH: Final = re.compile(r"(?:/[a-zA-Z0-9._-]+)*")
_OURS: Final = re.compile(r"/ns/([^/]+)/sa/([^/]+)(?:/agent/([^/]+))?")
_DOTS: Final = frozenset({".", ".."})


class InvalidSPIFFEID(ValueError):  # noqa: N818 - named for what happened
    """A text that is no SPIFFE ID; `rule` is the first rule it breaks, a key of `RULES`."""

    def __init__(self, rule: str, text: str) -> None:
        shown = ascii(text if len(text) <= 120 else f"{text[:120]}…")
        super().__init__(f"{shown} is not a SPIFFE ID: {RULES[rule]} ({rule})")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """A trust domain, such as `cluster.local`. One that breaks a rule cannot be made (`InvalidSPIFFEID`).

    An IPv4 address is a name like any other (ID-10).
    """

    name: str

    def __post_init__(self) -> None:
        if rule := _rule_broken_by_trust_domain(self.name):
            raise InvalidSPIFFEID(rule, SCHEME + self.name)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class SPIFFEID:
    """A SPIFFE ID; `path` is empty (the ID of a trust domain itself) or starts with "/".

    One that breaks a rule cannot be made (`InvalidSPIFFEID`). Two are the same identity exactly if they are equal.
    """

    trust_domain: TrustDomain
    path: str = ""

    def __post_init__(self) -> None:
        if rule := _rule_broken_by_path(self.path):
            raise InvalidSPIFFEID(rule, str(self))
        if len(str(self)) > MAX_ID_LENGTH:
            raise InvalidSPIFFEID("ID-16", str(self))

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain.name}{self.path}"


@dataclass(frozen=True, slots=True)
class AgentPath:
    """What the path of one of our IDs says. `agent` is None for a workload that no AgentIdentity selects."""

    namespace: str
    service_account: str
    agent: str | None = None


def parse_spiffe_id(text: str) -> SPIFFEID:
    """Read a SPIFFE ID; raises `InvalidSPIFFEID` with the rule it breaks. Never changes what it read."""
    if len(text) > MAX_ID_LENGTH:
        raise InvalidSPIFFEID("ID-16", text)
    if not text.startswith(SCHEME):
        raise InvalidSPIFFEID("ID-01", text)
    if "#" in text:
        raise InvalidSPIFFEID("ID-04", text)
    if "?" in text:
        raise InvalidSPIFFEID("ID-03", text)
    name, slash, rest = text.removeprefix(SCHEME).partition("/")
    return SPIFFEID(TrustDomain(name), slash + rest)


def agent_id(trust_domain: TrustDomain, namespace: str, service_account: str, agent: str) -> SPIFFEID:
    """The ID of an agent: of pods that an AgentIdentity selects."""
    return SPIFFEID(trust_domain, _path("ns", namespace, "sa", service_account, "agent", agent))


def workload_id(trust_domain: TrustDomain, namespace: str, service_account: str) -> SPIFFEID:
    """The ID of a workload that no AgentIdentity selects."""
    return SPIFFEID(trust_domain, _path("ns", namespace, "sa", service_account))


def gateway_id(trust_domain: TrustDomain, root_namespace: str = "tollway-system") -> SPIFFEID:
    """The ID of the gateway: the only peer a sidecar accepts."""
    return workload_id(trust_domain, root_namespace, _GATEWAY)


def trial_id(gateway: SPIFFEID, bundle: str) -> SPIFFEID:
    """The ID under which a gateway tries who trusts a bundle, by its digest. It is nobody's: no sidecar takes it for
    the gateway, and no gateway for an agent."""
    return SPIFFEID(gateway.trust_domain, gateway.path + _path("agent", _TRIAL + bundle))


def tried_bundle(spiffe_id: SPIFFEID) -> str:
    """The digest in the ID of a trial certificate; empty for every other ID."""
    path = agent_path(spiffe_id)
    agent = (path.agent or "") if path is not None and path.service_account == _GATEWAY else ""
    return agent.removeprefix(_TRIAL) if agent.startswith(_TRIAL) else ""


_TRIAL: Final = "trial-"
_GATEWAY: Final = "tollway-gateway"


def agent_path(spiffe_id: SPIFFEID) -> AgentPath | None:
    """What an ID says in our own words, or None if it is not one of ours."""
    match = _OURS.fullmatch(spiffe_id.path)
    return AgentPath(match[1], match[2], match[3]) if match else None


def _path(*segments: str) -> str:
    # Each by itself: a name with "/" in it would otherwise become two segments, and another identity.
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            raise InvalidSPIFFEID(_rule_broken_by_path(f"/{segment}") or "ID-15", segment)
    return "/" + "/".join(segments)


def _rule_broken_by_trust_domain(name: str) -> str | None:
    if not name:
        return "ID-02"
    if len(name) > MAX_TRUST_DOMAIN_LENGTH:
        return "ID-17"
    if _TRUST_DOMAIN.fullmatch(name):
        return None
    marked = next((rule for mark, rule in _TRUST_DOMAIN_MARKS if mark in name), None)
    return marked or ("ID-07" if _TRUST_DOMAIN.fullmatch(name.lower()) else "ID-08")


def _rule_broken_by_path(path: str) -> str | None:
    if _PATH.fullmatch(path):
        return "ID-13" if not _DOTS.isdisjoint(path.split("/")) else None
    if "//" in path:
        return "ID-12"
    if path.endswith("/"):
        return "ID-14"
    return "ID-11" if "%" in path else "ID-15"


DEFAULT_TRUST_DOMAIN: Final = TrustDomain("cluster.local")
