"""The configuration of a namespace's sidecars, with the trust bundle that they check the gateway by."""

from tollway_operator.cluster.kinds import CONFIG_MAP
from tollway_operator.names import SIDECAR
from tollway_operator.reconciling.actions import Apply, Plan
from tollway_operator.reconciling.gateway import config_map, sound_providers
from tollway_operator.reconciling.rendering import sidecar_config
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.watching.facts import ConfigFact, digests


def plan_sidecar(snapshot: Snapshot, namespace: str) -> Plan:
    found = snapshot.store.get(CONFIG_MAP, ConfigFact, SIDECAR, namespace)
    if snapshot.trust is None or not snapshot.is_enforced(namespace):
        # In a namespace that is not enforced any more running pods may still read it.
        return Plan()
    providers = sound_providers(snapshot.store)
    files = {**sidecar_config(snapshot.installation, providers, snapshot.trust.tried), **snapshot.trust.bundle_files}
    if found is not None and found.digests == digests(files):
        return Plan()
    return Plan(((Apply(CONFIG_MAP, config_map(SIDECAR, namespace, files)),),))
