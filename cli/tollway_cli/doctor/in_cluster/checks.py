"""All checks of an installation in a cluster, in order: what everything else stands on comes first. The list is the
specification. Pure."""

from collections.abc import Callable, Sequence
from typing import Final

from tollway_cli.doctor.findings import Checked, Finding, checked
from tollway_cli.doctor.in_cluster import declared, governed, parts, running
from tollway_cli.doctor.in_cluster.snapshot import Snapshot

Check = Callable[[Snapshot], Sequence[Finding] | None]
"""What is wrong; None where what it looks at could not be seen."""

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("your rights", parts.rights),
    ("kinds", parts.kinds),
    ("operator", parts.operator),
    ("Lease of the operator", parts.lease),
    ("injector", parts.injector),
    ("webhook", parts.webhook),
    ("gateway", parts.gateway),
    ("gateway answers", running.answers),
    ("versions", parts.versions),
    ("certificate authority", parts.authority),
    ("change of the root", running.root_change),
    ("providers", declared.providers),
    ("providers open to all", declared.providers_open_to_all),
    ("identities", declared.identities),
    ("certificates", declared.certificates),
    ("quotas", declared.quotas),
    ("limits", declared.limits),
    ("namespaces", governed.namespaces),
    ("agents covered", governed.coverage),
    ("pods without a sidecar", governed.sidecars),
    ("egress", governed.egress),
    ("nodes", governed.nodes),
    ("clock", running.clock),
    ("refusals", running.refusals),
    ("holds", running.holds),
    ("access log", running.access_log),
)


def diagnose(s: Snapshot) -> tuple[Checked, ...]:
    """What each check says, in order."""
    return tuple(checked(name, check(s)) for name, check in CHECKS)
