"""The AgentIdentities of one namespace: which pods they are, the SVIDs delivered as Secrets, and what status says."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tollway.identity.spiffe_id import agent_id
from tollway.resources.delivery import Hindrance, way_of
from tollway.resources.models import ENFORCE_LABEL, ENFORCED, AgentIdentity, Delivery
from tollway.resources.selection import Declared, Workload, select
from tollway.resources.status import Condition, Truth, rfc3339
from tollway_operator.cluster.kinds import AGENT_IDENTITY, POD, POD_CERTIFICATE_REQUEST, SECRET
from tollway_operator.names import EGRESS_LABEL, STRICT, svid_secret
from tollway_operator.reconciling.actions import AUTHORITY_PLACE, Action, Delete, IssueSVID, Place, Plan
from tollway_operator.reconciling.saying import status_actions
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.reconciling.svids import bundle_actions, is_due, renewal_of
from tollway_operator.watching.facts import AgentFact, HeldSVID, PodFact, RequestFact, SecretFact, moment

_FINISHED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why no certificate is issued."""

    reason: str
    message: str


@dataclass(slots=True)
class Pods:
    """The pods of one agent, and the other identities that select some of them too."""

    own: list[PodFact] = field(default_factory=list)
    rivals: set[str] = field(default_factory=set)
    """Younger ones, which select pods of this agent in vain."""
    lost_to: set[str] = field(default_factory=set)
    """Older ones, to which pods go that this agent selects."""


@dataclass(frozen=True, slots=True)
class Certified:
    """What certificates an agent's pods hold, as far as can be seen: the earliest end, and the earliest renewal."""

    not_after: int | None = None
    renew_after: int | None = None
    overdue: bool = False
    """Three quarters of a life have passed without a renewal."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One AgentIdentity with all that matters for it."""

    fact: AgentFact
    agent: AgentIdentity
    pods: Pods
    blocked: Blocked | None
    delivery: Delivery
    spiffe_id: str
    secret: SecretFact | None
    certified: Certified
    failure: str
    held_in: bool
    """Its namespace lets nothing out that goes around the gateway."""


def plan_agents(snapshot: Snapshot, namespace: str, now: int) -> Plan:
    facts = snapshot.store.all(AGENT_IDENTITY, AgentFact, namespace)
    if snapshot.trust is None and AUTHORITY_PLACE not in snapshot.failures:
        return Plan()
    pods = pods_by_agent(facts, snapshot.store.all(POD, PodFact, namespace))
    issued = _latest_by_pod(snapshot.store.all(POD_CERTIFICATE_REQUEST, RequestFact, namespace))
    chains: list[tuple[Action, ...]] = []
    again: list[int] = []
    for fact in facts:
        if fact.me.being_deleted:
            continue
        if fact.declared is None:
            chains.append(_refused(fact, now))
            continue
        situation = _situation(snapshot, fact, fact.declared.identity, pods[fact.me.name], issued, now)
        chains += _chains(snapshot, situation, now)
        again += _moments(situation, now)
    return Plan(tuple(chain for chain in chains if chain), min(again, default=None))


# --- who is who ----------------------------------------------------------------------------------------------------


class _Near:
    """Identities by one label that they ask for, so that a pod is not compared with all of them."""

    def __init__(self, declared: Iterable[Declared]) -> None:
        self._by_label: defaultdict[tuple[str, str] | None, list[Declared]] = defaultdict(list)
        for each in declared:
            asked = sorted(each.identity.selector.match_labels.items())
            self._by_label[asked[0] if asked else None].append(each)

    def to(self, workload: Workload) -> Iterable[Declared]:
        for place in (None, *workload.labels.items()):
            yield from self._by_label.get(place, ())


