"""What the status of AIQuotas says: whom they are for, and, as far as the gateway tells, what was counted."""

from binascii import crc32
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tollway.resources.models import AgentIdentity, AIQuota, Mode, Selector
from tollway.resources.status import Condition, Truth, rfc3339
from tollway_operator.cluster.kinds import AGENT_IDENTITY, AI_QUOTA, NAMESPACE
from tollway_operator.reconciling.actions import Action, Plan
from tollway_operator.reconciling.reporting import TOLD_EVERY_MS, Counted, Report
from tollway_operator.reconciling.saying import kept_or, silence, status_actions
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.watching.facts import AgentFact, Fact, QuotaFact

_NAME_LABEL: Final = "kubernetes.io/metadata.name"
_LOOK_AGAIN_MS: Final = 5_000
_WHETHER_IT_ANSWERS: Final = frozenset({"Enforced", "GatewaySilent"})
"""Reasons between which all quotas change at once."""


def plan_quotas(snapshot: Snapshot, now: int) -> Plan:
    agents = _Agents(snapshot)
    facts = [fact for fact in snapshot.store.all(AI_QUOTA, QuotaFact) if not fact.me.being_deleted]
    chains = (_about(snapshot, fact, agents, _waits(snapshot.report, fact, len(facts), now), now) for fact in facts)
    all_told = now >= snapshot.report.since + len(facts) * TOLD_EVERY_MS
    return Plan(tuple(chain for chain in chains if chain), None if all_told else now + _LOOK_AGAIN_MS)


def _waits(report: Report, fact: QuotaFact, count: int, now: int) -> bool:
    """Whether its turn to say that the gateway ceased to answer, or answers again, is still to come."""
    place = crc32(f"{fact.me.namespace}/{fact.me.name}".encode()) % count
    return now < report.since + place * TOLD_EVERY_MS


class _Agents:
    """AgentIdentities by namespace, so that a quota is compared with those of its own."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._labels: Mapping[str, Mapping[str, str]] = {
            fact.me.name: fact.me.labels for fact in snapshot.store.all(NAMESPACE, Fact)
        }
        self._by_namespace: defaultdict[str, _Space] = defaultdict(_Space)
        for fact in snapshot.store.all(AGENT_IDENTITY, AgentFact):
            if fact.declared is not None:
                self._by_namespace[fact.me.namespace].add(fact.declared.identity)

    def under(self, quota: AIQuota) -> int:
        return sum(self._by_namespace[namespace].matched(quota.agents) for namespace in self._namespaces(quota))

    def _namespaces(self, quota: AIQuota) -> Iterable[str]:
        chosen = quota.namespaces
        if chosen is None:
            return [quota.meta.namespace]
        return [name for name in list(self._by_namespace) if chosen.matches(self._labels_of(name))]

    def _labels_of(self, namespace: str) -> Mapping[str, str]:
        return {**self._labels.get(namespace, {}), _NAME_LABEL: namespace}


class _Space:
    """The AgentIdentities of one namespace, and by each of their labels: a quota looks at few of them."""

    def __init__(self) -> None:
        self._all: list[AgentIdentity] = []
        self._by_label: defaultdict[tuple[str, str], list[AgentIdentity]] = defaultdict(list)

    def add(self, agent: AgentIdentity) -> None:
        self._all.append(agent)
        for label in agent.meta.labels.items():
            self._by_label[label].append(agent)

    def matched(self, selector: Selector | None) -> int:
        """How many a selector matches; None is everybody's."""
        if selector is None or not selector.match_labels:
            return len(self._all)
        fewest = min((self._by_label.get(label, []) for label in selector.match_labels.items()), key=len)
        if len(selector.match_labels) == 1:
            return len(fewest)
        return sum(selector.matches(agent.meta.labels) for agent in fewest)


def _about(snapshot: Snapshot, fact: QuotaFact, agents: _Agents, waits: bool, now: int) -> tuple[Action, ...]:
    problem = _problem(snapshot, fact)
    if problem is not None or fact.quota is None:
        conditions = [problem] if problem is not None else []
        return status_actions(AI_QUOTA, fact, {}, conditions, now)
    fields: dict[str, object] = {"matched": {"agents": agents.under(fact.quota)}}
    if limits := _limits(snapshot.report, fact):
        fields["limits"] = limits
    enforced, exceeded = _enforced(snapshot.report, fact, fact.quota), _exceeded(snapshot.report, fact)
    if waits and {enforced.reason, kept_or(enforced, fact).reason} <= _WHETHER_IT_ANSWERS:
        enforced = kept_or(enforced, fact)
    return status_actions(AI_QUOTA, fact, fields, [_accepted(fields), enforced, exceeded], now)


def _problem(snapshot: Snapshot, fact: QuotaFact) -> Condition | None:
    if fact.quota is None:
        said = "; ".join(f"{problem.path}: {problem.message}" for problem in fact.problems)
        return Condition("Accepted", Truth.FALSE, "Invalid", said)
    root = snapshot.installation.root_namespace
    if fact.quota.namespaces is not None and fact.me.namespace != root:
        sentence = f"only quotas in {root} select namespaces: remove spec.namespaces, or move the quota there"
        return Condition("Accepted", Truth.FALSE, "NamespacesOutsideRoot", sentence)
    return None


def _limits(report: Report, fact: QuotaFact) -> Sequence[object]:
    """What was counted, or what was said of it before, while there is nothing newer to say."""
    name = fact.me.namespace, fact.me.name
    if name in report.usage:
        return [_shown(each) for each in report.usage[name]]
    known: Sequence[object] = fact.status.get("limits") or ()
    return known if not report.was_asked or name in report.quotas else ()


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


def _enforced(report: Report, fact: QuotaFact, quota: AIQuota) -> Condition:
    if quota.mode is Mode.SHADOW:
        return Condition("Enforced", Truth.FALSE, "Shadow", "mode is Shadow: it counts, and refuses nothing")
    if not report.was_asked:
        sentence = "no gateway has said yet that it counts by it"
        return kept_or(Condition("Enforced", Truth.UNKNOWN, "NotReported", sentence), fact)
    if report.providers is not None and (fact.me.namespace, fact.me.name) not in report.quotas:
        sentence = "the gateway does not count by it yet, or not in every replica"
        return Condition("Enforced", Truth.FALSE, "Pending", sentence)
    if report.silent:
        return Condition("Enforced", Truth.UNKNOWN, "GatewaySilent", silence(report))
    return Condition("Enforced", Truth.TRUE, "Enforced", "the gateway counts by it and refuses what is beyond it")


def _exceeded(report: Report, fact: QuotaFact) -> Condition:
    counted = report.usage.get((fact.me.namespace, fact.me.name))
    if counted is None:
        unknown = Condition("Exceeded", Truth.UNKNOWN, "NotReported", "no gateway has said yet what was counted")
        return kept_or(unknown, fact)
    spent = [each for each in counted if each.spent]
    if not spent:
        return Condition("Exceeded", Truth.FALSE, "WithinLimits", "no limit of it is spent")
    named = ", ".join(f"{each.limit} ({each.key})" if each.key else each.limit for each in spent[:5])
    return Condition("Exceeded", Truth.TRUE, "Spent", f"spent: {named}; `tollway limits` shows until when")
