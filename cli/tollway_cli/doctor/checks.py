"""All checks, in order: what everything else stands on comes first. The list is the specification. Pure."""

from collections.abc import Callable, Sequence
from typing import Final

from tollway_cli.doctor import books, configuration, installation, trust
from tollway_cli.doctor.findings import Checked, Finding, checked
from tollway_cli.doctor.snapshot import Snapshot

Check = Callable[[Snapshot], Sequence[Finding] | None]
"""What is wrong; None where what it looks at could not be seen."""

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("instance running", installation.running),
    ("state directory", installation.state_directory),
    ("disk space", installation.disk_space),
    ("file watches", installation.file_watches),
    ("programs", installation.programs),
    ("processes", installation.processes),
    ("sockets", installation.sockets),
    ("configuration files", configuration.files),
    ("configuration in force", configuration.in_force),
    ("Envoy updates", configuration.envoy_updates),
    ("clock", books.clock),
    ("certificate authority", trust.authority),
    ("SVIDs", trust.svids),
    ("provider credentials", configuration.credentials),
    ("provider settings", configuration.provider_settings),
    ("provider endpoints", trust.endpoints),
    ("providers open to all", configuration.providers_open_to_all),
    ("prices", books.prices),
    ("agents covered", configuration.coverage),
    ("agents suspended", configuration.suspended),
    ("quotas", configuration.quotas),
    ("limits", configuration.limits),
    ("refusals", configuration.refusals),
    ("ledger", books.ledger),
    ("holds", books.holds),
    ("settlements", books.settlements),
    ("access log", books.access_log),
    ("other notices", configuration.other_notices),
)


def diagnose(s: Snapshot) -> tuple[Checked, ...]:
    """What each check says, in order."""
    return tuple(checked(name, check(s)) for name, check in CHECKS)