def pods_by_agent(facts: Iterable[AgentFact], pods: Iterable[PodFact]) -> Mapping[str, Pods]:
    """For each AgentIdentity of a namespace the pods that it is, by its name."""
    near = _Near(fact.declared for fact in facts if fact.declared is not None)
    found: defaultdict[str, Pods] = defaultdict(Pods)
    for pod in pods:
        if pod.pod.being_deleted or pod.pod.phase in _FINISHED:
            continue
        selection = select(near.to(pod.pod.workload), pod.pod.workload)
        if selection.identity is None:
            continue
        winner = selection.identity.meta.name
        found[winner].own.append(pod)
        for loser in selection.in_vain:
            found[winner].rivals.add(loser.meta.name)
            found[loser.meta.name].lost_to.add(winner)
    return found


def _latest_by_pod(requests: Iterable[RequestFact]) -> Mapping[str, RequestFact]:
    """The newest certificate that was issued for each pod."""
    latest: dict[str, RequestFact] = {}
    for request in requests:
        if request.validity is not None:
            known = latest.get(request.pod_uid)
            if known is None or (known.validity or request.validity).not_after <= request.validity.not_after:
                latest[request.pod_uid] = request
    return latest


# --- what is so ----------------------------------------------------------------------------------------------------


def _situation(
    snapshot: Snapshot,
    fact: AgentFact,
    agent: AgentIdentity,
    pods: Pods,
    issued: Mapping[str, RequestFact],
    now: int,
) -> Situation:
    delivery, blocked = _delivery(snapshot, agent)
    account, unknown = _service_account(agent, pods)
    if delivery is Delivery.SECRET:
        blocked = blocked or unknown
    blocked = _barred(snapshot, agent) or blocked
    secret_name = svid_secret(agent.meta.name)
    secret = snapshot.store.get(SECRET, SecretFact, secret_name, agent.meta.namespace)
    where = snapshot.installation.trust_domain
    return Situation(
        fact=fact,
        agent=agent,
        pods=pods,
        blocked=blocked,
        delivery=delivery,
        spiffe_id=str(agent_id(where, agent.meta.namespace, account, agent.meta.name)) if account else "",
        secret=secret,
        certified=_certified(fact, delivery, secret, pods, issued, now),
        failure=snapshot.failures.get(Place("Secret", agent.meta.namespace, secret_name), ""),
        held_in=snapshot.is_strict(agent.meta.namespace),
    )


def _barred(snapshot: Snapshot, agent: AgentIdentity) -> Blocked | None:
    """What bars an agent whatever its delivery."""
    if snapshot.trust is None:
        return Blocked("AuthorityFailed", snapshot.failures[AUTHORITY_PLACE])
    namespace = agent.meta.namespace
    if namespace == snapshot.installation.root_namespace:
        return Blocked("RootNamespace", f"there are no agents in {namespace}: move it to the namespace of its pods")
    if not snapshot.is_enforced(namespace):
        sentence = f"namespace {namespace} is not labelled {ENFORCE_LABEL}={ENFORCED}: label it"
        return Blocked("NamespaceNotEnforced", sentence)
    if agent.suspended:
        return Blocked("Suspended", "it is suspended, and every call of it is refused: set suspended to false")
    return None


def _delivery(snapshot: Snapshot, agent: AgentIdentity) -> tuple[Delivery, Blocked | None]:
    listed = agent.meta.namespace in snapshot.installation.secret_namespaces
    delivery, hindrance = way_of(agent.svid.delivery, served=snapshot.pod_certificates, listed=listed)
    match hindrance:
        case Hindrance.NOT_SERVED:
            sentence = (
                "this cluster serves no PodCertificateRequests (certificates.k8s.io/v1, Kubernetes 1.37): "
                "use delivery Secret, in a namespace that the installation lists for it"
            )
            return delivery, Blocked(hindrance.value, sentence)
        case Hindrance.NOT_LISTED:
            sentence = (
                "SVIDs are delivered as Secrets only in namespaces that the installation lists: add "
                f"{agent.meta.namespace} to secretNamespaces"
            )
            return delivery, Blocked(hindrance.value, sentence)
        case None:
            return delivery, None


