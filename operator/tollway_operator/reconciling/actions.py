"""What a plan consists of: writes to the API server, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from tollway.identity.root_change import Observed, Proof
from tollway.identity.root_standing import RootStanding
from tollway.resources.models import KeyType
from tollway_operator.cluster.kinds import Kind, Object
from tollway_operator.watching.facts import Identity, WebhookFact


class Topic(StrEnum):
    """What is planned together."""

    TRUST = "trust"
    """The authority, and the trust bundle of the cluster."""
    GATEWAY = "gateway"
    PROVIDERS = "providers"
    QUOTAS = "quotas"
    SIDECAR = "sidecar"
    """Of one namespace."""
    AGENTS = "agents"
    """Of one namespace."""
    EGRESS = "egress"
    """Of one namespace."""
    INJECTOR = "injector"
    """What its webhook shows, and what the API server trusts it by."""
    REQUEST = "request"
    """One PodCertificateRequest."""


class Key(NamedTuple):
    """What is looked at."""

    topic: Topic
    namespace: str = ""
    name: str = ""


class Place(NamedTuple):
    """One object, for remembering what could not be done to it."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ReadyAuthority:
    """Read, make or rotate the authority, as is due; put its Secret back where somebody removed it.

    A change of its root goes on by what was `observed` of what was published then, and follows a `command` that was not
    answered `before`. None: nothing is known yet; then, and where something else is published by now, it stays where
    it is.
    """

    observed: Observed | None = None
    published: Proof | None = None
    command: str = ""
    before: RootStanding = field(default_factory=RootStanding)


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply: for what can be made again from nothing."""

    kind: Kind
    content: Object


@dataclass(frozen=True, slots=True)
class Delete:
    kind: Kind
    me: Identity


@dataclass(frozen=True, slots=True)
class IssueSVID:
    """Make a key, certify it, write both. `replaces`: the version of the Secret that is there, empty for none."""

    name: str
    namespace: str
    spiffe_id: str
    key_type: KeyType
    ttl_ms: int
    replaces: str
    owner: Identity | None
    """The AgentIdentity with which the Secret goes; None for the gateway's."""


@dataclass(frozen=True, slots=True)
class IssueServing:
    """Make a serving certificate that signs itself, have the `webhook` trusted by it, then write it with its key.

    In this order, because it may be shown as soon as it is written. `still`, PEM: what the webhook is trusted by as
    well, because that is shown until then. `replaces`: the version of the Secret that is there, empty for none.
    """

    name: str
    namespace: str
    dns_names: tuple[str, ...]
    replaces: str
    still: bytes
    webhook: WebhookFact | None


@dataclass(frozen=True, slots=True)
class ShowBundle:
    """Change the trust bundle in a Secret, and nothing else of it."""

    me: Identity
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class WriteStatus:
    kind: Kind
    me: Identity
    status: Object


@dataclass(frozen=True, slots=True)
class Say:
    """A Kubernetes Event. `type` is Normal or Warning."""

    kind: Kind
    me: Identity
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """Judge a PodCertificateRequest by what the API server knows, and sign or deny it."""

    me: Identity
    content: Object


Action: TypeAlias = (
    ReadyAuthority | Apply | Delete | IssueSVID | IssueServing | ShowBundle | WriteStatus | Say | AnswerRequest
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Chains are done side by side, the actions of one in order; `again_at`, ms: when to look again anyway."""

    chains: tuple[tuple[Action, ...], ...] = ()
    again_at: int | None = None


def place_of(action: Action) -> Place | None:
    """The object that an action is about, where its failure should be said on it."""
    match action:
        case IssueSVID(name, namespace) | IssueServing(name, namespace):
            return Place("Secret", namespace, name)
        case Apply(kind, content):
            return Place(kind.kind, content["metadata"].get("namespace", ""), content["metadata"]["name"])
        case ReadyAuthority():
            return AUTHORITY_PLACE
        case _:
            return None


AUTHORITY_PLACE = Place("Authority", "", "")
