"""One run: everything started, every turn of the schedule taken, the ledger asked, everything ended."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench import chat
from bench.bare_road import bare_gateway, bare_sidecar
from bench.envoys import serving
from bench.failures import BenchFailed
from bench.figures import Comparison, Memories, Sample, compared
from bench.installation import LIMITS, Installation, LedgerFindings, installed, resources
from bench.load import Load, Target
from bench.machine import Machine, this_machine
from bench.processes import answer_of, cpu_seconds, memory
from bench.provider import provider
from bench.roads import BARE, GATEWAY, SIDECAR, TOLLWAY, Road
from bench.scenarios import Effort, Scenario, schedule
from tollway.resources.parse import parse_files
from tollway_cli.standalone.ports import LOOPBACK, Ports

_FIRST_PORT: Final = 16001
_TRAILING_S: Final = 0.5
"""After a turn, before its CPU time is read: access logs are flushed and read within 0.3 s, and that belongs to it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the run was made. Sizes in bytes."""

    effort: Effort
    request_bytes: int
    answer_bytes: int
    limits: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that a run found."""

    machine: Machine
    settings: Settings
    figures: Sequence[Comparison]
    memory: Memories
    ledger: LedgerFindings
    samples: Sequence[Sample]


async def run(directory: Path, effort: Effort, env: Mapping[str, str], say: Callable[[str], None]) -> Result:
    """Measure. `directory` is empty, and short enough for sockets. Raises `BenchFailed`."""
    machine = this_machine(directory)
    async with _world(directory, env) as (installation, roads):
        samples = [
            await _sample(number, scenario, roads[road], env, say) for number, scenario, road in schedule(effort)
        ]
        memories = {name: {what: memory(pid) for what, pid in road.processes.items()} for name, road in roads.items()}
        _require_unchanged(installation, roads[TOLLWAY])
        say("asking the ledger")
        made = sum(sample.load.made for sample in samples if sample.road == TOLLWAY)
        ledger = await installation.findings(made)
    settings = Settings(effort, len(chat.REQUEST), len(chat.ANSWER), LIMITS)
    return Result(machine, settings, compared(samples), memories, ledger, samples)


@contextlib.asynccontextmanager
async def _world(directory: Path, env: Mapping[str, str]) -> AsyncIterator[tuple[Installation, Mapping[str, Road]]]:
    ports = Ports({})
    upstream, gateway, sidecar = (ports.of(name, _FIRST_PORT) for name in ("provider", "gateway", "sidecar"))
    documents = resources(f"http://{LOOPBACK}:{upstream}")
    (found,) = parse_files({"resources.yaml": documents}).resources.providers
    async with contextlib.AsyncExitStack() as running:
        running.callback(ports.release)
        await running.enter_async_context(serving(provider(directory / "p", LOOPBACK, upstream, chat.ANSWER), env))
        installation = await running.enter_async_context(installed(directory / "t", documents, env))
        model, place = installation.state, directory / "b"
        first = await running.enter_async_context(
            serving(bare_sidecar(place, model, found, sidecar, gateway), env),
        )
        second = await running.enter_async_context(serving(bare_gateway(place, model, found, gateway), env))
        host, port, prefix = installation.address
        bare = Road(BARE, _target(host, sidecar, prefix), {SIDECAR: first.pid, GATEWAY: second.pid})
        yield installation, {BARE: bare, TOLLWAY: _tollway_road(installation, _target(host, port, prefix))}


def _tollway_road(installation: Installation, target: Target) -> Road:
    return Road(TOLLWAY, target, installation.processes())


def _target(host: str, port: int, prefix: str) -> Target:
    return Target(host, port, f"{prefix}/chat/completions", chat.REQUEST.decode(), len(chat.ANSWER))


async def _sample(
    number: int, scenario: Scenario, road: Road, env: Mapping[str, str], say: Callable[[str], None]
) -> Sample:
    say(f"round {number + 1}: {scenario.name}, {road.name}")
    before = {name: cpu_seconds(pid) for name, pid in road.processes.items()}
    load = await _load(scenario, road, env)
    await asyncio.sleep(_TRAILING_S)
    spent = {name: cpu_seconds(pid) - before[name] for name, pid in road.processes.items()}
    per_call = {name: seconds * 1000 / load.made for name, seconds in spent.items()}
    return Sample(number, scenario.name, road.name, load, per_call)


async def _load(scenario: Scenario, road: Road, env: Mapping[str, str]) -> Load:
    job = json.dumps({"target": asdict(road.target), "turn": asdict(scenario.turn)}).encode() + b"\n"
    try:
        answer = await answer_of((sys.executable, "-m", "bench.load"), env, _within(scenario), job)
    except BenchFailed as failure:
        raise BenchFailed(f"{scenario.name} on the road {road.name!r}: {failure}") from failure
    return Load(**json.loads(answer))


def _within(scenario: Scenario) -> float:
    """Seconds after which a turn hangs and is not only slow: a call of one second would be that."""
    turn = scenario.turn
    return 30 + (turn.seconds or 0) + (turn.calls or 0) + turn.warm_up


def _require_unchanged(installation: Installation, road: Road) -> None:
    if (now := installation.processes()) != road.processes:
        raise BenchFailed(f"a process of Tollway was restarted during the run: {dict(road.processes)} became {now}")
