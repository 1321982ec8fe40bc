"""The authority and the cluster's trust bundle."""

from typing import Final

from tollway_operator.cluster.kinds import CLUSTER_TRUST_BUNDLE
from tollway_operator.names import CLUSTER_TRUST_BUNDLE as BUNDLE
from tollway_operator.names import OUR_LABELS
from tollway_operator.reconciling.actions import Action, Apply, Plan, ReadyAuthority
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.signing.request import SIGNER
from tollway_operator.watching.facts import BundleFact

EVERY_MS: Final = 30_000
"""How often the authority is asked what is due."""


def plan_trust(snapshot: Snapshot, now: int) -> Plan:
    return Plan(((ReadyAuthority(),), *_bundle(snapshot)), now + EVERY_MS)


def _bundle(snapshot: Snapshot) -> tuple[tuple[Action, ...], ...]:
    if snapshot.trust is None or not snapshot.pod_certificates:
        return ()
    roots = snapshot.trust.roots.decode("ascii")
    found = snapshot.store.get(CLUSTER_TRUST_BUNDLE, BundleFact, BUNDLE)
    if found is not None and (found.signer, found.roots) == (SIGNER, roots):
        return ()
    content = CLUSTER_TRUST_BUNDLE.new(
        BUNDLE, metadata={"labels": OUR_LABELS}, spec={"signerName": SIGNER, "trustBundle": roots}
    )
    return ((Apply(CLUSTER_TRUST_BUNDLE, content),),)
