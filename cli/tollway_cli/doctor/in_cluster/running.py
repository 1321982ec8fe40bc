"""Checks of what the gateway says of itself, and of a change of the root that waits for somebody."""

from collections.abc import Sequence
from typing import Final

from tollway_cli.doctor.books import backlog, overdue_hold, skewed
from tollway_cli.doctor.configuration import refused_lately
from tollway_cli.doctor.findings import Finding, hint, wrong
from tollway_cli.doctor.in_cluster.snapshot import Snapshot
from tollway_operator.names import GATEWAY

_SUBJECT: Final = "the gateway"


def answers(s: Snapshot) -> Sequence[Finding]:
    if s.standing is None:
        look = s.ours("get pods -l app.kubernetes.io/component=gateway")
        return [wrong(_SUBJECT, f"nothing can be asked of it: {s.gateway_silent}", look)]
    if s.standing.generation is None:
        return [wrong(_SUBJECT, "no rules are in force: it refuses every call", s.ours(_logs("keeper")))]
    return []


def root_change(s: Snapshot) -> Sequence[Finding] | None:
    change = s.root_change
    if change is None:
        return None
    if not change.waiting_for:
        return []
    level = wrong if change.late else hint
    named = ", ".join(change.waiting_for[:5]) + (", …" if len(change.waiting_for) > 5 else "")
    said = f"it is {change.phase} and waits for {named}"
    look = s.tollway("root status")
    return [level("the change of the root", said, f"{look}; a pod that stays silent has to be started again")]


def clock(s: Snapshot) -> Sequence[Finding] | None:
    if s.standing is None:
        return None
    skew = skewed(s.standing)
    mend = "set the clock that is wrong: windows begin and end by the gateway's"
    return [hint(_SUBJECT, f"{skew} of this machine's", mend)] if skew else []


def refusals(s: Snapshot) -> Sequence[Finding] | None:
    """What was refused lately: an operator's fault first, then what agents do that they may not."""
    if s.standing is None:
        return None
    return [refused_lately(each, s.tollway) for each in s.standing.refusals]


def holds(s: Snapshot) -> Sequence[Finding] | None:
    if s.standing is None:
        return None
    overdue = overdue_hold(s.standing)
    return [wrong("the ledger", overdue, s.ours(_logs("extauthz")))] if overdue else []


def access_log(s: Snapshot) -> Sequence[Finding] | None:
    if s.standing is None:
        return None
    behind = backlog(s.standing, s.standing.now)
    return [wrong(_SUBJECT, behind, s.ours(_logs("extauthz")))] if behind else []


def _logs(container: str) -> str:
    return f"logs -l app.kubernetes.io/component={GATEWAY.removeprefix('tollway-')} -c {container}"
