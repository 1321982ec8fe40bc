"""What running processes answer: the data plane on its admin socket and its metrics port, Envoys on theirs."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tollway_cli.doctor.seeing import ENVOY_VERSION, envoy_files
from tollway_cli.doctor.snapshot import EnvoyFacts, RefusalFacts, Standing, WorkerFacts
from tollway_cli.failures import CommandFailed
from tollway_cli.standalone.data_plane import in_force
from tollway_cli.standalone.plan import GATEWAY
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.standalone.workers import EXTAUTHZ, numbered
from tollway_cli.views.answers import CounterView, Limits, Verification
from tollway_cli.views.instance import Admin
from tollway_extauthz.keeping.envoy_files import essential_versions, refusals, running_versions
from tollway_extauthz.keeping.probes import ask_port, ask_socket

_AT_ONCE: Final = 16
_OUR_CEILINGS: Final = frozenset({"ceiling", "expired"})


class _Status(msgspec.Struct, frozen=True):
    generation: int | None


class _Ledger(msgspec.Struct, frozen=True):
    latest: int | None
    first_deadline: int | None


class _AccessLog(msgspec.Struct, frozen=True):
    behind: int
    written_at: int


class _Standing(msgspec.Struct, frozen=True):
    now: int
    ledger: _Ledger
    access_log: _AccessLog
    refusals: tuple[RefusalFacts, ...] = ()
    uncovered: str = "deny"


def standing(admin: Admin, clock: Callable[[], int]) -> Standing | None:
    """None where the data plane does not answer."""
    try:
        status = msgspec.json.decode(admin.get("/status"), type=_Status)
        told = msgspec.json.decode(admin.get("/standing"), type=_Standing)
    except (CommandFailed, msgspec.MsgspecError):
        return None
    ledger, log = told.ledger, told.access_log
    when = (told.now, clock(), ledger.latest, ledger.first_deadline)
    return Standing(status.generation, *when, log.behind, log.written_at, told.refusals, told.uncovered)


def counters(admin: Admin) -> tuple[CounterView, ...] | None:
    try:
        return tuple(msgspec.json.decode(admin.get("/limits"), type=Limits).counters)
    except (CommandFailed, msgspec.MsgspecError):
        return None


def mismatches(admin: Admin) -> int | None:
    try:
        return len(msgspec.json.decode(admin.get("/ledger/verify"), type=Verification).mismatches)
    except (CommandFailed, msgspec.MsgspecError):
        return None


def settlements(port: int) -> tuple[int | None, int | None]:
    """Calls charged at their ceiling and calls that consumed more than they held, since the data plane started."""
    answer = asyncio.run(ask_port(port, "/metrics"))
    if answer is None:
        return None, None
    at_ceiling = over = 0
    for family in text_string_to_metric_families(answer.decode()):
        for sample in family.samples:
            if sample.name == "tollway_settlements_total" and sample.labels.get("source") in _OUR_CEILINGS:
                at_ceiling += int(sample.value)
            elif sample.name == "tollway_over_ceiling_total":
                over += int(sample.value)
    return at_ceiling, over


def other_workers(state: StateDirectory, workers: int) -> tuple[WorkerFacts, ...]:
    """Of so many workers all but the first."""
    return asyncio.run(_other_workers(state, workers))


async def _other_workers(state: StateDirectory, workers: int) -> tuple[WorkerFacts, ...]:
    numbers = range(1, workers)
    found = await asyncio.gather(*(in_force(state, worker) for worker in numbers))
    return tuple(WorkerFacts(numbered(EXTAUTHZ, worker), each) for worker, each in zip(numbers, found, strict=True))


def envoys(state: StateDirectory, agents: Sequence[str]) -> tuple[EnvoyFacts, ...]:
    return asyncio.run(_envoys(state, agents))


async def _envoys(state: StateDirectory, agents: Sequence[str]) -> tuple[EnvoyFacts, ...]:
    few = asyncio.Semaphore(_AT_ONCE)

    async def look(name: str, socket: Path, directory: Path) -> EnvoyFacts:
        async with few:
            return await _envoy(name, socket, directory)

    own = look(GATEWAY, state.socket(GATEWAY), state.gateway)
    sidecars = (look(agent, state.agent_socket(agent), state.agent(agent)) for agent in agents)
    return tuple(await asyncio.gather(own, *sidecars))


async def _envoy(name: str, socket: Path, directory: Path) -> EnvoyFacts:
    info = await ask_socket(socket, "/server_info")
    dump = await ask_socket(socket, "/config_dump")
    if info is None or dump is None:
        return EnvoyFacts(name, answers=False)
    version = ENVOY_VERSION.search(str(json.loads(info).get("version", "")))
    given = essential_versions(envoy_files(directory))
    runs = given <= running_versions(json.loads(dump))
    refused = {counter: count for counter, count in (await refusals(socket)).items() if count}
    return EnvoyFacts(name, True, version[1] if version else "", runs, refused)
