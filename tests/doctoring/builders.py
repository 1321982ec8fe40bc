"""A healthy installation, to be made ill in one place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec.structs import replace as replaced

from tollway.ledger.units import LIFETIME, Unit
from tollway.resources.models import (
    AgentIdentity,
    AIProvider,
    AIQuota,
    Endpoint,
    Limit,
    Meta,
    ProviderType,
    ResourceSet,
    SecretKeyRef,
    Selector,
)
from tollway.resources.notices import Notice
from tollway_cli.doctor.snapshot import (
    CertificateFacts,
    ConfigFacts,
    EndpointFacts,
    EnvoyFacts,
    Prices,
    Programs,
    Snapshot,
    Standing,
    StateFacts,
)
from tollway_cli.standalone.self_report import ProcessReport, SelfReport
from tollway_cli.views.answers import CounterView

NOW = 1_795_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR
PID = 4711
ROOT = Path("/state")

RESOURCES = ResourceSet(
    agents=(AgentIdentity(Meta("researcher", "team-a"), Selector({"app": "researcher"})),),
    providers=(
        AIProvider(
            Meta("openai"),
            ProviderType.OPENAI,
            Endpoint(tls=True, host="api.example.com", port=443),
            credential=SecretKeyRef("openai-key", "api-key"),
        ),
    ),
    quotas=(AIQuota(Meta("research", "team-a"), (Limit("budget", Unit.COST, 5_000_000_000, LIFETIME),)),),
)
PROCESSES = tuple(ProcessReport(name, 5000, f"/state/{name}.log") for name in ("extauthz", "gateway"))
REPORT = SelfReport(
    version="1.0",
    pid=PID,
    started_at=NOW - HOUR,
    config="/config",
    ledger="/state/ledger.sqlite",
    uncovered="deny",
    envoy="/envoy",
    upstream_ca="/ca.pem",
    generation=7,
    given_secrets=("openai-key/api-key",),
    processes=PROCESSES,
)
STATE = StateFacts(
    ROOT,
    holder=PID,
    sockets={"/state/run/admin.sock": 0o600},
    free_bytes={"/state": 100 << 30},
)
STANDING = Standing(7, NOW, NOW, NOW - 1000, NOW + 60_000, 0, NOW - 60_000)
BUDGET = CounterView(
    namespace="team-a",
    quota="research",
    limit="budget",
    unit="cost",
    amount=5_000_000_000,
    used=1_000_000_000,
    held=0,
    remaining=4_000_000_000,
)
HEALTHY = Snapshot(
    NOW,
    STATE,
    Programs("1.0", (3, 11), "/envoy", "1.40.0"),
    Prices("2026-11-10"),
    " --state /state",
    REPORT,
    frozenset({"extauthz", "gateway"}),
    ConfigFacts("/config", (), RESOURCES),
    7,
    RESOURCES,
    (),
    STANDING,
    (EnvoyFacts("gateway", version="1.40.0"), EnvoyFacts("team-a/researcher", version="1.40.0")),
    (
        CertificateFacts("root", "/state/authority/authority.json", NOW - DAY, NOW + 3650 * DAY),
        CertificateFacts("active signing CA", "/state/authority/authority.json", NOW - HOUR, NOW + 20 * HOUR),
    ),
    (
        CertificateFacts("gateway", "/state/gateway/identity/tls.crt", NOW - HOUR // 10, NOW + HOUR),
        CertificateFacts("team-a/researcher", "/state/agents/x/identity/tls.crt", NOW - HOUR // 10, NOW + HOUR),
    ),
    (EndpointFacts("openai", "api.example.com:443"),),
    (BUDGET,),
    0,
    0,
    0,
)


def ill(**changed: Any) -> Snapshot:
    return replace(HEALTHY, **changed)


def state(**changed: Any) -> Snapshot:
    return ill(state=replace(STATE, **changed))


def stopped(**changed: Any) -> Snapshot:
    """Not running: nothing answers, nothing is in force."""
    gone = {"standing": None, "envoys": (), "counters": None, "mismatches": None, "published": None}
    unknown = {"settled_at_ceiling": None, "over_ceiling": None, "live_processes": frozenset()}
    at_rest = replace(STATE, is_held=False, holder=None, has_ready_file=False, sockets={})
    return ill(**({"state": at_rest} | gone | unknown | changed))


def report(**changed: Any) -> Snapshot:
    return ill(report=replaced(REPORT, **changed))


def standing(**changed: Any) -> Snapshot:
    return ill(standing=replace(STANDING, **changed))


def programs(**changed: Any) -> Snapshot:
    return ill(programs=replace(HEALTHY.programs, **changed))


def gateway(**changed: Any) -> Snapshot:
    return ill(envoys=(replace(HEALTHY.envoys[0], **changed), HEALTHY.envoys[1]))


def process(**changed: Any) -> Snapshot:
    """The gateway's process."""
    return report(processes=(PROCESSES[0], replaced(PROCESSES[1], **changed)))


def svid(not_before: int | None, not_after: int | None) -> Snapshot:
    (own, agents) = HEALTHY.svids or ()
    return ill(svids=(own, replace(agents, not_before=not_before, not_after=not_after)))


def ca(name: str, not_before: int | None, not_after: int | None) -> Snapshot:
    return ill(authority=(CertificateFacts(name, "/state/authority/authority.json", not_before, not_after),))


def endpoint(failed_at: str, error: str) -> Snapshot:
    return ill(endpoints=(EndpointFacts("openai", "api.example.com:443", failed_at, error),))


def notice(reason: str, kind: str = "AIProvider", namespace: str = "", name: str = "openai") -> Snapshot:
    return ill(notices=(Notice(kind, namespace, name, reason, "a sentence"),))


def counter(**changed: Any) -> Snapshot:
    return ill(counters=(replaced(BUDGET, **({"remaining": 0} | changed)),))
