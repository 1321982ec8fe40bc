"""The authority, the cluster's trust bundle, and how a change of the root stands, for people."""

from typing import Final

import msgspec

from tollway.identity.root_change import Phase
from tollway.identity.root_standing import RootStanding, read_standing
from tollway.resources.status import rfc3339
from tollway_operator.cluster.kinds import CLUSTER_TRUST_BUNDLE, CONFIG_MAP
from tollway_operator.names import CLUSTER_TRUST_BUNDLE as BUNDLE
from tollway_operator.names import OUR_LABELS, ROOT_CHANGE, STANDING_FILE
from tollway_operator.reconciling.actions import Action, Apply, Plan, ReadyAuthority, Say
from tollway_operator.reconciling.commands import unanswered
from tollway_operator.reconciling.gateway import config_map
from tollway_operator.reconciling.observing import observed
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.signing.request import SIGNER
from tollway_operator.watching.facts import BundleFact, ConfigFact

EVERY_MS: Final = 30_000
"""How often the authority is asked what is due."""
CHANGING_EVERY_MS: Final = 5_000
"""The same while its root is being changed."""


def plan_trust(snapshot: Snapshot, now: int) -> Plan:
    root = snapshot.installation.root_namespace
    found = snapshot.store.get(CONFIG_MAP, ConfigFact, ROOT_CHANGE, root)
    before = _told(found)
    command = unanswered(found.command, before) if found is not None else ""
    seen = observed(snapshot) if snapshot.trust is not None and not _is_too_early(snapshot, before) else None
    ready = ReadyAuthority(seen, snapshot.trust.published if snapshot.trust is not None else None, command, before)
    is_changing = snapshot.root is not None and snapshot.root.phase != Phase.NONE
    again = now + (CHANGING_EVERY_MS if is_changing else EVERY_MS)
    return Plan(((ready,), *_bundle(snapshot), *_standing(snapshot, found, before)), again)


def _is_too_early(snapshot: Snapshot, before: RootStanding) -> bool:
    """An operator that has just begun has heard of no proof. That is no reason to doubt what the one before it knew."""
    stands = snapshot.root or before
    return stands.phase == Phase.TRUSTED and not snapshot.report.was_asked


def _told(found: ConfigFact | None) -> RootStanding:
    """An operator that dies right after a step tells it when it lives again: so it is read from where it was told."""
    return (read_standing(found.text) if found is not None else None) or RootStanding()


def _standing(snapshot: Snapshot, found: ConfigFact | None, before: RootStanding) -> tuple[tuple[Action, ...], ...]:
    stands = snapshot.root
    if stands is None or (found is not None and stands == before):
        return ()
    content = msgspec.json.format(msgspec.json.encode(stands), indent=2)
    files = {STANDING_FILE: content, "phase": stands.phase.encode(), "message": stands.message.encode()}
    write = Apply(CONFIG_MAP, config_map(ROOT_CHANGE, snapshot.installation.root_namespace, files))
    return ((*_news(stands, found, before), write),)


def _news(stands: RootStanding, found: ConfigFact | None, before: RootStanding) -> tuple[Action, ...]:
    """The Events first: an operator that dies between the two says them again, and they are the same Events."""
    if found is None:
        return ()
    events = []
    if stands.phase != before.phase:
        sentence = f"{stands.message} (since {rfc3339(stands.since)})" if stands.since else stands.message
        events.append(Say(CONFIG_MAP, found.me, "Normal", f"Root{stands.phase}", sentence))
    if stands.refused and (stands.answered, stands.refused) != (before.answered, before.refused):
        events.append(Say(CONFIG_MAP, found.me, "Warning", "CommandRefused", f"{stands.answered}: {stands.refused}"))
    if stands.late and not before.late:
        events.append(Say(CONFIG_MAP, found.me, "Warning", "RootChangeWaits", stands.message))
    return tuple(events)


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
