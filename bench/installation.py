"""Tollway as anybody runs it (`tollway up` on YAML files, a ledger on disk), and its own word on what was called."""

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from bench.calls import cost_of_a_call
from bench.failures import BenchFailed
from bench.processes import children, require_alive, running
from bench.resources import BUDGET
from bench.roads import EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.views.answers import Limits, Verification
from tollway_cli.views.instance import Ready
from tollway_extauthz.keeping.probes import until

_READY_WITHIN_S: Final = 60.0
_SETTLED_WITHIN_S: Final = 30.0
_ANSWERED_WITHIN_S: Final = 600.0
"""Recomputing every counter of a million calls takes its time."""


@dataclass(frozen=True, slots=True)
class LedgerFindings:
    """What the ledger says about the run: by quota the calls that are settled, and whether every counter adds up."""

    settled: Mapping[str, int]
    verified: bool


@dataclass(frozen=True, slots=True)
class Address:
    """The agent's base URLs: where its sidecar listens, and by provider the path."""

    host: str
    port: int
    prefixes: Mapping[str, str]


class Installation:
    """A running `tollway up`."""

    def __init__(self, state: StateDirectory, pid: int, ready: Ready) -> None:
        self.state = state
        self.pid = pid
        self._ready = ready

    def address(self, agent: str) -> Address:
        urls = {provider: urlsplit(url) for provider, url in self._ready.agents[agent].base_urls.items()}
        one = next(iter(urls.values()))
        return Address(one.hostname or "", one.port or 0, {provider: url.path for provider, url in urls.items()})

    def processes(self, agent: str) -> Mapping[str, Sequence[int]]:
        """By what they are, without what they started in turn. Raises `BenchFailed` where one is missing."""
        places = {
            EXTAUTHZ: "tollway_extauthz",
            GATEWAY: str(self.state.gateway / "bootstrap.json"),
            SIDECAR: str(self.state.agent(agent) / "bootstrap.json"),
        }
        lines = children(self.pid)
        found = {name: sorted(pid for pid, line in lines.items() if sign in line) for name, sign in places.items()}
        if missing := [name for name, pids in found.items() if not pids]:
            raise BenchFailed(f"`tollway up` does not run {', '.join(missing)}: it was restarted or never came")
        return {**found, SUPERVISOR: [self.pid]}

    async def findings(self, made: Mapping[str, int]) -> LedgerFindings:
        """What the ledger has, once no hold is open. `made`: agent -> calls. Raises `BenchFailed` unless all are
        settled, by the provider's own numbers, and every counter adds up."""
        if not await until(self.is_at_rest, _SETTLED_WITHIN_S):
            raise BenchFailed(f"after {_SETTLED_WITHIN_S:.0f} s there are still open holds")
        limits = msgspec.json.decode(await self.ask("/limits"), type=Limits)
        spent = {each.quota: each.used for each in limits.counters if each.limit == BUDGET and each.used}
        expected = {agent: calls * cost_of_a_call() for agent, calls in made.items() if calls}
        if spent != expected:
            raise BenchFailed(f"the calls that were made cost {expected} nano-USD, but the ledger has {spent}")
        if mismatches := await self.mismatches():
            raise BenchFailed(f"the ledger does not add up: {mismatches} buckets of counters differ from the journal")
        return LedgerFindings({agent: calls for agent, calls in made.items() if calls}, verified=True)

    async def mismatches(self) -> int:
        """Buckets of counters that are not what the journal adds up to."""
        return len(msgspec.json.decode(await self.ask("/ledger/verify"), type=Verification).mismatches)

    async def is_at_rest(self) -> bool:
        """Whether no hold is open."""
        limits = msgspec.json.decode(await self.ask("/limits"), type=Limits)
        return not any(counter.held for counter in limits.counters)

    async def ask(self, target: str) -> bytes:
        """What the data plane answers on its admin socket. Raises `BenchFailed`."""
        connector = aiohttp.UnixConnector(path=str(self.state.socket("admin")), force_close=True)
        timeout = aiohttp.ClientTimeout(total=_ANSWERED_WITHIN_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, raise_for_status=True) as session,
                session.get(f"http://localhost{target}") as answer,
            ):
                return await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            said = str(error) or type(error).__name__
            raise BenchFailed(f"the data plane does not answer {target}: {said}") from error


@contextlib.asynccontextmanager
async def installed(
    directory: Path, documents: bytes, env: Mapping[str, str], arguments: Sequence[str] = ()
) -> AsyncIterator[Installation]:
    """`tollway up` on `documents`, once everything serves."""
    config, state, log = directory / "config", directory / "state", directory / "up.log"
    config.mkdir(parents=True)
    (config / "resources.yaml").write_bytes(documents)
    command = (sys.executable, "-m", "tollway_cli", "up", "--config", str(config), "--state", str(state), *arguments)
    ready_file = state / "ready.json"
    async with running(command, log, env) as process:

        async def is_decided() -> bool:
            return process.returncode is not None or ready_file.exists()

        in_time = await until(is_decided, _READY_WITHIN_S)
        require_alive(process, "`tollway up`", log)
        if not in_time:
            raise BenchFailed(f"`tollway up` does not serve within {_READY_WITHIN_S:.0f} s")
        ready = msgspec.json.decode(ready_file.read_bytes(), type=Ready)
        yield Installation(StateDirectory.at(state), process.pid, ready)
