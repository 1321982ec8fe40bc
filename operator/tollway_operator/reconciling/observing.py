"""Who has proved to trust what is published: of every pod that has to, by name, what a change of the root waits for.

Gateways say what they run. Of sidecars the gateways tell who completed a handshake with the trial certificate: by the
UID in its certificate, or, where that names none, by the address that the API server knows of one pod.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from tollway.identity.root_change import Observed, Proof, Sidecar
from tollway_operator.cluster.kinds import AGENT_IDENTITY, CLUSTER_TRUST_BUNDLE, CONFIG_MAP, POD, SECRET
from tollway_operator.names import BUNDLE_FILE, GATEWAY, GATEWAY_SVID, SIDECAR, svid_secret
from tollway_operator.names import CLUSTER_TRUST_BUNDLE as BUNDLE
from tollway_operator.reconciling.agents import pods_by_agent
from tollway_operator.reconciling.snapshot import Snapshot, Trust
from tollway_operator.watching.facts import AgentFact, BundleFact, ConfigFact, PodFact, SecretFact

_FINISHED: Final = frozenset({"Succeeded", "Failed"})


def observed(snapshot: Snapshot) -> Observed:
    """Nothing, while nothing is tried."""
    trust = snapshot.trust
    if trust is None or trust.tried is None:
        return Observed()
    return Observed(_gateways(snapshot), dict(_sidecars(snapshot)), dict(_sources(snapshot, trust)))


def _gateways(snapshot: Snapshot) -> Mapping[str, Proof | None]:
    told = {each.replica: Proof(each.bundle, each.issuers) for each in snapshot.report.trusted}
    root = snapshot.installation.root_namespace
    return {pod.me.name: told.get(pod.me.name) for pod in _running(snapshot, root) if _is_gateway(pod)}


def _is_gateway(pod: PodFact) -> bool:
    return pod.pod.service_account == GATEWAY


def _sidecars(snapshot: Snapshot) -> Iterator[tuple[str, Sidecar]]:
    by_pod = {tried.pod: tried.bundle for tried in snapshot.report.tried if tried.pod}
    by_address = {tried.address: tried.bundle for tried in snapshot.report.tried if not tried.pod}
    for namespace in snapshot.enforced_namespaces():
        silenced = _without_certificate(snapshot, namespace)
        for pod in _running(snapshot, namespace):
            if pod.has_sidecar and pod.me.uid not in silenced:
                proved = by_pod.get(pod.me.uid) or by_address.get(pod.address)
                yield f"{namespace}/{pod.me.name}", Sidecar(proved, pod.me.created)


def _without_certificate(snapshot: Snapshot, namespace: str) -> frozenset[str]:
    """Pods of suspended identities: they get no certificate to prove anything with, and no call of theirs is taken."""
    facts = snapshot.store.all(AGENT_IDENTITY, AgentFact, namespace)
    suspended = {fact.me.name for fact in facts if fact.declared is not None and fact.declared.identity.suspended}
    if not suspended:
        return frozenset()
    found = pods_by_agent(facts, snapshot.store.all(POD, PodFact, namespace))
    return frozenset(pod.me.uid for name in suspended for pod in found[name].own)


def _running(snapshot: Snapshot, namespace: str) -> Iterator[PodFact]:
    for pod in snapshot.store.all(POD, PodFact, namespace):
        if not pod.pod.being_deleted and pod.pod.phase not in _FINISHED:
            yield pod


def _sources(snapshot: Snapshot, trust: Trust) -> Iterator[tuple[str, str]]:
    """The objects that pods read their trust bundle from."""
    store, root = snapshot.store, snapshot.installation.root_namespace
    for config in store.all(CONFIG_MAP, ConfigFact):
        is_read = config.me.namespace == root or snapshot.is_enforced(config.me.namespace)
        if config.me.name in {GATEWAY, SIDECAR} and is_read:
            yield f"ConfigMap {config.me.namespace}/{config.me.name}", config.digests.get(BUNDLE_FILE, "")
    mounted = _mounted_secrets(snapshot)
    for secret in store.all(SECRET, SecretFact):
        if secret.svid is not None and (secret.me.namespace, secret.me.name) in mounted:
            yield f"Secret {secret.me.namespace}/{secret.me.name}", secret.digests.get(BUNDLE_FILE, "")
    bundle = store.get(CLUSTER_TRUST_BUNDLE, BundleFact, BUNDLE)
    if bundle is not None:
        is_new = bundle.roots == trust.roots.decode("ascii")
        yield f"ClusterTrustBundle {BUNDLE}", trust.published.bundle if is_new else ""


def _mounted_secrets(snapshot: Snapshot) -> frozenset[tuple[str, str]]:
    """Namespaces and names of the Secrets with SVIDs that pods have now. One that nobody reads holds up nothing."""
    store = snapshot.store
    found = {(snapshot.installation.root_namespace, GATEWAY_SVID)}
    for namespace in snapshot.enforced_namespaces():
        agents = store.all(AGENT_IDENTITY, AgentFact, namespace)
        by_agent = pods_by_agent(agents, store.all(POD, PodFact, namespace))
        found |= {(namespace, svid_secret(name)) for name, pods in by_agent.items() if pods.own}
    return frozenset(found)
