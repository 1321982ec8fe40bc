"""An installation at one moment, as far as it could be seen: what the checks decide on. Without the value of any key.

None stands for what could not be seen. Times are milliseconds since the epoch.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tollway.resources.models import ResourceSet
from tollway.resources.notices import Notice
from tollway_cli.standalone.self_report import SelfReport
from tollway_cli.views.answers import CounterView


@dataclass(frozen=True, slots=True)
class StateFacts:
    """The state directory. `is_held`: a process holds its lock; `holder` is the one that wrote its id there."""

    root: Path
    exists: bool = True
    mode: int = 0o700
    is_ours: bool = True
    is_held: bool = True
    holder: int | None = None
    holder_lives: bool = True
    real_holders: tuple[int, ...] = ()
    """Who has the lock by the kernel's own list, as far as that is known."""
    has_ready_file: bool = True
    run_link: str = ""
    """Where `run` leads, if it leads nowhere."""
    sockets: Mapping[str, int | None] = field(default_factory=dict)
    """Path of each socket that should be there -> its mode; None: it is not there."""
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    """Directory -> what is free on its disk."""
    can_watch: bool = True
    """An Envoy that starts could watch its files."""


@dataclass(frozen=True, slots=True)
class Programs:
    tollway: str
    python: tuple[int, int]
    envoy: str | None
    """Where it is; None: there is none."""
    envoy_version: str | None


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """The directory of resources as it is now. `resources` are without Secrets; None where anything is wrong."""

    directory: str
    problems: tuple[str, ...] = ()
    resources: ResourceSet | None = None


@dataclass(frozen=True, slots=True)
class EnvoyFacts:
    """One running Envoy; `name` is "gateway" or an agent."""

    name: str
    answers: bool = True
    version: str = ""
    runs_its_files: bool = True
    refusals: Mapping[str, int] = field(default_factory=dict)
    """Counters of refused updates that are not zero."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate; None for what is not there or cannot be read."""

    name: str
    path: str
    not_before: int | None = None
    not_after: int | None = None


@dataclass(frozen=True, slots=True)
class RefusalFacts:
    """How often one agent (a SPIFFE ID) was refused for one reason lately."""

    agent: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What the data plane says of itself. `now` is its clock at the moment `asked_at` of ours."""

    generation: int | None
    now: int
    asked_at: int
    latest: int | None
    first_deadline: int | None
    log_behind: int
    log_written_at: int
    refusals: tuple[RefusalFacts, ...] = ()
    """Within ten minutes."""
    uncovered: str = "deny"
    """What becomes of calls that no limit covers: deny or allow."""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker of the data plane that is not the first. `generation`: of its rules; None where it does not answer."""

    name: str
    generation: int | None


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """One provider's endpoint, tried as Envoy would: name, connection, TLS with verification. Nothing was sent."""

    provider: str
    address: str
    failed_at: str = ""
    """"resolve", "connect" or "tls"; nothing where all is well."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Prices:
    date: str
    """ISO 8601."""
    unpriced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Provider -> lines of its allow-list that no priced model matches."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    now: int
    state: StateFacts
    programs: Programs
    prices: Prices
    state_option: str = ""
    """" --state DIR" where it is not the default one."""
    report: SelfReport | None = None
    live_processes: frozenset[str] = frozenset()
    config: ConfigFacts | None = None
    published_generation: int | None = None
    published: ResourceSet | None = None
    """What the supervisor gave the data plane."""
    notices: tuple[Notice, ...] | None = None
    standing: Standing | None = None
    envoys: tuple[EnvoyFacts, ...] = ()
    authority: tuple[CertificateFacts, ...] | None = None
    svids: tuple[CertificateFacts, ...] | None = None
    endpoints: tuple[EndpointFacts, ...] | None = None
    """None: they were not to be tried."""
    counters: tuple[CounterView, ...] | None = None
    mismatches: int | None = None
    """Buckets that differ from the journal."""
    settled_at_ceiling: int | None = None
    """Calls since the data plane started that were charged at their ceiling."""
    over_ceiling: int | None = None
    other_workers: tuple[WorkerFacts, ...] = ()

    @property
    def is_running(self) -> bool:
        return self.state.is_held

    @property
    def resources(self) -> ResourceSet | None:
        """What is in force; of an instance that does not run, what would be."""
        if self.is_running and self.published is not None:
            return self.published
        return self.config.resources if self.config is not None else None

    @property
    def start(self) -> str:
        """The command that starts it."""
        config = self.config.directory if self.config is not None else ""
        secrets = self.report.given_secrets if self.report is not None else ()
        given = "".join(f" --secret {shlex.quote(secret)}=env:VARIABLE" for secret in secrets)
        return f"tollway up --config {shlex.quote(config) if config else 'DIR'}{self.state_option}{given}"

    @property
    def restart(self) -> str:
        """The command that ends and starts it; where it does not run, that starts it."""
        pid = self.state.holder
        return f"kill {pid}, then: {self.start}" if self.is_running and pid is not None else self.start

    @property
    def reload(self) -> str:
        return f"kill -HUP {self.state.holder}" if self.is_running and self.state.holder is not None else self.start

    def tollway(self, arguments: str) -> str:
        """Another command on this installation."""
        return f"tollway {arguments}{self.state_option}"
