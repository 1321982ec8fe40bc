"""What is watched, and no more: each line needs a rule in `charts/tollway/rbac`."""

from collections.abc import Iterable, Iterator
from typing import Final

from tollway_operator import names
from tollway_operator.cluster import kinds
from tollway_operator.watching.listing import Watch

OURS: Final = f"{names.MANAGED_BY}={names.TOLLWAY}"
REQUIRED: Final = (kinds.AGENT_IDENTITY, kinds.AI_PROVIDER, kinds.AI_QUOTA)
"""Kinds without which there is nothing to do."""


def watches(root_namespace: str, secret_namespaces: Iterable[str], signer: str) -> Iterator[Watch]:
    for kind in (*REQUIRED, kinds.NAMESPACE, kinds.POD):
        yield Watch(kind)
    yield Watch(kinds.CONFIG_MAP, fields=f"metadata.name={names.SIDECAR}")
    yield Watch(kinds.NETWORK_POLICY, fields=f"metadata.name={names.EGRESS}")
    yield Watch(kinds.MUTATING_WEBHOOK, fields=f"metadata.name={names.INJECTOR}")
    yield Watch(kinds.SECRET, root_namespace)
    yield Watch(kinds.CONFIG_MAP, root_namespace, fields=f"metadata.name={names.GATEWAY}")
    yield Watch(kinds.CONFIG_MAP, root_namespace, fields=f"metadata.name={names.ROOT_CHANGE}")
    for namespace in sorted(secret_namespaces):
        yield Watch(kinds.SECRET, namespace, labels=OURS, optional=True)
    yield from certificate_watches(signer)


def certificate_watches(signer: str) -> Iterator[Watch]:
    """Those of delivery by PodCertificate, where the cluster has it."""
    yield Watch(kinds.POD_CERTIFICATE_REQUEST, fields=f"spec.signerName={signer}")
    yield Watch(kinds.CLUSTER_TRUST_BUNDLE, fields=f"metadata.name={names.CLUSTER_TRUST_BUNDLE}")
