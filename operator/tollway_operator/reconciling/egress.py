"""What may leave a namespace whose egress is strict: questions for names, calls to the gateway, and declared extras.

NetworkPolicies add up, so this one only takes everything else away; an admission policy of the chart refuses others
that would open more. Pods of one namespace may reach each other where such a policy says so: all are held alike.
"""

from collections.abc import Mapping
from typing import Any

from tollway_operator.cluster.kinds import NETWORK_POLICY
from tollway_operator.names import EGRESS, OUR_LABELS
from tollway_operator.reconciling.actions import Apply, Delete, Plan
from tollway_operator.reconciling.snapshot import Installation, Snapshot
from tollway_operator.watching.facts import PolicyFact

Json = Mapping[str, Any]


def plan_egress(snapshot: Snapshot, namespace: str) -> Plan:
    found = snapshot.store.get(NETWORK_POLICY, PolicyFact, EGRESS, namespace)
    if not snapshot.is_strict(namespace):
        ours = found is not None and found.me.labels.items() >= OUR_LABELS.items()
        return Plan(((Delete(NETWORK_POLICY, found.me),),)) if found is not None and ours else Plan()
    spec = egress_spec(snapshot.installation)
    if found is not None and found.spec == spec:
        return Plan()
    content = NETWORK_POLICY.new(EGRESS, namespace, metadata={"labels": OUR_LABELS}, spec=spec)
    return Plan(((Apply(NETWORK_POLICY, content),),))


def egress_spec(installation: Installation) -> Json:
    """The API server's defaults are written out: what is there can then be compared."""
    names = _to(_pods_of("kube-system"), ("UDP", 53), ("TCP", 53))
    gateway = _to(_pods_of(installation.root_namespace), ("TCP", installation.gateway_port))
    extras = [{"to": [{"ipBlock": {"cidr": cidr}} for cidr in installation.egress_extras]}]
    rules = [names, gateway, *(extras if installation.egress_extras else ())]
    return {"podSelector": {}, "policyTypes": ["Egress"], "egress": rules}


def _to(peer: Json, *ports: tuple[str, int]) -> Json:
    return {"to": [peer], "ports": [{"protocol": protocol, "port": port} for protocol, port in ports]}


def _pods_of(namespace: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
