"""Checks of the resources: are the files sound, are they in force everywhere, and do they say what somebody meant?"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from tollway.resources.models import AIQuota, Mode
from tollway.resources.notices import Notice
from tollway_cli.doctor.findings import Finding, hint, wrong
from tollway_cli.doctor.snapshot import RefusalFacts, Snapshot
from tollway_cli.views.answers import CounterView
from tollway_cli.views.wording import amount, local_time, short_agent

UNCOVERED: Final = frozenset({"Uncovered"})
CREDENTIALS: Final = frozenset({"CredentialMissing", "CredentialMalformed"})
OPEN_TO_ALL: Final = frozenset({"OpenToAll"})
PROVIDER_MISTAKES: Final = frozenset({"TypeNotServed", "EndpointPath", "SeveralDefaults"})
QUOTA_MISTAKES: Final = frozenset({"SelectsNobody", "ProviderUnknown"})
ELSEWHERE: Final = UNCOVERED | CREDENTIALS | OPEN_TO_ALL | PROVIDER_MISTAKES | QUOTA_MISTAKES
"""Reasons that have a check of their own."""
OURS_TO_MEND: Final = ("tollway.", "ledger.", "identity.", "quota.none", "model.unpriced")
"""Refusals that no agent can do anything about, by how their reasons begin. And budgets that are spent."""
TOO_LITTLE: Final = 200
"""This part of a limit is as good as nothing."""
_UNITS_OF_ANSWERS: Final = frozenset({"cost", "tokens", "inputTokens", "outputTokens"})
_SOON_MS: Final = 60_000


def files(s: Snapshot) -> Sequence[Finding] | None:
    if s.config is None:
        return None
    kept = "; what was in force before stays in force" if s.is_running else ""
    mend = "mend the file: it is read again at once" if s.is_running else f"mend the file, then: {s.start}"
    return [wrong(s.config.directory, f"{problem}{kept}", mend) for problem in s.config.problems]


def in_force(s: Snapshot) -> Sequence[Finding] | None:
    if not s.is_running or s.published is None:
        return None
    return list(_in_force(s))


def _in_force(s: Snapshot) -> Iterator[Finding]:
    if s.report is not None and s.report.not_in_force:
        yield wrong(
            "the last change", f"it is not in force: {s.report.not_in_force}", f"mend the files, or: {s.reload}"
        )
    elif s.config is not None and s.config.resources is not None and s.config.resources != s.published:
        yield wrong(s.config.directory, "the files differ from what is in force", s.reload)
    if s.standing is not None and s.standing.generation != s.published_generation:
        said = f"it runs generation {s.standing.generation} of the rules, {s.published_generation} was given to it"
        yield wrong("extauthz", said, s.restart)
    for worker in s.other_workers:
        if worker.generation not in (None, s.published_generation):
            said = f"it runs generation {worker.generation} of the rules, {s.published_generation} was given to it"
            yield wrong(worker.name, said, s.restart)
    for envoy in s.envoys:
        if envoy.answers and not envoy.runs_its_files:
            yield wrong(f"the Envoy of {envoy.name}", "it does not run the files that it was given", s.restart)


def envoy_updates(s: Snapshot) -> Sequence[Finding] | None:
    if not s.envoys:
        return None
    found = []
    for envoy in s.envoys:
        counted = ", ".join(f"{name} {count}" for name, count in sorted(envoy.refusals.items()))
        said = f"it refused updates of its configuration ({counted})"
        if counted and not envoy.runs_its_files:
            found.append(wrong(f"the Envoy of {envoy.name}", said, s.restart))
        elif counted:
            found.append(hint(f"the Envoy of {envoy.name}", f"{said}, and runs the right one now", "nothing to do"))
    return found


def credentials(s: Snapshot) -> Sequence[Finding] | None:
    return _of_notices(s, CREDENTIALS, wrong, lambda notice: _give_key(notice, s))


def _give_key(notice: Notice, s: Snapshot) -> str:
    providers = s.resources.providers if s.resources is not None else ()
    reference = next((each.credential for each in providers if each.meta.name == notice.name), None)
    where = f"{reference.name}/{reference.key}" if reference is not None else "NAME/KEY"
    return f"start with the key in a variable: {s.start} --secret {where}=env:VARIABLE"


def provider_settings(s: Snapshot) -> Sequence[Finding] | None:
    return _of_notices(s, PROVIDER_MISTAKES, wrong, lambda notice: f"change the {notice.object}")


def providers_open_to_all(s: Snapshot) -> Sequence[Finding] | None:
    mend = "name the namespaces under spec.namespaces, if that is not meant"
    return _of_notices(s, OPEN_TO_ALL, hint, lambda _: mend)


def coverage(s: Snapshot) -> Sequence[Finding] | None:
    allows = s.report is not None and s.report.uncovered == "allow"
    level = hint if allows else wrong
    mend = "declare an AIQuota with a limit in tokens or cost that selects it"
    return _of_notices(s, UNCOVERED, level, lambda _: mend)


def quotas(s: Snapshot) -> Sequence[Finding] | None:
    return _of_notices(s, QUOTA_MISTAKES, wrong, lambda notice: f"change the {notice.object}")


def other_notices(s: Snapshot) -> Sequence[Finding] | None:
    if s.notices is None:
        return None
    reasons = {notice.reason for notice in s.notices} - ELSEWHERE
    return _of_notices(s, reasons, hint, lambda notice: f"change the {notice.object}, if that is not meant")


def _of_notices(
    s: Snapshot, reasons: Collection[str], level: Callable[[str, str, str], Finding], mend: Callable[[Notice], str]
) -> Sequence[Finding] | None:
    if s.notices is None:
        return None
    return [level(each.object, each.message, mend(each)) for each in s.notices if each.reason in reasons]


def suspended(s: Snapshot) -> Sequence[Finding] | None:
    if s.resources is None:
        return None
    return [
        hint(
            f"AgentIdentity {agent.meta.namespace}/{agent.meta.name}",
            "it is suspended: all of its calls are refused",
            "set spec.suspended to false to let it call again",
        )
        for agent in s.resources.agents
        if agent.suspended
    ]


def refusals(s: Snapshot) -> Sequence[Finding] | None:
    """What was refused lately: an operator's fault first, then what agents do that they may not."""
    if s.standing is None:
        return None
    return [refused_lately(each, s.tollway) for each in s.standing.refusals]


