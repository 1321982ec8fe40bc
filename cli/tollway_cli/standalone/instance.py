"""One running instance: everything started in order, changes brought into force without a gap, everything ended.

resources ──plan──▶ SVIDs, sidecars          what is new:   Envoy first, then the rules that use it
          ──render─▶ Envoy files             what is gone:  the rules first, then Envoy
          ──────────▶ rules of extauthz
"""

import contextlib
import hashlib
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from tollway.identity.root_change import Observed
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.pricing.data import default_book
from tollway.resources.models import ResourceSet
from tollway_cli.failures import AnswerIsNo, Broken
from tollway_cli.standalone import envoys, watches
from tollway_cli.standalone.data_plane import DataPlane, DataPlaneOptions
from tollway_cli.standalone.identities import Identities, remove_strangers
from tollway_cli.standalone.plan import GATEWAY, access, credentials, key_of, plan, without_removed
from tollway_cli.standalone.ports import FIRST_AGENT, FIRST_OWN, Ports
from tollway_cli.standalone.root_changing import Proving, RootChanging
from tollway_cli.standalone.self_report import ProcessReport
from tollway_cli.standalone.state import Memory, StateDirectory, recall, remember, remove_sockets
from tollway_cli.standalone.supervisor import Crash, ProcessSpec, Supervisor
from tollway_cli.standalone.tuning import USUAL, Tuning
from tollway_cli.standalone.voice import Voice
from tollway_cli.standalone.workers import EXTAUTHZ, numbered
from tollway_cli.views.instance import Ready, ReadyAgent
from tollway_extauthz.keeping.envoy_files import RUNS_WITHIN, WatchedFiles
from tollway_extauthz.keeping.probes import until
from tollway_files.atomic import write_file
from tollway_operator.authority.authority import Authority
from tollway_operator.envoy.credentials import CredentialError
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.settings import SidecarSettings
from tollway_operator.envoy.sidecar import sidecar_bootstrap, sidecar_files

READY_WITHIN: Final = 30.0
"""How long everything may take to serve, seconds."""
_TRIES: Final = 5
"""After so many failures in a row a start is given up."""
_DRAIN: Final = 3.0
_SIDECAR_RANK, _GATEWAY_RANK, _EXTAUTHZ_RANK = 0, 1, 2
"""Who ends first: extauthz is last, so that what the gateway logs at its end is settled."""
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
"""What our processes need of the environment. Provider keys may be in the rest."""


@dataclass(frozen=True, slots=True)
class InstanceOptions:
    state: StateDirectory
    envoy: Path
    ready_file: Path | None = None
    ledger: Path | None = None
    uncovered: str = "deny"
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    upstream_ca: Path | None = None
    """More authorities that vouch for providers, beside the machine's own."""
    tuning: Tuning = USUAL
    workers: int = 1
    booted_at: int | None = None


