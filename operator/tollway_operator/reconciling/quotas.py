"""What the status of AIQuotas says: whom they are for, and, as far as the gateway tells, what was counted."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tollway.resources.models import AgentIdentity, AIQuota, Mode
from tollway.resources.status import Condition, Truth, rfc3339
from tollway_operator.cluster.kinds import AGENT_IDENTITY, AI_QUOTA, NAMESPACE
from tollway_operator.reconciling.actions import Action, Plan
from tollway_operator.reconciling.reporting import Counted
from tollway_operator.reconciling.saying import status_actions
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.watching.facts import AgentFact, Fact, QuotaFact

MOST_SHOWN: Final = 20
_NAME_LABEL: Final = "kubernetes.io/metadata.name"


def plan_quotas(snapshot: Snapshot, now: int) -> Plan:
    agents = _Agents(snapshot)
    counted: defaultdict[tuple[str, str], list[Counted]] = defaultdict(list)
    for each in snapshot.report.counted:
        counted[each.namespace, each.quota].append(each)
    facts = [fact for fact in snapshot.store.all(AI_QUOTA, QuotaFact) if not fact.me.being_deleted]
    chains = (_about(snapshot, fact, agents, counted[fact.me.namespace, fact.me.name], now) for fact in facts)
    return Plan(tuple(chain for chain in chains if chain))


class _Agents:
    """AgentIdentities by namespace, so that a quota is compared with those of its own."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._labels: Mapping[str, Mapping[str, str]] = {
            fact.me.name: fact.me.labels for fact in snapshot.store.all(NAMESPACE, Fact)
        }
        self._by_namespace: defaultdict[str, list[AgentIdentity]] = defaultdict(list)
        for fact in snapshot.store.all(AGENT_IDENTITY, AgentFact):
            if fact.declared is not None:
                self._by_namespace[fact.me.namespace].append(fact.declared.identity)

    def under(self, quota: AIQuota) -> int:
        candidates = (agent for namespace in self._namespaces(quota) for agent in self._by_namespace[namespace])
        return sum(quota.agents is None or quota.agents.matches(agent.meta.labels) for agent in candidates)

    def _namespaces(self, quota: AIQuota) -> Iterable[str]:
        chosen = quota.namespaces
        if chosen is None:
            return [quota.meta.namespace]
        return [name for name in list(self._by_namespace) if chosen.matches(self._labels_of(name))]

    def _labels_of(self, namespace: str) -> Mapping[str, str]:
        return {**self._labels.get(namespace, {}), _NAME_LABEL: namespace}


def _about(
    snapshot: Snapshot, fact: QuotaFact, agents: _Agents, counted: Sequence[Counted], now: int
) -> tuple[Action, ...]:
    problem = _problem(snapshot, fact)
    if problem is not None or fact.quota is None:
        conditions = [problem] if problem is not None else []
        return status_actions(AI_QUOTA, fact, {}, conditions, now)
    tightest = sorted(counted, key=lambda each: (-each.fraction, each.limit, each.key))[:MOST_SHOWN]
    fields: dict[str, object] = {"matched": {"agents": agents.under(fact.quota)}}
    if tightest:
        fields["limits"] = [_shown(each) for each in tightest]
    reported = snapshot.report.providers is not None
    conditions = [_accepted(fields), _enforced(fact.quota, reported), _exceeded(tightest, reported)]
    return status_actions(AI_QUOTA, fact, fields, conditions, now)


def _problem(snapshot: Snapshot, fact: QuotaFact) -> Condition | None:
    if fact.quota is None:
        said = "; ".join(f"{problem.path}: {problem.message}" for problem in fact.problems)
        return Condition("Accepted", Truth.FALSE, "Invalid", said)
    root = snapshot.installation.root_namespace
    if fact.quota.namespaces is not None and fact.me.namespace != root:
        sentence = f"only quotas in {root} select namespaces: remove spec.namespaces, or move the quota there"
        return Condition("Accepted", Truth.FALSE, "NamespacesOutsideRoot", sentence)
    return None


def _shown(counted: Counted) -> Mapping[str, str]:
    resets = {"resetsAt": rfc3339(counted.resets_at)} if counted.resets_at is not None else {}
    return {
        "name": counted.limit,
        "key": counted.key,
        "limit": counted.amount,
        "used": counted.used,
        "held": counted.held,
        **resets,
    }


def _accepted(fields: Mapping[str, object]) -> Condition:
    if fields["matched"] == {"agents": 0}:
        sentence = "it selects no AgentIdentity: check the labels, or it is for workloads without one"
        return Condition("Accepted", Truth.TRUE, "SelectsNobody", sentence)
    return Condition("Accepted", Truth.TRUE, "Accepted", "it is sound")


def _enforced(quota: AIQuota, reported: bool) -> Condition:
    if quota.mode is Mode.SHADOW:
        return Condition("Enforced", Truth.FALSE, "Shadow", "mode is Shadow: it counts, and refuses nothing")
    if not reported:
        return Condition("Enforced", Truth.UNKNOWN, "NotReported", "no gateway has said yet that it counts by it")
    return Condition("Enforced", Truth.TRUE, "Enforced", "the gateway counts by it and refuses what is beyond it")


def _exceeded(tightest: Sequence[Counted], reported: bool) -> Condition:
    if not reported:
        return Condition("Exceeded", Truth.UNKNOWN, "NotReported", "no gateway has said yet what was counted")
    spent = [each for each in tightest if each.fraction >= 1]
    if not spent:
        return Condition("Exceeded", Truth.FALSE, "WithinLimits", "no limit of it is spent")
    named = ", ".join(f"{each.limit} ({each.key})" if each.key else each.limit for each in spent[:5])
    return Condition("Exceeded", Truth.TRUE, "Spent", f"spent: {named}; `tollway limits` shows until when")
