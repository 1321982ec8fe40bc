"""Looks at one installation, and makes a snapshot of it. What one look cannot see, the others go on without."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tollway.pricing.data import default_book
from tollway.resources.models import AIProvider, ResourceSet, RuleFile
from tollway.resources.notices import Notice, notices
from tollway.resources.parse import parse_files
from tollway_cli.doctor import asking, reaching, seeing
from tollway_cli.doctor.snapshot import ConfigFacts, EnvoyFacts, Snapshot, Standing, WorkerFacts
from tollway_cli.failures import CommandFailed
from tollway_cli.standalone.config_files import read_directory
from tollway_cli.standalone.envoys import upstream_ca_file
from tollway_cli.standalone.given_secrets import GivenSecret, with_secrets
from tollway_cli.standalone.self_report import SelfReport, read_report
from tollway_cli.standalone.state import StateDirectory, recall
from tollway_cli.views.instance import Admin, find

_LOOKS: Final = 4
_BETWEEN: Final = 0.4
"""Seconds: a change of the files is in force within one."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Which installation, and how far to look. `config`: where its resources are, if not where it says."""

    state: Path
    state_option: str
    config: Path | None = None
    offline: bool = False
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class _Changing:
    """What is seen anew while a change comes into force."""

    config: ConfigFacts | None
    parsed: ResourceSet | None
    published: RuleFile | None
    standing: Standing | None
    envoys: tuple[EnvoyFacts, ...]
    other_workers: tuple[WorkerFacts, ...]

    @property
    def is_settled(self) -> bool:
        wanted = self.config.resources if self.config is not None else None
        given = self.published.resources if self.published is not None else None
        generation = self.published.generation if self.published is not None else None
        return (
            (wanted is None or wanted == given)
            and (self.standing is None or self.standing.generation == generation)
            and all(worker.generation in (None, generation) for worker in self.other_workers)
            and all(envoy.runs_its_files for envoy in self.envoys)
        )


def gather(subject: Subject, clock: Callable[[], int]) -> Snapshot:
    """Raises `Broken` where nothing can be looked at."""
    state = StateDirectory.at(subject.state)
    report = read_report(state.root)
    agents = _agents(state)
    ledger, workers = (Path(report.ledger), report.workers) if report is not None else (state.ledger, 1)
    state_facts = seeing.state_facts(state, ledger, agents, workers)
    admin = Admin(f"unix://{state.socket('admin')}") if state_facts.is_held else None
    seen = _settled(lambda: _changing(subject, state, report, admin, agents, clock))
    found = Snapshot(
        clock(),
        state_facts,
        seeing.programs(),
        seeing.prices(default_book(), None, clock()),
        subject.state_option,
        report,
        _live(report),
        seen.config,
        seen.published.generation if seen.published is not None else None,
        seen.published.resources if seen.published is not None else None,
        _notices(seen, report, state),
        seen.standing,
        seen.envoys,
        seeing.authority(state),
        seeing.svids(state, agents),
        other_workers=seen.other_workers,
    )
    return _with_resources(_with_books(found, state, admin), subject)


def _agents(state: StateDirectory) -> Sequence[str]:
    """The agents that have a sidecar."""
    with contextlib.suppress(CommandFailed):
        return sorted(find(state.root).agents)
    return ()


def _live(report: SelfReport | None) -> frozenset[str]:
    processes = report.processes if report is not None else ()
    return frozenset(each.name for each in processes if each.pid is not None and seeing.is_alive(each.pid))


def _settled(look: Callable[[], _Changing]) -> _Changing:
    """What is seen once a change that is on its way has come into force, if it does."""
    seen = look()
    for _ in range(_LOOKS):
        if seen.is_settled:
            break
        time.sleep(_BETWEEN)
        seen = look()
    return seen


def _changing(
    subject: Subject,
    state: StateDirectory,
    report: SelfReport | None,
    admin: Admin | None,
    agents: Sequence[str],
    clock: Callable[[], int],
) -> _Changing:
    config, parsed = _config(subject, report)
    return _Changing(
        config,
        parsed,
        seeing.published(state) if admin is not None else None,
        asking.standing(admin, clock) if admin is not None else None,
        asking.envoys(state, agents) if admin is not None else (),
        asking.other_workers(state, report.workers) if admin is not None and report is not None else (),
    )


def _config(subject: Subject, report: SelfReport | None) -> tuple[ConfigFacts | None, ResourceSet | None]:
    """The directory as it may be shown, and what is in it, with Secrets."""
    directory = subject.config or (Path(report.config) if report is not None else None)
    if directory is None:
        return None, None
    ready_file = report.ready_file if report is not None else ""
    files, unreadable = read_directory(directory, {Path(ready_file)} if ready_file else ())
    parsed = parse_files(files)
    if problems := (*unreadable, *(() if unreadable else parsed.problems)):
        return ConfigFacts(str(directory), tuple(map(str, problems))), None
    return ConfigFacts(str(directory), (), replace(parsed.resources, secrets=())), parsed.resources


def _notices(seen: _Changing, report: SelfReport | None, state: StateDirectory) -> tuple[Notice, ...] | None:
    """About what is in force, or would be. Where only that it is there is known of a key, something stands for it."""
    if seen.parsed is not None:
        given = (secret.split("/", 1) for secret in (report.given_secrets if report is not None else ()))
        return notices(with_secrets(seen.parsed, [GivenSecret(name, key, b"given") for name, key in given]))
    if seen.published is not None:
        resources = seen.published.resources
        with_key = [each for each in resources.providers if seeing.has_credential(state, each)]
        return notices(with_secrets(resources, filter(None, map(_stand_in, with_key))))
    return None


def _stand_in(provider: AIProvider) -> GivenSecret | None:
    reference = provider.credential
    return GivenSecret(reference.name, reference.key, b"given") if reference is not None else None


def _with_books(found: Snapshot, state: StateDirectory, admin: Admin | None) -> Snapshot:
    if admin is None or found.standing is None:
        return found
    port = recall(state).ports.get("metrics")
    at_ceiling, over = asking.settlements(port) if port is not None else (None, None)
    return replace(
        found,
        counters=asking.counters(admin),
        mismatches=asking.mismatches(admin),
        settled_at_ceiling=at_ceiling,
        over_ceiling=over,
    )


def _with_resources(found: Snapshot, subject: Subject) -> Snapshot:
    """What follows from the resources: prices, and whether the providers can be reached."""
    found = replace(found, prices=seeing.prices(default_book(), found.resources, found.now))
    if subject.offline or found.resources is None:
        return found
    ca_file = found.report.upstream_ca if found.report is not None else upstream_ca_file(subject.environ)
    return replace(found, endpoints=reaching.try_all(found.resources.providers, ca_file))
