"""Status is written only where it differs from what is there; for what changed there is an Event for people."""

from collections.abc import Sequence

from tollway.resources.status import Condition, Truth, changed, merged
from tollway_operator.cluster.kinds import Kind
from tollway_operator.reconciling.actions import Action, Say, WriteStatus
from tollway_operator.reconciling.reporting import Report
from tollway_operator.watching.facts import AgentFact, ProviderFact, QuotaFact

_TELLING = frozenset({"Accepted", "Issued", "CredentialReady", "Programmed", "Exceeded"})
"""Conditions whose changes become Events; the others follow from them."""
_BAD_WHEN_TRUE = frozenset({"Exceeded"})
_WAITING = frozenset({"NoPods", "NotAsked"})
"""Nothing is wrong, and nothing happened."""
_QUIET_AT_FIRST = frozenset({"Accepted", "Programmed", "Exceeded"})
"""That these are well with a new object is no news."""


def status_actions(
    kind: Kind,
    fact: AgentFact | ProviderFact | QuotaFact,
    fields: dict[str, object],
    conditions: Sequence[Condition],
    now: int,
) -> tuple[Action, ...]:
    """The Events first: an operator that dies between the two says them again, and they are the same Events."""
    before = fact.status.get("conditions")
    written = list(merged(conditions, before, fact.me.generation, now))
    status = {**fields, "observedGeneration": fact.me.generation, "conditions": written}
    if status == fact.status:
        return ()
    events = [_event(kind, fact, each) for each in changed(conditions, before) if _is_news(each, before)]
    return (*events, WriteStatus(kind, fact.me, status))


def kept_or(condition: Condition, fact: AgentFact | ProviderFact | QuotaFact) -> Condition:
    """What status says of this generation, or, where it says nothing, `condition`.

    For what somebody else knows who was not asked yet: an operator that has just started has no reason to doubt what
    the one before it wrote.
    """
    before = fact.status.get("conditions") or ()
    for each in before:
        if each.get("type") == condition.type and each.get("observedGeneration") == fact.me.generation:
            return Condition(condition.type, Truth(each["status"]), each["reason"], each["message"])
    return condition


def silence(report: Report) -> str:
    """What to do about replicas of the gateway that say nothing."""
    if report.providers is None:
        return "the gateway does not answer the operator: see the operator's log and the gateway's pods"
    return f"{report.silent} of the gateway's replicas do not answer the operator: see its log and the gateway's pods"


def _is_news(condition: Condition, before: object) -> bool:
    if condition.type not in _TELLING or condition.status is Truth.UNKNOWN or condition.reason in _WAITING:
        return False
    return _is_bad(condition) or bool(before) or condition.type not in _QUIET_AT_FIRST


def _is_bad(condition: Condition) -> bool:
    return (condition.status is Truth.TRUE) == (condition.type in _BAD_WHEN_TRUE)


def _event(kind: Kind, fact: AgentFact | ProviderFact | QuotaFact, condition: Condition) -> Say:
    kind_of_event = "Warning" if _is_bad(condition) else "Normal"
    return Say(kind, fact.me, kind_of_event, condition.reason, condition.message)
