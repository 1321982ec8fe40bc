"""Tollway as anybody runs it (`tollway up` on YAML files, a ledger on disk), and its own word on what was called."""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bench.chat import COMPLETION_TOKENS, PROMPT_TOKENS
from bench.failures import BenchFailed
from bench.processes import answer_of, children, require_alive, running
from bench.roads import EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR
from tollway_cli.standalone.probes import until
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.views.answers import Calls, Limits
from tollway_cli.views.instance import Ready

NAMESPACE: Final = "bench"
AGENT: Final = f"{NAMESPACE}/caller"
PROVIDER: Final = "openai"
KEY: Final = "sk-the-key-of-the-bench"
LIMITS: Final[Sequence[Mapping[str, object]]] = (
    {"name": "budget", "cost": "9000000", "window": "Month"},
    {"name": "rpm", "requests": 100_000_000, "window": "1m"},
    {"name": "parallel", "concurrent": 10_000},
)
"""A usual quota, but so large that no call is ever short: a refusal would be faster than a call."""

_API: Final = "tollway.dev/v1alpha1"
_READY_WITHIN_S: Final = 60.0
_SETTLED_WITHIN_S: Final = 30.0
_ANSWERED_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class LedgerFindings:
    """What the ledger says about the run: calls by how they ended, and whether every counter adds up."""

    settled: int
    outcomes: Mapping[str, int]
    verified: bool


def resources(endpoint: str) -> bytes:
    """The configuration: one agent, one provider at `endpoint` with a credential, one quota."""
    documents: Sequence[Mapping[str, object]] = (
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "openai-key", "namespace": "tollway-system"},
            "stringData": {"api-key": KEY},
        },
        _resource(
            "AIProvider",
            {"name": PROVIDER},
            type="OpenAI",
            endpoint=endpoint,
            allowPlaintext=True,
            credential={"secretRef": {"name": "openai-key", "key": "api-key"}},
        ),
        _resource(
            "AgentIdentity",
            {"name": AGENT.partition("/")[2], "namespace": NAMESPACE},
            selector={"matchLabels": {"app": "caller"}},
        ),
        _resource("AIQuota", {"name": "usual", "namespace": NAMESPACE}, limits=LIMITS),
    )
    return "\n---\n".join(map(json.dumps, documents)).encode()


def _resource(kind: str, metadata: Mapping[str, str], **spec: object) -> Mapping[str, object]:
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}


class Installation:
    """A running `tollway up`."""

    def __init__(self, state: StateDirectory, pid: int, ready: Ready, env: Mapping[str, str]) -> None:
        self.state = state
        self._pid = pid
        self._ready = ready
        self._env = env

    @property
    def address(self) -> tuple[str, int, str]:
        """Host, port and path prefix of the agent's base URL."""
        url = urlsplit(self._ready.agents[AGENT].base_urls[PROVIDER])
        return url.hostname or "", url.port or 0, url.path

    def processes(self) -> Mapping[str, int]:
        """Raises `BenchFailed` where one is missing."""
        places = {
            EXTAUTHZ: "tollway_extauthz",
            GATEWAY: str(self.state.gateway / "bootstrap.json"),
            SIDECAR: str(self.state.agent(AGENT) / "bootstrap.json"),
        }
        lines = children(self._pid)
        found = {name: pid for name, sign in places.items() for pid, line in lines.items() if sign in line}
        if missing := places.keys() - found:
            raise BenchFailed(f"`tollway up` does not run {', '.join(sorted(missing))}: it was restarted or never came")
        return {**found, SUPERVISOR: self._pid}

    async def findings(self, made: int) -> LedgerFindings:
        """What the ledger has, once no hold is open. Raises `BenchFailed` unless `made` calls are settled, all by the
        provider's own numbers, and every counter adds up."""
        await until(self._is_at_rest, _SETTLED_WITHIN_S)
        calls = msgspec.json.decode(await self._tollway("ledger", "-o", "json"), type=Calls).calls
        outcomes = Counter(f"{call.outcome} ({call.source or call.reason})" for call in calls)
        settled = sum((call.input_tokens, call.output_tokens) == (PROMPT_TOKENS, COMPLETION_TOKENS) for call in calls)
        if outcomes != {"settled (provider)": made} or settled != made:
            raise BenchFailed(f"{made} calls were made, but the ledger has: {dict(outcomes)}, {settled} as answered")
        await self._tollway("ledger", "verify")
        return LedgerFindings(settled, outcomes, verified=True)

    async def _is_at_rest(self) -> bool:
        limits = msgspec.json.decode(await self._tollway("limits", "-o", "json"), type=Limits)
        return not any(counter.held for counter in limits.counters)

    async def _tollway(self, *arguments: str) -> bytes:
        command = (sys.executable, "-m", "tollway_cli", *arguments, "--state", str(self.state.root))
        return await answer_of(command, self._env, _ANSWERED_WITHIN_S)


@contextlib.asynccontextmanager
async def installed(directory: Path, documents: bytes, env: Mapping[str, str]) -> AsyncIterator[Installation]:
    """`tollway up` on `documents`, once everything serves."""
    config, state, log = directory / "config", directory / "state", directory / "up.log"
    config.mkdir(parents=True)
    (config / "resources.yaml").write_bytes(documents)
    command = (sys.executable, "-m", "tollway_cli", "up", "--config", str(config), "--state", str(state))
    ready_file = state / "ready.json"
    async with running(command, log, env) as process:

        async def is_decided() -> bool:
            return process.returncode is not None or ready_file.exists()

        in_time = await until(is_decided, _READY_WITHIN_S)
        require_alive(process, "`tollway up`", log)
        if not in_time:
            raise BenchFailed(f"`tollway up` does not serve within {_READY_WITHIN_S:.0f} s")
        ready = msgspec.json.decode(ready_file.read_bytes(), type=Ready)
        yield Installation(StateDirectory.at(state), process.pid, ready, env)
