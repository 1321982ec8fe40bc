"""One turn of one scenario on one road: the load, what it cost whom, and the quiet behind it."""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

from bench.calls import Call
from bench.failures import BenchFailed
from bench.load import CALLING, Load, Target, Turn
from bench.machine import Cores
from bench.processes import answer_of, cpu_seconds, move, started_on
from bench.roads import Road
from bench.scenarios import Scenario
from tollway_cli.standalone.supervisor import leashed

_TRAILING_S: Final = 0.4
"""After a turn: the access log is written and read within 40 ms, and that belongs to it."""
_LOOK_S: Final = 0.15
_IDLE_S: Final = 0.021
"""Who takes less than that in a look does nothing but to look itself whether there is something to do."""
_AT_REST_WITHIN_S: Final = 60.0
_CALLER: Final = (sys.executable, "-m", "bench.load")


@dataclass(frozen=True, slots=True)
class Sample:
    """`cpu_ms_per_call` by process: over all calls of it, warm-up included. `beside`: calls of the company."""

    round: int
    scenario: str
    road: str
    load: Load
    cpu_ms_per_call: Mapping[str, float]
    beside: int = 0


async def sample(number: int, scenario: Scenario, road: Road, cores: Cores, env: Mapping[str, str]) -> Sample:
    """Raises `BenchFailed` at the first call that fails, and where the road does not come to rest."""
    if scenario.pinned or not cores.road:
        return await _sample(number, scenario, road, env)
    _move(road, cores.everywhere)
    try:
        return await _sample(number, scenario, replace(road, callers=cores.everywhere), env)
    finally:
        _move(road, cores.road)


async def _sample(number: int, scenario: Scenario, road: Road, env: Mapping[str, str]) -> Sample:
    before, beside = _cpu(road), 0
    if scenario.company is None:
        load = await called(road, scenario.call, scenario.turn, env)
    else:
        async with _company(road, scenario.company.call, scenario.company.turn, env) as leave:
            load = await called(road, scenario.call, scenario.turn, env)
            beside = (await leave()).made
    spent = {name: seconds - before[name] for name, seconds in (await at_rest(road)).items()}
    per_call = {name: seconds * 1000 / (load.made + beside) for name, seconds in spent.items()}
    return Sample(number, scenario.name, road.name, load, per_call, beside)


def _move(road: Road, cores: Collection[int]) -> None:
    for pids in road.processes.values():
        move(pids, cores)


async def called(road: Road, call: Call, turn: Turn, env: Mapping[str, str]) -> Load:
    try:
        with started_on(road.callers):
            answer = await answer_of(_CALLER, env, _within(turn), _job(road, call, turn))
    except BenchFailed as failure:
        raise BenchFailed(f"{call.name} calls on the road {road.name!r}: {failure}") from failure
    return _load(answer)


@contextlib.asynccontextmanager
async def _company(
    road: Road, call: Call, turn: Turn, env: Mapping[str, str]
) -> AsyncIterator[Callable[[], Awaitable[Load]]]:
    """Others who call until they are told to leave, from the moment on when they do."""
    with started_on(road.callers):
        process = await asyncio.create_subprocess_exec(
            *leashed(_CALLER), stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(env), limit=2**24
        )

    async def leave() -> Load:
        answer, complaint = await asyncio.wait_for(process.communicate(b""), _AT_REST_WITHIN_S)
        if process.returncode != 0:
            raise BenchFailed(f"{call.name} calls beside others on {road.name!r}: {complaint.decode().strip()}")
        return _load(answer)

    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(_job(road, call, turn))
    await process.stdin.drain()
    await asyncio.wait_for(process.stdout.readline(), _AT_REST_WITHIN_S)
    try:
        yield leave
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _job(road: Road, call: Call, turn: Turn) -> bytes:
    path = f"{road.prefixes[call.provider]}/chat/completions"
    target = Target(road.host, road.port, path, call.body.decode(), call.answer_bytes)
    return json.dumps({"target": asdict(target), "turn": asdict(turn)}).encode() + b"\n"


def _load(answer: bytes) -> Load:
    return Load(**json.loads(answer.removeprefix(CALLING)))


def _within(turn: Turn) -> float:
    """Seconds after which a turn hangs and is not only slow: a call of one second would be that."""
    return 30 + (turn.seconds or 0) + (turn.calls or 0) + turn.warm_up


async def at_rest(road: Road) -> Mapping[str, float]:
    """CPU time once everything that calls left behind is done: no process works any more, no hold is open."""
    await asyncio.sleep(_TRAILING_S)
    for _ in range(int(_AT_REST_WITHIN_S / _LOOK_S)):
        before = _cpu(road)
        await asyncio.sleep(_LOOK_S)
        after = _cpu(road)
        # Asked last: the question costs CPU time itself.
        if all(after[name] - before[name] <= _IDLE_S for name in after) and await road.at_rest():
            return after
    raise BenchFailed(f"the road {road.name!r} does not come to rest: calls are not settled, or the machine is busy")


def _cpu(road: Road) -> Mapping[str, float]:
    return {name: cpu_seconds(pids) for name, pids in road.processes.items()}
