"""The kinds of objects that the operator reads or writes, and where they are served."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import quote

Object: TypeAlias = Mapping[str, Any]
"""An object as JSON."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`api_version` is "v1" or "group/version"; `namespaced` says whether its objects live in namespaces."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Of one object, of a namespace's, or of all."""
        root = "/apis/" if "/" in self.api_version else "/api/"
        scope = f"/namespaces/{_segment(namespace)}" if self.namespaced and namespace else ""
        rest = "".join(f"/{_segment(part)}" for part in (name, subresource) if part)
        return f"{root}{self.api_version}{scope}/{self.plural}{rest}"

    def new(self, name: str, namespace: str = "", **fields: object) -> dict[str, Any]:
        """The beginning of an object: type and name, with more of its metadata as `metadata`, and its other fields."""
        more = fields.pop("metadata", {})
        metadata: dict[str, object] = {"name": name, **({"namespace": namespace} if self.namespaced else {})}
        if isinstance(more, Mapping):
            metadata.update(more)
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata, **fields}


def _segment(text: str) -> str:
    return quote(text, safe="")


_TOLLWAY: Final = "tollway.dev/v1alpha1"
_CERTIFICATES: Final = "certificates.k8s.io/v1"

AGENT_IDENTITY: Final = Kind(_TOLLWAY, "AgentIdentity", "agentidentities")
AI_PROVIDER: Final = Kind(_TOLLWAY, "AIProvider", "aiproviders", namespaced=False)
AI_QUOTA: Final = Kind(_TOLLWAY, "AIQuota", "aiquotas")
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces", namespaced=False)
POD: Final = Kind("v1", "Pod", "pods")
SERVICE_ACCOUNT: Final = Kind("v1", "ServiceAccount", "serviceaccounts")
SECRET: Final = Kind("v1", "Secret", "secrets")
CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
EVENT: Final = Kind("v1", "Event", "events")
MUTATING_WEBHOOK: Final = Kind(
    "admissionregistration.k8s.io/v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
)
NETWORK_POLICY: Final = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")
POD_CERTIFICATE_REQUEST: Final = Kind(_CERTIFICATES, "PodCertificateRequest", "podcertificaterequests")
CLUSTER_TRUST_BUNDLE: Final = Kind(_CERTIFICATES, "ClusterTrustBundle", "clustertrustbundles", namespaced=False)