def refused_lately(refused: RefusalFacts, tollway: Callable[[str], str]) -> Finding:
    """`tollway` writes another command on the same installation."""
    who = short_agent(refused.agent) or "a caller without an identity"
    times = "once" if refused.count == 1 else f"{refused.count} times"
    level = wrong if refused.reason.endswith(".spent") or refused.reason.startswith(OURS_TO_MEND) else hint
    mend = tollway("limits") if refused.reason.startswith("quota.") else f"{tollway('ledger')}, then tollway explain"
    return level(who, f"it was refused {times} within ten minutes: {refused.reason}", f"see why: {mend}")


def limits(s: Snapshot) -> Sequence[Finding] | None:
    if s.counters is None:
        return None
    quotas = s.resources.quotas if s.resources is not None else ()
    modes = {(quota.meta.namespace, quota.meta.name): quota for quota in quotas}
    return [
        _exhausted(counter, modes.get((counter.namespace, counter.quota)), s)
        for counter in s.counters
        if _is_spent(counter)
    ]


def _is_spent(counter: CounterView) -> bool:
    """A budget is never spent to the last token: what is left is too little for an answer worth having."""
    too_little = counter.amount // TOO_LITTLE if counter.unit in _UNITS_OF_ANSWERS else 0
    return counter.remaining <= too_little


def _exhausted(counter: CounterView, quota: AIQuota | None, s: Snapshot) -> Finding:
    per = "".join(f" {key}={value}" for key, value in sorted(counter.per.items()))
    subject = f"AIQuota {counter.namespace}/{counter.quota}, limit {counter.limit}{per}"
    until = f" until {local_time(counter.resets_at)}" if counter.resets_at is not None else ""
    left = f" but for {amount(counter.remaining, counter.unit)}" if counter.remaining > 0 else ""
    said = f"its {amount(counter.amount, counter.unit)} ({counter.unit}) are spent{left}: calls are refused{until}"
    spender = s.tollway("ledger")
    if quota is not None and quota.mode is Mode.SHADOW:
        return hint(subject, f"{said}, if it were not in Shadow mode", f"see who spent it: {spender}")
    if _ends_by_itself(counter, s.now):
        return hint(subject, f"{said} or calls in flight end", f"see who calls: {s.tollway('top')}")
    return wrong(subject, said, f"raise the limit, or wait; see who spent it: {spender}")


def _ends_by_itself(counter: CounterView, now: int) -> bool:
    """In a moment, without anybody doing anything; a limit of nothing at all is meant."""
    soon = counter.resets_at is not None and counter.resets_at - now <= _SOON_MS
    return counter.unit == "concurrent" or soon or counter.amount == 0 or counter.held > 0
