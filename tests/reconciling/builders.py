"""A cluster as values: only what matters to the case is said."""

from collections.abc import Mapping
from typing import Any, Final

from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, parse_spiffe_id
from tollway.resources.models import KeyType
from tollway_operator.authority.authority import Authority, new_state
from tollway_operator.authority.svid_files import svid_files
from tollway_operator.cluster import kinds
from tollway_operator.cluster.kinds import Kind
from tollway_operator.names import OUR_LABELS, ROOTS_FILE, svid_secret
from tollway_operator.reconciling.acting import _svid_secret
from tollway_operator.reconciling.actions import Action, IssueSVID, Plan
from tollway_operator.reconciling.snapshot import Installation, Snapshot, trust_of
from tollway_operator.watching.facts import Identity, read
from tollway_operator.watching.store import Store

NOW: Final = 1_800_000_000_000
HOUR: Final = 3_600_000
TEAM: Final = "team-a"
CREATED: Final = "2026-11-01T00:00:00Z"

AUTHORITY: Final = Authority(new_state(DEFAULT_TRUST_DOMAIN, NOW, None), lambda _: None)
OTHER: Final = Authority(new_state(DEFAULT_TRUST_DOMAIN, NOW, None), lambda _: None)
TRUST: Final = trust_of(AUTHORITY)

Json = Any


class World:
    """Objects, and a snapshot of them."""

    def __init__(self, *, enforced: bool = True, secrets: bool = True) -> None:
        self.store = Store()
        self._versions = 100
        self.installation = Installation(secret_namespaces=frozenset({TEAM} if secrets else ()))
        self.put(kinds.NAMESPACE, TEAM, "", labels={"tollway.dev/enforce": "enabled"} if enforced else {})

    def put(
        self, kind: Kind, name: str, namespace: str = TEAM, labels: Mapping[str, str] | None = None, **rest: Any
    ) -> Identity:
        self._versions += 1
        metadata = {
            "uid": f"uid-of-{name}",
            "resourceVersion": str(self._versions),
            "generation": 1,
            "creationTimestamp": CREATED,
            "labels": dict(labels or {}),
            **rest.pop("metadata", {}),
        }
        fact = read(kind, kind.new(name, namespace, metadata=metadata, **rest))
        self.store.put(kind, fact)
        return fact.me

    def agent(self, name: str = "researcher", status: Json = None, created: str = CREATED, **spec: Json) -> Identity:
        spec = {"selector": {"matchLabels": {"app": "researcher"}}, "serviceAccountName": "researcher", **spec}
        spec = {field: value for field, value in spec.items() if value is not None}
        meta = {"creationTimestamp": created}
        return self.put(kinds.AGENT_IDENTITY, name, spec=spec, status=status or {}, metadata=meta)

    def pod(
        self,
        name: str = "pod-1",
        account: str = "researcher",
        *,
        ready: bool = True,
        phase: str = "Running",
        app: str = "researcher",
    ) -> Identity:
        conditions = [{"type": "Ready", "status": str(ready)}]
        spec = {"serviceAccountName": account, "nodeName": "node-1"}
        return self.put(
            kinds.POD, name, labels={"app": app}, spec=spec, status={"phase": phase, "conditions": conditions}
        )

    def svid(
        self,
        at: int,
        name: str = "researcher",
        *,
        owner: str = "uid-of-researcher",
        spiffe_id: str = f"spiffe://cluster.local/ns/{TEAM}/sa/researcher/agent/researcher",
        authority: Authority = AUTHORITY,
        **changed: bytes,
    ) -> Identity:
        """The Secret with a certificate that was issued at this moment."""
        svid = authority.issue(parse_spiffe_id(spiffe_id), KeyType.ECDSA_P256, HOUR, at)
        files = {**svid_files(svid, TRUST.bundle), ROOTS_FILE: TRUST.roots, **changed}
        action = IssueSVID(
            svid_secret(name), TEAM, spiffe_id, KeyType.ECDSA_P256, HOUR, "", Identity(name, TEAM, owner, "1")
        )
        content = _svid_secret(action, files)
        rest = {"data": content["data"], "metadata": {"ownerReferences": content["metadata"]["ownerReferences"]}}
        return self.put(kinds.SECRET, action.name, labels=OUR_LABELS, **rest)

    def snapshot(self, **changed: Any) -> Snapshot:
        return Snapshot(self.store, self.installation, **{"trust": TRUST, **changed})


def actions(plan: Plan) -> list[Action]:
    return [action for chain in plan.chains for action in chain]


def only(plan: Plan, kind: type[Action]) -> list[Any]:
    return [action for action in actions(plan) if isinstance(action, kind)]


def conditions(status: Json) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
