"""One look at an installation in a cluster. None stands for what could not be seen; `denied` says for want of what."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tollway.identity.root_standing import RootStanding
from tollway_cli.doctor.snapshot import Standing
from tollway_cli.place import InCluster
from tollway_operator.names import STRICT
from tollway_operator.watching.facts import AgentFact, ProviderFact, QuotaFact


@dataclass(frozen=True, slots=True)
class KindFacts:
    """A CustomResourceDefinition. `fields` are those of spec that its v1alpha1 knows; none where that is not served."""

    established: bool
    fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a pod of ours from running. `container` is empty for what is about the pod as a whole."""

    pod: str
    container: str
    reason: str
    message: str
    last_line: str = ""
    """Of the log of the one that ended before."""


@dataclass(frozen=True, slots=True)
class PartFacts:
    """Operator, injector or gateway: its Deployment or StatefulSet, and what is said of its pods."""

    kind: str
    wanted: int
    ready: int
    version: str
    updated: bool = True
    """Whether all of its pods are of the newest revision."""
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True)
class LeaseFacts:
    holder: str
    renewed_at: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class WebhookFacts:
    """The ends of the certificates that the API server trusts the injector by; and how many pods its Service leads to,
    None where that could not be seen."""

    trusted_until: tuple[int, ...]
    endpoints: int | None


@dataclass(frozen=True, slots=True)
class AuthorityFacts:
    """When the roots end that everybody is shown, and the signing CAs whose certificates are taken."""

    roots_until: tuple[int, ...]
    signing_until: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_strict(self) -> bool:
        return self.labels.get("tollway.dev/egress") == STRICT


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod of an enforced namespace, one that has not ended. `owner` is what makes it anew ("deployment/web"), or
    empty."""

    namespace: str
    name: str
    node: str
    owner: str
    injected: bool
    opted_out: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
    """What the person may not: "list pods in all namespaces"."""

    right: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    now: int
    where: InCluster
    version: str
    """Of this command."""
    denied: tuple[Denied, ...] = ()
    kinds: Mapping[str, KindFacts] | None = None
    """By name; those that are not there are missing."""
    parts: Mapping[str, PartFacts] | None = None
    """By name; those that are not there are missing."""
    lease: LeaseFacts | None = None
    webhooks: tuple[WebhookFacts, ...] | None = None
    """One, or none."""
    authority: AuthorityFacts | None = None
    namespaces: tuple[NamespaceFacts, ...] | None = None
    """The enforced ones."""
    agents: tuple[AgentFact, ...] | None = None
    providers: tuple[ProviderFact, ...] | None = None
    quotas: tuple[QuotaFact, ...] | None = None
    pods: tuple[PodFacts, ...] | None = None
    closed: frozenset[str] | None = None
    """Namespaces that have the NetworkPolicy which strict egress is made of."""
    gateway_silent: str = ""
    """Why it could not be asked."""
    standing: Standing | None = None
    root_change: RootStanding | None = None

    def tollway(self, arguments: str) -> str:
        """Another command on this installation."""
        return f"tollway {arguments}{self.where.option}"

    def kubectl(self, arguments: str, namespace: str | None = None) -> str:
        """A command of kubectl's on this cluster."""
        return f"{self.where.kubectl}{f' -n {namespace}' if namespace else ''} {arguments}"

    def ours(self, arguments: str) -> str:
        """One of kubectl's in the root namespace."""
        return self.kubectl(arguments, self.where.namespace)

    def helm(self, values: str = "") -> str:
        """The upgrade of the release that changes these values, or puts back what is missing."""
        context = f" --kube-context {self.where.context}" if self.where.context else ""
        change = f" --set {values}" if values else ""
        release = f"helm{context} upgrade tollway charts/tollway -n {self.where.namespace} --reset-then-reuse-values"
        return release + change
