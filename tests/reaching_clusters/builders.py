"""A healthy installation in a cluster as one look at it, to be made ill in one place."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from installations import agent, provider, quota
from tollway.identity.root_standing import RootStanding
from tollway.resources.status import rfc3339
from tollway_cli.doctor.in_cluster.parts import FIELDS
from tollway_cli.doctor.in_cluster.snapshot import (
    AuthorityFacts,
    KindFacts,
    LeaseFacts,
    NamespaceFacts,
    PartFacts,
    PodFacts,
    Snapshot,
    WebhookFacts,
)
from tollway_cli.doctor.snapshot import Standing
from tollway_cli.place import InCluster
from tollway_operator.cluster.kinds import AGENT_IDENTITY, AI_PROVIDER, AI_QUOTA, Kind
from tollway_operator.watching.facts import AgentFact, ProviderFact, QuotaFact, read

NOW = 1_795_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
STRICT = {"tollway.dev/enforce": "enabled", "tollway.dev/egress": "strict"}
BUDGET = {"name": "daily", "cost": "5.00", "window": "Day"}

Condition = tuple[str, str, str]
"""Type, status and reason."""


def fact(kind: Kind, declared: Mapping[str, Any], *told: Condition, seen: int = 1, **status: object) -> Any:
    conditions = [
        {"type": each, "status": truth, "reason": reason, "message": f"about {reason}"} for each, truth, reason in told
    ]
    meta = {
        **declared["metadata"],
        "uid": "u",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": rfc3339(NOW - DAY),
    }
    return read(
        kind,
        {**declared, "metadata": meta, "status": {"observedGeneration": seen, "conditions": conditions, **status}},
    )


def agents(*told: Condition, seen: int = 1, **status: object) -> tuple[AgentFact, ...]:
    svid = {"notAfter": rfc3339(NOW + 40 * MINUTE), "renewAfter": rfc3339(NOW + MINUTE)}
    status = {"svid": svid, "pods": {"matched": 1, "ready": 1}, **status}
    return (fact(AGENT_IDENTITY, agent("researcher"), *told, seen=seen, **status),)


def providers(*told: Condition, **spec: object) -> tuple[ProviderFact, ...]:
    usual = {"namespaces": {"matchLabels": {}}, "endpoint": "https://api.example.com"}
    said = {name: value for name, value in {**usual, **spec}.items() if value is not None}
    return (fact(AI_PROVIDER, provider(**said), *told),)


def quotas(*told: Condition, limit: Mapping[str, object] = BUDGET, **spec: object) -> tuple[QuotaFact, ...]:
    return (fact(AI_QUOTA, quota("research", limit, **spec), *told),)


def pod(
    name: str = "web-1",
    owner: str = "deployment/web",
    node: str = "node-1",
    injected: bool = True,
    opted_out: bool = False,
) -> PodFacts:
    return PodFacts("team-a", name, node, owner, injected, opted_out)


def svid(ends: int, renews: int) -> tuple[AgentFact, ...]:
    return agents(svid={"notAfter": rfc3339(ends), "renewAfter": rfc3339(renews)})


PARTS = {
    "tollway-operator": PartFacts("Deployment", 1, 1, "1.0"),
    "tollway-injector": PartFacts("Deployment", 2, 2, "1.0"),
    "tollway-gateway": PartFacts("StatefulSet", 1, 1, "1.0"),
}
STANDING = Standing(7, NOW, NOW, NOW - 1000, NOW + MINUTE, 0, NOW - MINUTE)
HEALTHY = Snapshot(
    NOW,
    InCluster("config"),
    "1.0",
    kinds={name: KindFacts(True, fields) for name, fields in FIELDS.items()},
    parts=PARTS,
    lease=LeaseFacts("operator-1", NOW - 3_000, 15_000),
    webhooks=(WebhookFacts((NOW + 30 * DAY,), 2),),
    authority=AuthorityFacts((NOW + 300 * DAY,), (NOW - HOUR, NOW + 20 * HOUR)),
    namespaces=(NamespaceFacts("team-a", STRICT),),
    agents=agents(("Accepted", "True", "Accepted"), ("Issued", "True", "Issued"), ("Ready", "True", "Ready")),
    providers=providers(("CredentialReady", "True", "Ready"), ("Programmed", "True", "Programmed")),
    quotas=quotas(("Enforced", "True", "Enforced"), ("Exceeded", "False", "WithinLimits")),
    pods=(pod(),),
    closed=frozenset({"team-a"}),
    standing=STANDING,
    root_change=RootStanding(),
)
BLIND = Snapshot(NOW, InCluster("config"), "1.0", gateway_silent="you may not list pods")


def ill(**changed: Any) -> Snapshot:
    return replace(HEALTHY, **changed)


def part(name: str, **changed: Any) -> Snapshot:
    return ill(parts={**PARTS, name: replace(PARTS[name], **changed)})


def without(name: str) -> Snapshot:
    return ill(parts={other: facts for other, facts in PARTS.items() if other != name})


def standing(**changed: Any) -> Snapshot:
    return ill(standing=replace(STANDING, **changed))