class Instance:
    """Made with the lock held, inside the event loop."""

    def __init__(
        self, options: InstanceOptions, voice: Voice, clock: Callable[[], int], jitter: Callable[[], float]
    ) -> None:
        self._options = options
        self._state = options.state
        self._voice = voice
        self._clock = clock
        self._trust_domain = str(DEFAULT_TRUST_DOMAIN)
        self._prices = default_book()
        memory = recall(self._state)
        self._ports = Ports(memory.ports)
        self._gateway_port = self._ports.of(GATEWAY, FIRST_OWN)
        authorities = envoys.provider_authorities(self._state, options.environ, options.upstream_ca)
        self._gateway = envoys.gateway_settings(
            self._state, self._trust_domain, self._gateway_port, authorities, options.tuning, options.workers
        )
        self._files = {GATEWAY: WatchedFiles(self._gateway.xds_dir, self._gateway.admin_socket)}
        self._data_plane = DataPlane(self._state, self._data_plane_options(), memory.generation)
        authority = Authority.load_or_create(
            self._state.authority, DEFAULT_TRUST_DOMAIN, clock(), pace=options.tuning.pace
        )
        self._identities = Identities(authority, self._state, jitter)
        self._proving = Proving(self._gateway, self._data_plane)
        self._root_changing = RootChanging(
            self._identities, self._state, self._observe_trust, self._show_all_sidecar_files, voice
        )
        self._crashes: dict[str, tuple[int, Crash]] = {}
        self._supervisor = Supervisor(self._crashed)
        self._env = {name: options.environ[name] for name in _PASSED_ON if name in options.environ}
        self.resources = ResourceSet()
        self.refusal = ""
        """What was against the last change, while it is not in force."""

    @property
    def gateway_url(self) -> str:
        return f"https://{self._gateway.address}:{self._gateway_port}"

    @property
    def generation(self) -> int:
        return self._data_plane.generation

    @property
    def upstream_ca_file(self) -> str:
        return self._gateway.upstream_ca_file

    @property
    def ledger(self) -> Path:
        return self._options.ledger or self._state.ledger

    def processes(self) -> tuple[ProcessReport, ...]:
        return tuple(map(self._process_report, sorted(self._supervisor.names)))

    def _process_report(self, name: str) -> ProcessReport:
        worker = self._supervisor.worker(name)
        ended_at, crash = self._crashes.get(name, (None, None))
        return ProcessReport(
            name,
            worker.pid if worker is not None else None,
            str(worker.spec.log) if worker is not None else "",
            worker.failures if worker is not None else 0,
            ended_at,
            crash.reason if crash is not None else "",
        )

    def _crashed(self, crash: Crash) -> None:
        self._crashes[crash.name] = (self._clock(), crash)
        self._voice.crashed(crash)

    def _data_plane_options(self) -> DataPlaneOptions:
        port = self._ports.of("metrics", FIRST_OWN)
        options = self._options
        return DataPlaneOptions(
            self._trust_domain,
            str(self.ledger),
            options.uncovered,
            port,
            options.tuning.hold_ms,
            options.tuning.data_plane,
            options.workers,
            options.booted_at,
        )

    async def start(self, resources: ResourceSet) -> None:
        """Start everything; returns when it serves. Raises `Broken` when it does not within `READY_WITHIN`."""
        self._remove_ready_files()
        self._data_plane.publish(resources)
        for worker in range(self._options.workers):
            await self._supervisor.ensure(self._extauthz_spec(worker))
        sidecars = self._issue_due(resources)
        remove_strangers(self._state, sidecars)
        try:
            self._files[GATEWAY].show(self._gateway_files(resources))
        except CredentialError as error:
            raise AnswerIsNo(str(error)) from error
        await self._supervisor.ensure(self._gateway_spec())
        await self._start_sidecars(sidecars, resources)
        self.resources = resources
        await self._serve_or_fail(sidecars)
        self._announce(sidecars)

    async def apply(self, resources: ResourceSet) -> bool:
        """Bring `resources` into force. False, and everything as before, where Envoy refuses them."""
        before, self.refusal = self.resources, ""
        if (remaining := without_removed(before, resources)) != before:
            await self._put_into_force(remaining)
        sidecars = self._issue_due(resources)
        if (refusal := await self._change_gateway(resources)) is not None:
            self.refusal = refusal
            self._voice.warn(f"{refusal}; the configuration of before stays in force")
            await self._put_into_force(before)
            return False
        await self._start_sidecars(sidecars, resources)
        await self._put_into_force(resources)
        self.resources = resources
        await self._stop_gone(sidecars)
        await self._sidecars_serve(sidecars)
        self._announce(sidecars)
        return True

    async def renew(self) -> None:
        """Rotate the authority and renew the SVIDs that are due."""
        now = self._clock()
        lapsed = {key for key, holding in self._identities.held.items() if not holding.is_valid(now)}
        if self._identities.rotate(now):
            self._voice.say("the signing CAs were rotated")
        await self._root_changing.step(now)
        self._issue_due(self.resources)
        if renewed := {key for key in lapsed if self._identities.held[key].is_valid(now)}:
            await self._prove_anew(renewed)

    async def _prove_anew(self, agents: set[str]) -> None:
        """After a clock that was set, or sleep: nobody else is late in renewing. A sidecar has connections on which it
        proved itself by an SVID that is not valid now, and every call on them is refused: it makes new ones."""
        self._voice.warn("the clock was set, or this machine slept: SVIDs were not valid, and were renewed")
        await self._supervisor.replace(agents - {GATEWAY})

    async def stop(self) -> None:
        """End everything: sidecars, then the gateway, then extauthz."""
        self._remove_ready_files()
        await self._supervisor.stop_all()
        # Providers' keys are in there, perhaps from nowhere but the environment.
        shutil.rmtree(self._gateway.xds_dir, ignore_errors=True)
        self._remember()
        self._ports.release()
        remove_sockets(self._state)

    def _issue_due(self, resources: ResourceSet) -> tuple[str, ...]:
        """Issue what is due; returns the agents that have a sidecar."""
        now = self._clock()
        planned = plan(resources, self._identities.held, self._trust_domain, now)
        self._identities.issue(planned.issue, now)
        return planned.sidecars

    async def _put_into_force(self, resources: ResourceSet) -> None:
        self._data_plane.publish(resources)
        if not await self._data_plane.runs():
            self._voice.warn(f"extauthz does not take the new rules; see {self._state.extauthz}/{EXTAUTHZ}*.log")

    def _gateway_files(self, resources: ResourceSet) -> Mapping[str, bytes]:
        return gateway_files(self._gateway, resources.providers, credentials(resources))

    async def _change_gateway(self, resources: ResourceSet) -> str | None:
        """What is against the change; None where the gateway runs it."""
        try:
            files = self._gateway_files(resources)
        except CredentialError as error:
            return str(error)
        return await self._files[GATEWAY].change(files)

    async def _start_sidecars(self, agents: tuple[str, ...], resources: ResourceSet) -> None:
        for agent in agents:
            if agent not in self._files or resources.providers != self.resources.providers:
                self._show_sidecar_files(agent, resources)
            if self._supervisor.worker(agent) is None:
                await self._supervisor.ensure(self._sidecar_spec(agent))
        self._remember()

    def _show_sidecar_files(self, agent: str, resources: ResourceSet) -> None:
        settings = self._sidecar_settings(agent)
        files = self._files.setdefault(agent, WatchedFiles(settings.xds_dir, settings.admin_socket))
        files.show(sidecar_files(settings, resources.providers, self._identities.tried))

    def _show_all_sidecar_files(self) -> None:
        for agent in self._sidecars():
            self._show_sidecar_files(agent, self.resources)

    def _sidecars(self) -> list[str]:
        return sorted(name for name in self._supervisor.names if "/" in name)

    async def _observe_trust(self, tried: str | None) -> Observed:
        """Of sidecars those that hold a valid SVID: no other could carry a call."""
        now, held = self._clock(), self._identities.held
        able = [agent for agent in self._sidecars() if agent in held and held[agent].is_valid(now)]
        return await self._proving.observe(tried, {agent: self._state.agent_socket(agent) for agent in able})

    async def _stop_gone(self, agents: tuple[str, ...]) -> None:
        gone = [name for name in self._sidecars() if name not in agents]
        await self._supervisor.stop(gone)
        for agent in gone:
            self._files.pop(agent, None)
            self._identities.forget(agent)

    def _remember(self) -> None:
        remember(self._state, Memory(self._data_plane.generation, dict(self._ports.chosen)))

    # What is ready

    async def _serve_or_fail(self, sidecars: tuple[str, ...]) -> None:
        for worker in range(self._options.workers):
            await self._require(numbered(EXTAUTHZ, worker), partial(self._data_plane.is_ready, worker))
        for envoy in (GATEWAY, *sidecars):
            await self._require(envoy, self._files[envoy].run)

    async def _require(self, name: str, is_ready: Callable[[], Awaitable[bool]]) -> None:
        worker = self._supervisor.worker(name)

        def is_given_up() -> bool:
            return worker is None or worker.is_hopeless or worker.failures >= _TRIES

        async def is_decided() -> bool:
            return is_given_up() or await is_ready()

        if worker is None or not await until(is_decided, READY_WITHIN) or is_given_up():
            log = worker.spec.log if worker is not None else self._state.root
            lines = "\n    ".join((worker.last_lines if worker is not None else ()) or ("(empty)",))
            raise Broken(f"{name} does not serve{_why()}. The end of {log}:\n    {lines}")

    async def _sidecars_serve(self, sidecars: tuple[str, ...]) -> None:
        for agent in sidecars:
            if not await until(self._files[agent].run, RUNS_WITHIN):
                log = self._state.agent(agent) / "envoy.log"
                self._voice.warn(f"the sidecar of {agent} does not serve{_why()}; see {log}")

    # The ready file

    def _announce(self, sidecars: tuple[str, ...]) -> None:
        content = msgspec.json.format(msgspec.json.encode(self._ready(sidecars)), indent=2) + b"\n"
        for path in self._ready_files():
            write_file(path, content)

    def _ready(self, sidecars: tuple[str, ...]) -> Ready:
        agents = {}
        for agent in self.resources.agents:
            if (key := key_of(agent)) in sidecars:
                found = access(self.resources, agent, self._agent_port(key), self._trust_domain, self._prices)
                agents[key] = ReadyAgent(found.spiffe_id, dict(found.base_urls), dict(found.env))
        return Ready(self.gateway_url, f"unix://{self._state.socket('admin')}", agents)

    def _ready_files(self) -> tuple[Path, ...]:
        own = self._state.ready_file
        return (own, self._options.ready_file) if self._options.ready_file is not None else (own,)

    def _remove_ready_files(self) -> None:
        for path in self._ready_files():
            with contextlib.suppress(OSError):
                path.unlink()

    # The processes

    def _agent_port(self, agent: str) -> int:
        return self._ports.of(agent, FIRST_AGENT)

    def _extauthz_spec(self, worker: int) -> ProcessSpec:
        name = numbered(EXTAUTHZ, worker)
        return ProcessSpec(
            name,
            self._data_plane.command(worker),
            self._state.extauthz / f"{name}.log",
            self._env,
            _EXTAUTHZ_RANK,
            grace=10.0,
            fingerprint=_written(self._data_plane.settings_file(worker), self._data_plane.settings(worker)),
        )

    def _gateway_spec(self) -> ProcessSpec:
        bootstrap = self._state.gateway / "bootstrap.json"
        return ProcessSpec(
            GATEWAY,
            envoys.command(self._options.envoy, bootstrap, concurrency=2),
            self._state.gateway / "envoy.log",
            self._env,
            _GATEWAY_RANK,
            fingerprint=_written(bootstrap, gateway_bootstrap(self._gateway)),
            before_stop=self._drain,
            is_envoy=True,
        )

    def _sidecar_settings(self, agent: str) -> SidecarSettings:
        port, tuning = self._agent_port(agent), self._options.tuning
        return envoys.sidecar_settings(self._state, self._trust_domain, agent, port, self._gateway_port, tuning)

    def _sidecar_spec(self, agent: str) -> ProcessSpec:
        directory = self._state.agent(agent)
        bootstrap = directory / "bootstrap.json"
        return ProcessSpec(
            agent,
            envoys.command(self._options.envoy, bootstrap, concurrency=1),
            directory / "envoy.log",
            self._env,
            _SIDECAR_RANK,
            fingerprint=_written(bootstrap, sidecar_bootstrap(self._sidecar_settings(agent))),
            is_envoy=True,
        )

    async def _drain(self) -> None:
        await until(self._files[GATEWAY].idle, _DRAIN)


def _why() -> str:
    """What an Envoy that aborts does not say itself."""
    return "" if watches.is_one_left() else f": {watches.EXHAUSTED}"


def _written(path: Path, content: bytes) -> str:
    """Write what a process reads at start; returns what tells it from another."""
    write_file(path, content)
    return hashlib.sha256(content).hexdigest()