def _service_account(agent: AgentIdentity, pods: Pods) -> tuple[str, Blocked | None]:
    """The one service account of the agent's pods, or "" where it is not known or there are several."""
    if agent.service_account is not None:
        return agent.service_account, None
    accounts = sorted({pod.pod.service_account for pod in pods.own})
    if len(accounts) == 1:
        return accounts[0], None
    if not accounts:
        sentence = "its service account is known only once it has a pod: wait for one, or set serviceAccountName"
        return "", Blocked("NoPods", sentence)
    named = ", ".join(accounts[:5])
    sentence = f"its pods run as several service accounts ({named}), and one Secret holds one ID: set "
    return "", Blocked("SeveralServiceAccounts", f"{sentence}serviceAccountName, or use delivery PodCertificate")


def _certified(
    fact: AgentFact,
    delivery: Delivery,
    secret: SecretFact | None,
    pods: Pods,
    issued: Mapping[str, RequestFact],
    now: int,
) -> Certified:
    if delivery is Delivery.SECRET:
        svid = secret.svid if secret is not None and secret.owner_uid == fact.me.uid else None
        return _of_secret(svid, now)
    held = [request for pod in pods.own if (request := issued.get(pod.me.uid)) is not None]
    return _of_requests(held, fact, now)


def _of_secret(svid: HeldSVID | None, now: int) -> Certified:
    if svid is None or not svid.validity.covers(now):
        return Certified()
    return Certified(svid.validity.not_after, renewal_of(svid), now >= svid.validity.at(3, 4))


def _of_requests(held: Sequence[RequestFact], fact: AgentFact, now: int) -> Certified:
    """Kubernetes removes requests after a while: then what status says goes on to be true until it ends."""
    lives = [request.validity for request in held if request.validity is not None and request.validity.covers(now)]
    if lives:
        first = min(lives, key=lambda life: life.not_after)
        renewals = [request.renew_at for request in held if request.renew_at is not None]
        return Certified(first.not_after, min(renewals, default=None), now >= first.at(3, 4))
    svid = fact.status.get("svid") or {}
    end = moment(svid.get("notAfter"))
    return Certified(end, moment(svid.get("renewAfter"))) if end is not None and end > now else Certified()


# --- what is missing -----------------------------------------------------------------------------------------------


def _chains(snapshot: Snapshot, situation: Situation, now: int) -> list[tuple[Action, ...]]:
    issue = _issue(snapshot, situation, now)
    if issue and not situation.failure:
        # What comes of it is written when it is known.
        return [issue]
    return [issue, status_actions(AGENT_IDENTITY, situation.fact, _status(situation), _conditions(situation), now)]


def _issue(snapshot: Snapshot, situation: Situation, now: int) -> tuple[Action, ...]:
    secret, owner = situation.secret, situation.fact.me
    ours = secret is not None and secret.owner_uid == owner.uid
    if situation.delivery is not Delivery.SECRET:
        return (Delete(SECRET, secret.me),) if secret is not None and ours else ()
    if snapshot.trust is None:
        return ()
    if situation.blocked is not None:
        # Whom its holder trusts has to be right also where no certificate is issued: a pod may start with it.
        return bundle_actions(secret, snapshot.trust) if ours else ()
    agent = situation.agent
    held = secret.svid if secret is not None and ours else None
    if not is_due(held, situation.spiffe_id, agent.svid.key_type, snapshot.trust, now):
        return bundle_actions(secret, snapshot.trust)
    replaces = secret.me.resource_version if secret is not None else ""
    name, spec = svid_secret(agent.meta.name), agent.svid
    return (IssueSVID(name, agent.meta.namespace, situation.spiffe_id, spec.key_type, spec.ttl_ms, replaces, owner),)


def _moments(situation: Situation, now: int) -> list[int]:
    """When to look again: at the renewal, and at the end, of what is held."""
    certified = situation.certified
    moments = [certified.renew_after, certified.not_after]
    return [each for each in moments if each is not None and each > now]


# --- what status says ----------------------------------------------------------------------------------------------


