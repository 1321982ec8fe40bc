"""What a patch depends on besides the pod: what whoever installed Tollway decided, and what the namespace has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tollway.resources.models import ENFORCE_LABEL, ENFORCED, ROOT_NAMESPACE, AIProvider
from tollway.resources.selection import Declared
from tollway_operator.names import ALLOW_UNINJECTED

Json = Mapping[str, object]

USUAL_RESOURCES: Final[Json] = {
    "requests": {"cpu": "10m", "memory": "48Mi"},
    "limits": {"memory": "256Mi"},
}
"""An Envoy has 14 MB of its own, 18 at 100 calls at once and 34 at 500; the rest is its program, shared by all pods of
a node. No limit of CPU: it would stall calls."""


@dataclass(frozen=True, slots=True)
class InjectionSettings:
    """`image` has `envoy` on its PATH. `user`: the numeric user and group of the sidecar; not 0."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    resources: Json = field(default_factory=lambda: USUAL_RESOURCES)
    user: int = 65532
    root_namespace: str = ROOT_NAMESPACE
    refuse_unselected: bool = False
    """Pods that no AgentIdentity selects are refused, and get no identity of their service account."""
    pod_certificates: bool = True
    """Whether the cluster can deliver by PodCertificate."""
    secret_namespaces: frozenset[str] = frozenset()
    """Where SVIDs may be delivered as Secrets."""

    def __post_init__(self) -> None:
        if not self.image:
            raise ValueError("the sidecar's image is not named")
        if not 0 < self.user < 2**31:
            raise ValueError("the sidecar's user must be a number other than 0")


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """A namespace as the API server has it, with its AgentIdentities; `providers` of the cluster, the oldest first."""

    name: str
    labels: Mapping[str, str]
    agents: Sequence[Declared] = ()
    providers: Sequence[AIProvider] = ()

    @property
    def is_enforced(self) -> bool:
        return self.labels.get(ENFORCE_LABEL) == ENFORCED

    @property
    def allows_uninjected(self) -> bool:
        return self.labels.get(ALLOW_UNINJECTED) == "true"
