"""Checks of the enforced namespaces: who is covered, which pods have no sidecar, what leaves, where it is crowded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from tollway.resources.models import ENFORCE_LABEL, ENFORCED
from tollway_cli.doctor.configuration import UNCOVERED
from tollway_cli.doctor.findings import Finding, hint, wrong
from tollway_cli.doctor.in_cluster.declared import noticed
from tollway_cli.doctor.in_cluster.snapshot import PodFacts, Snapshot
from tollway_operator.names import ALLOW_UNINJECTED, EGRESS, EGRESS_LABEL, INJECT, STRICT
from tollway_operator.names import LEASE as OPERATOR

MOST_ON_A_NODE: Final = 20
"""A sidecar's Envoy holds five or six inotify instances; all sidecars are one user, who has 128 on many nodes."""
_RESTARTED: Final = frozenset({"deployment", "statefulset", "daemonset"})
"""What `kubectl rollout restart` starts anew."""


def namespaces(s: Snapshot) -> Sequence[Finding] | None:
    if s.namespaces is None:
        return None
    if not s.namespaces:
        label = s.kubectl(f"label namespace NAME {ENFORCE_LABEL}={ENFORCED}")
        return [hint("namespaces", "none is enforced: nobody's calls go through Tollway", label)]
    if s.agents is None:
        return None
    declared = {fact.me.namespace for fact in s.agents}
    return [
        hint(
            f"namespace {each.name}",
            "it is enforced and has no AgentIdentity: its pods are known by their service accounts only",
            "declare who its agents are: kubectl explain aid.spec",
        )
        for each in s.namespaces
        if each.name not in declared
    ]


def coverage(s: Snapshot) -> Sequence[Finding] | None:
    found = noticed(s)
    if found is None:
        return None
    allows = s.standing is not None and s.standing.uncovered == "allow"
    level = hint if allows else wrong
    mend = "declare an AIQuota with a limit in tokens or cost that selects it: kubectl explain aiq.spec"
    enforced = {each.name for each in s.namespaces or ()}
    uncovered = (each for each in found if each.reason in UNCOVERED and each.namespace in enforced)
    return [level(each.object, each.message, mend) for each in uncovered]


# --- pods ----------------------------------------------------------------------------------------------------------


def sidecars(s: Snapshot) -> Sequence[Finding] | None:
    """One finding for all pods of the same owner."""
    if s.pods is None:
        return None
    bare = [pod for pod in s.pods if not pod.injected]
    groups = dict.fromkeys((pod.namespace, pod.owner or pod.name, pod.opted_out) for pod in bare)
    return [
        _bare(s, [pod for pod in bare if (pod.namespace, pod.owner or pod.name, pod.opted_out) == group])
        for group in groups
    ]


def _bare(s: Snapshot, pods: Sequence[PodFacts]) -> Finding:
    first = pods[0]
    whose = f"{first.owner} ({len(pods)} pods)" if first.owner else f"pod {first.name}"
    subject = f"{whose} in namespace {first.namespace}"
    if first.opted_out:
        mend = f"if that is not meant, remove {INJECT} from it, and from the namespace: " + s.kubectl(
            f"label namespace {first.namespace} {ALLOW_UNINJECTED}-"
        )
        return hint(subject, "it asked for no sidecar: its calls do not go through Tollway", mend)
    said = "it has no sidecar: it started before its namespace was enforced, and its calls do not go through Tollway"
    return wrong(subject, said, _start_again(s, first))


def _start_again(s: Snapshot, pod: PodFacts) -> str:
    if pod.owner.partition("/")[0] in _RESTARTED:
        return s.kubectl(f"rollout restart {pod.owner}", pod.namespace)
    delete = s.kubectl(f"delete pod {pod.name}", pod.namespace)
    return delete if pod.owner else f"{delete}, and create it again"


def nodes(s: Snapshot) -> Sequence[Finding] | None:
    if s.pods is None:
        return None
    crowds = Counter(pod.node for pod in s.pods if pod.injected and pod.node)
    return [
        hint(
            f"node {node}",
            f"{count} injected pods run there; each sidecar's Envoy takes five or six inotify instances of user 65532, "
            "who has 128 on many nodes: an Envoy that gets none does not start",
            "on the node: sysctl -w fs.inotify.max_user_instances=1024",
        )
        for node, count in sorted(crowds.items())
        if count > MOST_ON_A_NODE
    ]


def egress(s: Snapshot) -> Sequence[Finding] | None:
    if s.namespaces is None:
        return None
    return list(_egress(s))


def _egress(s: Snapshot) -> Iterator[Finding]:
    for each in s.namespaces or ():
        subject = f"namespace {each.name}"
        if not each.is_strict:
            said = "its egress is open: with a key of its own a pod can call a provider directly"
            yield hint(subject, said, s.kubectl(f"label namespace {each.name} {EGRESS_LABEL}={STRICT}"))
        elif s.closed is not None and each.name not in s.closed:
            said = f"its egress is to be strict, and the NetworkPolicy {EGRESS} that makes it so is not there"
            yield wrong(subject, said, s.ours(f"logs deployment/{OPERATOR}"))