def _refused(fact: AgentFact, now: int) -> tuple[Action, ...]:
    said = "; ".join(f"{problem.path}: {problem.message}" for problem in fact.problems)
    conditions = [
        Condition("Accepted", Truth.FALSE, "Invalid", said),
        Condition("Issued", Truth.FALSE, "Invalid", "it is not accepted"),
        Condition("Ready", Truth.FALSE, "Invalid", "it is not accepted"),
    ]
    return status_actions(AGENT_IDENTITY, fact, {}, conditions, now)


def _status(situation: Situation) -> dict[str, object]:
    certified, pods = situation.certified, situation.pods.own
    svid: dict[str, object] = {"delivery": situation.delivery.value}
    if certified.not_after is not None:
        svid["notAfter"] = rfc3339(certified.not_after)
    if certified.renew_after is not None:
        svid["renewAfter"] = rfc3339(certified.renew_after)
    status: dict[str, object] = {"pods": {"matched": len(pods), "ready": sum(pod.ready for pod in pods)}}
    if situation.spiffe_id:
        status["spiffeID"] = situation.spiffe_id
    return {**status, "svid": svid}


def _conditions(situation: Situation) -> list[Condition]:
    accepted, issued = _accepted(situation), _issued(situation)
    return [accepted, issued, _ready(situation, accepted, issued)]


def _accepted(situation: Situation) -> Condition:
    if situation.blocked is not None and situation.blocked.reason == "RootNamespace":
        return Condition("Accepted", Truth.FALSE, situation.blocked.reason, situation.blocked.message)
    if situation.pods.lost_to:
        others = _listed(situation.pods.lost_to)
        sentence = f"it also selects pods of the older {others}, whose they are: make the selectors differ"
        return Condition("Accepted", Truth.TRUE, "Overlaps", sentence)
    if situation.pods.rivals:
        others = _listed(situation.pods.rivals)
        sentence = f"pods of it are also selected by the younger {others}, in vain: make the selectors differ"
        return Condition("Accepted", Truth.TRUE, "Overlaps", sentence)
    return Condition("Accepted", Truth.TRUE, "Accepted", "it is sound")


def _listed(agents: Iterable[str]) -> str:
    return f"AgentIdentity {', '.join(sorted(agents)[:5])}"


def _issued(situation: Situation) -> Condition:
    certified = situation.certified
    if situation.blocked is not None:
        return Condition("Issued", Truth.FALSE, situation.blocked.reason, situation.blocked.message)
    if certified.overdue:
        sentence = f"its certificate ends at {rfc3339(certified.not_after or 0)} and could not be renewed: "
        return Condition("Issued", Truth.TRUE, "RenewalOverdue", sentence + (situation.failure or "see the operator"))
    if situation.failure and certified.not_after is not None:
        sentence = f"it holds a certificate until {rfc3339(certified.not_after)}; the next one failed: "
        return Condition("Issued", Truth.TRUE, "RenewalFailing", sentence + situation.failure)
    if situation.failure:
        return Condition("Issued", Truth.FALSE, "IssueFailed", situation.failure)
    if certified.not_after is not None:
        return Condition("Issued", Truth.TRUE, "Issued", "its pods hold a valid certificate, or can mount one")
    if not situation.pods.own:
        return Condition("Issued", Truth.UNKNOWN, "NoPods", "a certificate is issued when a pod of it starts")
    sentence = "no pod of it asked for a certificate yet: a pod asks when it starts with the injected sidecar"
    return Condition("Issued", Truth.FALSE, "NotAsked", sentence)


def _ready(situation: Situation, accepted: Condition, issued: Condition) -> Condition:
    for condition in (accepted, issued):
        if condition.status is Truth.FALSE:
            return Condition("Ready", Truth.FALSE, condition.reason, condition.message)
    if not situation.pods.own:
        return Condition(
            "Ready", Truth.TRUE, "NoPods", "it may call, and has no pod that would" + _way_around(situation)
        )
    return Condition("Ready", Truth.TRUE, "Ready", "it may call" + _way_around(situation))


def _way_around(situation: Situation) -> str:
    if situation.held_in:
        return ""
    return (
        "; the egress of its namespace is open, so with a key of its own it could call providers directly: "
        f"label the namespace {EGRESS_LABEL}={STRICT} to close that"
    )
