"""The installation that is soaked, its provider and its callers, as processes; and what is done with them in turn."""

import asyncio
import contextlib
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.calls import ANSWERING
from bench.failures import BenchFailed
from bench.installation import Installation, installed
from bench.processes import running
from bench.resources import USUAL, Limits, agent_id, resources
from bench.roads import SUPERVISOR, with_offspring
from bench.soak.books import Limit
from bench.soak.callers import Agent, Job
from bench.soak.judging import Second
from tollway_cli.standalone.ports import LOOPBACK, Ports
from tollway_cli.standalone.supervisor import leashed
from tollway_extauthz.keeping.probes import until

STEADY: Final = "steady"
"""Its limits are never short, and its sidecar is never killed."""
TIGHT: Final = "tight"
"""Its rolling limit has room for a part of its calls; its sidecar is the one that is killed."""
FINITE: Final = "finite"
"""Its budget is spent in the middle of the soak."""
SHARES: Final[Mapping[str, float]] = {STEADY: 0.7, TIGHT: 0.2, FINITE: 0.1}
CALLERS: Final[Mapping[str, int]] = {STEADY: 40, TIGHT: 12, FINITE: 8}

_FIRST_PORT: Final = 17001
_SERVES_WITHIN_S: Final = 20.0
_GONE_WITHIN_S: Final = 45.0


@dataclass(frozen=True, slots=True)
class Budgets:
    """Nano-USD: of `TIGHT` in each window, of `FINITE` for ever."""

    tight: int
    window_s: int
    finite: int

    def limits(self) -> Mapping[str, Limits]:
        window = f"{self.window_s}s"
        return {
            STEADY: USUAL,
            TIGHT: ({"name": "rolling", "cost": _usd(self.tight), "window": window}, *USUAL),
            FINITE: ({"name": "ever", "cost": _usd(self.finite), "window": "Lifetime"}, *USUAL),
        }

    def watched(self) -> Sequence[Limit]:
        return (Limit(TIGHT, self.tight, self.window_s * 1000), Limit(FINITE, self.finite, None))


def _usd(nano: int) -> str:
    return f"{nano // 10**9}.{nano % 10**9:09}"


class Callers:
    """A running `bench.soak.callers`, and what it has said so far."""

    def __init__(self, process: Process, began: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._orders = process.stdin
        self._answers = process.stdout
        self.began = began
        self.seconds: list[Second] = []
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while line := await self._answers.readline():
            said = json.loads(line)
            ended = {(agent, kind): number for agent, kind, number in said["ended"]}
            self.seconds.append(Second(said["at"] - self.began, ended))

    def hang_up(self) -> None:
        self._orders.write(b"leave\n")

    async def finish(self) -> Sequence[Second]:
        """Everything that ended, once all have gone. Raises `BenchFailed`."""
        self._orders.close()
        await asyncio.wait_for(self._listening, _GONE_WITHIN_S)
        if await self._process.wait() != 0:
            raise BenchFailed(f"the callers ended with {self._process.returncode}; they say why above")
        return self.seconds


@contextlib.asynccontextmanager
async def calling(job: Job, env: Mapping[str, str]) -> AsyncIterator[Callers]:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *leashed((sys.executable, "-m", "bench.soak.callers")), stdin=PIPE, stdout=PIPE, env=dict(env), limit=2**24
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
    try:
        yield Callers(process, began)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Stage:
    """A running installation of three agents behind the accounting provider."""

    def __init__(self, installation: Installation, bill: Path, config: Path, endpoint: str) -> None:
        self.installation = installation
        self.bill = bill
        self._config = config
        self._endpoint = endpoint

    def agent(self, name: str, callers: int, every: float) -> Agent:
        address = self.installation.address(agent_id(name))
        return Agent(name, address.host, address.port, address.prefixes[ANSWERING], callers, every)

    def job(self, rate: float) -> Job:
        """So many calls a second in all."""
        pace = {name: CALLERS[name] / (rate * share) for name, share in SHARES.items()}
        return Job([self.agent(name, CALLERS[name], every) for name, every in pace.items()], 2)

    async def processes(self) -> Mapping[str, Sequence[int]]:
        """Once all run; the sidecar is the one that is killed. Raises `BenchFailed`."""

        async def all_run() -> bool:
            return len(self._running(TIGHT)) > 1

        await until(all_run, _SERVES_WITHIN_S)
        return self.installation.processes(agent_id(TIGHT))

    def watched(self) -> Mapping[str, Sequence[int]]:
        """As far as they run; the sidecar is the one that lives through it all."""
        return with_offspring(self._running(STEADY))

    def _running(self, agent: str) -> Mapping[str, Sequence[int]]:
        with contextlib.suppress(BenchFailed, OSError):
            return self.installation.processes(agent_id(agent))
        return {SUPERVISOR: (self.installation.pid,)}

    async def set_budgets(self, budgets: Budgets) -> None:
        """Put them into force while it runs."""
        before = await self._generation()
        fresh = self._config / "resources.new"
        fresh.write_bytes(_documents(self._endpoint, budgets))
        fresh.replace(self._config / "resources.yaml")

        async def in_force() -> bool:
            return await self._generation() > before

        if not await until(in_force, _SERVES_WITHIN_S):
            raise BenchFailed("the budgets of the soak did not come into force")

    async def _generation(self) -> int:
        return int(json.loads(await self.installation.ask("/status"))["generation"] or 0)


_UNLIMITED: Final = Budgets(8_000_000 * 10**9, 10, 8_000_000 * 10**9)
"""While the highest rate is looked for."""


@contextlib.asynccontextmanager
async def staged(directory: Path, env: Mapping[str, str]) -> AsyncIterator[Stage]:
    ports, bill = Ports({}), directory / "bill"
    port = ports.of("accounting", _FIRST_PORT)
    endpoint = f"http://{LOOPBACK}:{port}"
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(ports.release)
        command = (sys.executable, "-m", "bench.soak.provider", str(port), str(bill))
        await stack.enter_async_context(running(command, directory / "provider.log", env))
        if not await until(lambda: _listens(port), _SERVES_WITHIN_S):
            raise BenchFailed("the accounting provider does not serve")
        documents = _documents(endpoint, _UNLIMITED)
        installation = await stack.enter_async_context(installed(directory / "t", documents, env))
        yield Stage(installation, bill, directory / "t" / "config", endpoint)


def _documents(endpoint: str, budgets: Budgets) -> bytes:
    return resources({ANSWERING: endpoint}, budgets.limits())


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True
