"""Everything that a run needs, started and ended in order: providers, and no more roads than the cases ask for."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench import go_decision
from bench.bare_road import BARE as NOTHING_KEPT
from bench.bare_road import DECIDED, BareRoad, Kept, bare_road
from bench.calls import ANSWER
from bench.envoys import serving
from bench.failures import BenchFailed
from bench.installation import Installation, installed
from bench.machine import Cores
from bench.processes import require_alive, running, started_on
from bench.provider import provider
from bench.resources import AGENTS, CALLER, agent_id, endpoints, resources
from bench.roads import BARE, DECISION_IN_GO, GATEWAY, GO, LIMITS, SIDECAR, TOLLWAY, WORKERS, Road
from tollway.resources.parse import parse_files
from tollway_cli.standalone.ports import LOOPBACK, Ports
from tollway_extauthz.keeping.probes import until

_FIRST_PORT: Final = 16001
_SERVES_WITHIN_S: Final = 10.0
_AGENT_OF: Final = {TOLLWAY: "caller", **{name: name for name in LIMITS.values()}}
"""Road over the one installation -> whose it is."""


@dataclass(frozen=True, slots=True)
class World:
    """What runs. `owners`: road over Tollway -> installation and the name of its agent. `left_out`: road -> why it
    could not be made."""

    roads: dict[str, Road] = field(default_factory=dict)
    owners: dict[str, tuple[Installation, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def installations(self) -> Mapping[Installation, Sequence[str]]:
        """Each with its roads."""
        found: dict[Installation, list[str]] = {}
        for road, (installation, _) in self.owners.items():
            found.setdefault(installation, []).append(road)
        return found

    def beside(self, road: str) -> Sequence[str]:
        """The roads over the same Tollway, this one included."""
        return next((roads for roads in self.installations.values() if road in roads), (road,))

    def own(self, road: str, installation: Installation, agent: str, callers: Sequence[int]) -> None:
        address, roots = installation.address(agent_id(agent)), installation.processes(agent_id(agent))
        self.roads[road] = Road(
            road, address.host, address.port, address.prefixes, roots, callers, installation.is_at_rest
        )
        self.owners[road] = (installation, agent)

    def require_unchanged(self) -> None:
        """Raises `BenchFailed` where a process of Tollway is not the one that it was."""
        for road, (installation, agent) in self.owners.items():
            if (now := installation.processes(agent_id(agent))) != (before := self.roads[road].roots):
                raise BenchFailed(f"a process of Tollway was restarted during the run: {before} became {now}")


@contextlib.asynccontextmanager
async def world(
    directory: Path, needed: Iterable[str], cores: Cores, env: Mapping[str, str], say: Callable[[str], None]
) -> AsyncIterator[World]:
    """`needed`: roads. `directory` is empty, and short enough for sockets. Raises `BenchFailed`."""
    async with contextlib.AsyncExitStack() as stack:
        with started_on(cores.callers):
            builder = _Builder(stack, directory, cores, env)
            await builder.build({*needed, TOLLWAY}, say)
        yield builder.world


class _Builder:
    def __init__(self, stack: contextlib.AsyncExitStack, directory: Path, cores: Cores, env: Mapping[str, str]) -> None:
        self.world = World()
        self._stack = stack
        self._directory = directory
        self._cores = cores
        self._env = env
        self._ports = Ports({})
        stack.callback(self._ports.release)

    async def build(self, needed: set[str], say: Callable[[str], None]) -> None:
        say("starting the providers")
        places = endpoints(await self._answering(), await self._streaming())
        say("starting Tollway")
        agents = {agent: AGENTS[agent] for road, agent in _AGENT_OF.items() if road in needed}
        documents = resources(places, agents)
        with started_on(self._cores.road):
            installation = await self._stack.enter_async_context(installed(self._directory / "t", documents, self._env))
            for road, agent in _AGENT_OF.items():
                if agent in agents:
                    self.world.own(road, installation, agent, self._cores.callers)
            if BARE in needed:
                say("starting the bare road")
                await self._bare(BARE, installation, documents, NOTHING_KEPT)
            if GO in needed:
                say("building the decision in Go")
                await self._in_go(installation, documents)
        for number, road in WORKERS.items():
            if road in needed:
                say(f"starting Tollway with {number} workers")
                await self._worked(road, number, documents)

    async def _answering(self) -> str:
        port = self._ports.of("answering", _FIRST_PORT)
        await self._stack.enter_async_context(
            serving(provider(self._directory / "p", LOOPBACK, port, ANSWER), self._env)
        )
        return f"http://{LOOPBACK}:{port}"

    async def _streaming(self) -> str:
        port, log = self._ports.of("streaming", _FIRST_PORT), self._directory / "streaming.log"
        command = (sys.executable, "-m", "bench.streaming_provider", str(port))
        process = await self._stack.enter_async_context(running(command, log, self._env))
        await until(lambda: _listens(port), _SERVES_WITHIN_S)
        require_alive(process, "the provider of streams", log)
        return f"http://{LOOPBACK}:{port}"

    async def _bare(self, name: str, model: Installation, documents: bytes, kept: Kept) -> BareRoad:
        """A road that is derived from Tollway's."""
        ports = (self._ports.of(f"{name} sidecar", _FIRST_PORT), self._ports.of(f"{name} gateway", _FIRST_PORT))
        providers = parse_files({"resources.yaml": documents}).resources.providers
        plan = bare_road(self._directory / name, model.state, providers, ports, kept)
        sidecar = await self._stack.enter_async_context(serving(plan.sidecar, self._env))
        gateway = await self._stack.enter_async_context(serving(plan.gateway, self._env))
        prefixes = model.address(CALLER).prefixes
        roots = {SIDECAR: [sidecar.pid], GATEWAY: [gateway.pid]}
        self.world.roads[name] = Road(name, LOOPBACK, ports[0], prefixes, roots, self._cores.callers)
        return plan

    async def _in_go(self, model: Installation, documents: bytes) -> None:
        try:
            with started_on(self._cores.everywhere):
                program = await go_decision.built(self._directory, self._env)
        except go_decision.NoGo as reason:
            self.world.left_out[GO] = str(reason)
            return
        plan = await self._bare(GO, model, documents, DECIDED)
        process = await self._stack.enter_async_context(go_decision.deciding(program, plan.check_socket, self._env))
        road = self.world.roads[GO]
        self.world.roads[GO] = replace(road, roots={**road.roots, DECISION_IN_GO: [process.pid]})

    async def _worked(self, road: str, workers: int, documents: bytes) -> None:
        """Workers are for many cores: nothing of these roads is pinned."""
        directory, everywhere = self._directory / f"w{workers}", self._cores.everywhere
        with started_on(everywhere):
            installation = await self._stack.enter_async_context(
                installed(directory, documents, self._env, ("--workers", str(workers)))
            )
        (name, *_) = AGENTS
        self.world.own(road, installation, name, everywhere)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True
