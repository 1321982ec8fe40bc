"""Checks of the resources: what their status says, and what follows from all of them together."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from tollway.resources.models import ENFORCE_LABEL, ENFORCED, Meta, Namespace, ResourceSet
from tollway.resources.notices import Notice, notices
from tollway_cli.doctor.configuration import OPEN_TO_ALL, PROVIDER_MISTAKES, QUOTA_MISTAKES
from tollway_cli.doctor.findings import Finding, Level, hint, wrong
from tollway_cli.doctor.in_cluster.snapshot import Snapshot
from tollway_cli.views.wording import local_time
from tollway_operator.names import LEASE as OPERATOR
from tollway_operator.watching.facts import AgentFact, ProviderFact, QuotaFact, moment

ResourceFact: TypeAlias = AgentFact | ProviderFact | QuotaFact
SEEN_WITHIN_MS: Final = 60_000
"""So long the operator may take to say something of a new object."""
SOON_MS: Final = 10 * 60_000
LATE_MS: Final = 5 * 60_000
"""A renewal that is so late has failed a few times."""
_SHORT: Final = {"AgentIdentity": "aid", "AIProvider": "aip", "AIQuota": "aiq"}
_MEANT: Final = frozenset({"Suspended", "Shadow", "NoPods", "NotAsked"})
"""Why something is False that somebody meant, or that passes by itself."""
_BAD_THOUGH_TRUE: Final[Mapping[str, Level]] = {
    "Overlaps": Level.HINT,
    "RenewalFailing": Level.HINT,
    "RenewalOverdue": Level.WRONG,
    "SelectsNobody": Level.HINT,
}
_BAD_WHEN_FALSE: Final = frozenset({"Accepted", "Issued", "Ready", "CredentialReady", "Programmed", "Enforced"})


def providers(s: Snapshot) -> Sequence[Finding] | None:
    if s.providers is None:
        return None
    return [*_statuses(s, "AIProvider", s.providers), *_noticed(s, PROVIDER_MISTAKES, wrong)]


def providers_open_to_all(s: Snapshot) -> Sequence[Finding] | None:
    if s.providers is None:
        return None
    return list(_noticed(s, OPEN_TO_ALL, hint))


def identities(s: Snapshot) -> Sequence[Finding] | None:
    return None if s.agents is None else list(_statuses(s, "AgentIdentity", s.agents))


def quotas(s: Snapshot) -> Sequence[Finding] | None:
    if s.quotas is None:
        return None
    return [*_statuses(s, "AIQuota", s.quotas), *_noticed(s, QUOTA_MISTAKES - {"SelectsNobody"}, wrong)]


def limits(s: Snapshot) -> Sequence[Finding] | None:
    """Spent ones, as status says; agents whose calls were refused for it are named among the refusals."""
    if s.quotas is None:
        return None
    spent = ((fact, each) for fact in s.quotas for each in conditions(fact) if each["type"] == "Exceeded")
    return [
        hint(_name("AIQuota", fact), _text(each, "message"), f"raise the limit, or wait: {s.tollway('limits')}")
        for fact, each in spent
        if each.get("status") == "True"
    ]


# --- conditions ----------------------------------------------------------------------------------------------------


def conditions(fact: ResourceFact) -> Sequence[Mapping[str, Any]]:
    return list(fact.status.get("conditions") or ())


def _statuses(s: Snapshot, kind: str, facts: Iterable[ResourceFact]) -> Iterator[Finding]:
    for fact in facts:
        told: set[str] = set()
        if not _is_seen(fact) and s.now - fact.me.created > SEEN_WITHIN_MS:
            said = "its status is not of what it says now: the operator has not looked at it"
            yield wrong(_name(kind, fact), said, s.ours(f"logs deployment/{OPERATOR}"))
        for each in conditions(fact):
            level, reason = _level(each), _text(each, "reason")
            # One trouble is in several conditions; the first says it best.
            if level is not None and reason not in told:
                told.add(reason)
                said = f"{each['type']} is {each['status']} ({reason}): {_text(each, 'message')}"
                yield Finding(level, _name(kind, fact), said, _mend(s, kind, fact, reason))


def _is_seen(fact: ResourceFact) -> bool:
    return int(fact.status.get("observedGeneration") or 0) >= fact.me.generation


def _level(condition: Mapping[str, Any]) -> Level | None:
    reason = _text(condition, "reason")
    match condition.get("status"):
        case "False" if condition["type"] in _BAD_WHEN_FALSE:
            return Level.HINT if reason in _MEANT else Level.WRONG
        case "Unknown" if reason in {"NotReported", "GatewaySilent"} and condition["type"] != "Exceeded":
            return Level.WRONG
        case "True":
            return _BAD_THOUGH_TRUE.get(reason)
    return None


def _mend(s: Snapshot, kind: str, fact: ResourceFact, reason: str) -> str:
    return _MENDS.get(reason, _describe)(s, kind, fact)


def _describe(s: Snapshot, kind: str, fact: ResourceFact) -> str:
    return s.kubectl(f"edit {_SHORT[kind]} {fact.me.name}", fact.me.namespace)


def _give_key(s: Snapshot, _: str, fact: ResourceFact) -> str:
    provider = fact.provider if isinstance(fact, ProviderFact) else None
    reference = provider.credential if provider is not None else None
    name, key = (reference.name, reference.key) if reference is not None else ("NAME", "KEY")
    return s.ours(f"create secret generic {name} --from-file={key}=FILE")


def _enforce(s: Snapshot, _: str, fact: ResourceFact) -> str:
    return s.kubectl(f"label namespace {fact.me.namespace} {ENFORCE_LABEL}={ENFORCED}")


def _list_namespace(s: Snapshot, _: str, fact: ResourceFact) -> str:
    return f"add {fact.me.namespace} to the list: " + s.helm(f"'secretNamespaces={{{fact.me.namespace},…}}'")


def _lift(s: Snapshot, kind: str, fact: ResourceFact) -> str:
    change = """--type=merge -p '{"spec":{"suspended":false}}'"""
    return s.kubectl(f"patch {_SHORT[kind]} {fact.me.name} {change}", fact.me.namespace)


def _start_again(s: Snapshot, _: str, fact: ResourceFact) -> str:
    return f"start its pods again: {s.kubectl('rollout restart deployment', fact.me.namespace)}"


def _ask_operator(s: Snapshot, _kind: str, _fact: ResourceFact) -> str:
    return s.ours(f"logs deployment/{OPERATOR}")


_MENDS: Final[Mapping[str, Callable[[Snapshot, str, ResourceFact], str]]] = {
    "CredentialMissing": _give_key,
    "NotServed": _give_key,
    "NamespaceNotEnforced": _enforce,
    "NamespaceNotListed": _list_namespace,
    "Suspended": _lift,
    "NotAsked": _start_again,
    "RenewalOverdue": _ask_operator,
    "RenewalFailing": _ask_operator,
    "IssueFailed": _ask_operator,
    "AuthorityFailed": _ask_operator,
    "NotReported": _ask_operator,
    "GatewaySilent": _ask_operator,
    "Pending": _ask_operator,
}


# --- certificates --------------------------------------------------------------------------------------------------


def certificates(s: Snapshot) -> Sequence[Finding] | None:
    if s.agents is None:
        return None
    return [found for fact in s.agents if (found := _certificate(s, fact)) is not None]


def _certificate(s: Snapshot, fact: AgentFact) -> Finding | None:
    svid: Mapping[str, Any] = fact.status.get("svid") or {}
    pods: Mapping[str, Any] = fact.status.get("pods") or {}
    ends, renews = moment(svid.get("notAfter")), moment(svid.get("renewAfter"))
    if ends is None or not pods.get("matched"):
        return None
    subject, look = f"the SVID of {fact.me.namespace}/{fact.me.name}", s.ours(f"logs deployment/{OPERATOR}")
    if ends <= s.now:
        said = f"it ended {local_time(ends)}: calls are refused (identity.expired)"
        return wrong(subject, said, f"{look}; then {_start_again(s, '', fact)}")
    if ends - s.now < SOON_MS or (renews is not None and s.now - renews > LATE_MS):
        return hint(subject, f"it ends {local_time(ends)} and was not renewed yet", look)
    return None


# --- what follows from all resources together ----------------------------------------------------------------------


def noticed(s: Snapshot) -> tuple[Notice, ...] | None:
    """As on one machine. Nothing follows of Secrets, which are not looked at; the operator says what they lack."""
    if s.agents is None or s.providers is None or s.quotas is None or s.namespaces is None:
        return None
    return notices(
        ResourceSet(
            agents=tuple(fact.declared.identity for fact in s.agents if fact.declared is not None),
            providers=tuple(fact.provider for fact in s.providers if fact.provider is not None),
            quotas=tuple(fact.quota for fact in s.quotas if fact.quota is not None),
            namespaces=tuple(Namespace(Meta(each.name, labels=each.labels)) for each in s.namespaces),
        )
    )


def _noticed(s: Snapshot, reasons: frozenset[str], level: Callable[[str, str, str], Finding]) -> Iterator[Finding]:
    for notice in noticed(s) or ():
        if notice.reason in reasons:
            edit = s.kubectl(f"edit {_SHORT[notice.kind]} {notice.name}", notice.namespace)
            yield level(notice.object, notice.message, edit)


def _name(kind: str, fact: ResourceFact) -> str:
    return f"{kind} {fact.me.namespace}/{fact.me.name}" if fact.me.namespace else f"{kind} {fact.me.name}"


def _text(condition: Mapping[str, Any], key: str) -> str:
    return str(condition.get(key) or "")
