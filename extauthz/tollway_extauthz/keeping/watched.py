"""What is followed, and no more: each line needs a rule in `charts/tollway/rbac/gateway.yaml`.

The names are those under which the operator writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

GATEWAY: Final = "tollway-gateway"
CREDENTIALS: Final = "tollway-gateway-credentials"
SVID: Final = "tollway-gateway-svid"

BOOTSTRAP_FILE: Final = "bootstrap.json"
PARTS_FILE: Final = "parts.json"
GENERATION_FILE: Final = "generation"
ISSUERS_FILE: Final = "issuers.pem"
ROOTS_FILE: Final = "ca.crt"

_OURS: Final = "/apis/tollway.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class Watched:
    """Objects of a kind: all of them, or the one of a name. Lists leave out what `api_version` and `kind` say."""

    api_version: str
    kind: str
    path: str
    selector: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.selector.get("fieldSelector", "").removeprefix("metadata.name=") or self.kind


AGENTS: Final = Watched("tollway.dev/v1alpha1", "AgentIdentity", f"{_OURS}/agentidentities")
PROVIDERS: Final = Watched("tollway.dev/v1alpha1", "AIProvider", f"{_OURS}/aiproviders")
QUOTAS: Final = Watched("tollway.dev/v1alpha1", "AIQuota", f"{_OURS}/aiquotas")
NAMESPACES: Final = Watched("v1", "Namespace", "/api/v1/namespaces")
RESOURCES: Final = (AGENTS, PROVIDERS, QUOTAS, NAMESPACES)


def objects(root_namespace: str) -> tuple[Watched, Watched, Watched]:
    """What the operator writes for the gateway's pods: the configuration, the credentials and the SVID."""
    return (
        _named("ConfigMap", root_namespace, "configmaps", GATEWAY),
        _named("Secret", root_namespace, "secrets", CREDENTIALS),
        _named("Secret", root_namespace, "secrets", SVID),
    )


def _named(kind: str, namespace: str, plural: str, name: str) -> Watched:
    # By its name: RBAC that names the object allows nothing else.
    path = f"/api/v1/namespaces/{namespace}/{plural}"
    return Watched("v1", kind, path, {"fieldSelector": f"metadata.name={name}"})
