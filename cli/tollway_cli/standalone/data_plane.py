"""The data plane (`tollway_extauthz`) seen from the supervisor: its workers' settings and rules, what they run."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from tollway.resources.models import ResourceSet, RuleFile
from tollway_cli.standalone.ports import LOOPBACK
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.standalone.workers import all_numbered, numbered
from tollway_extauthz.keeping.probes import ask_port, ask_socket, until
from tollway_files.atomic import write_file

TAKES_RULES_WITHIN: Final = 5.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class DataPlaneOptions:
    trust_domain: str
    ledger: str
    uncovered: str
    metrics_port: int
    hold_ms: int
    module: str
    workers: int = 1
    booted_at: int | None = None
    """By which several workers agree what time it is: when this machine started, milliseconds since the epoch."""


class _Status(msgspec.Struct):
    generation: int | None = None
    issuers: str | None = None


class DataPlane:
    """Publishes rules in generations that never go back, and asks which one is in force."""

    def __init__(self, state: StateDirectory, options: DataPlaneOptions, generation: int) -> None:
        self._state = state
        self._options = options
        self.generation = generation

    def settings_file(self, worker: int) -> Path:
        return self._state.extauthz / f"{numbered('settings', worker)}.json"

    def command(self, worker: int) -> tuple[str, ...]:
        return (sys.executable, "-m", self._options.module, "--settings", str(self.settings_file(worker)))

    def settings(self, worker: int) -> bytes:
        """What it reads at start, to be written to `settings_file`."""
        return msgspec.json.format(msgspec.json.encode(self._settings(worker)), indent=2)

    def publish(self, resources: ResourceSet) -> None:
        """Put `resources` into force there, without any Secret. It is taken within a moment: `runs` waits for that."""
        self.generation += 1
        rules = RuleFile(self.generation, replace(resources, secrets=()))
        write_file(self._state.extauthz / "rules.json", msgspec.json.encode(rules))

    async def runs(self) -> bool:
        """Wait until what was published last is in force in every worker."""
        return await until(self._in_force, TAKES_RULES_WITHIN)

    async def issuers(self) -> str:
        """The digest of the signing CAs by which every worker recognises callers; empty where they do not agree."""
        workers = range(self._options.workers)
        found = {status.issuers for status in await asyncio.gather(*(_status(self._state, each) for each in workers))}
        return (found.pop() or "") if len(found) == 1 else ""

    async def is_ready(self, worker: int) -> bool:
        if worker == 0:
            return await ask_port(self._options.metrics_port, "/readyz") is not None
        return await in_force(self._state, worker) is not None

    async def _in_force(self) -> bool:
        found = await asyncio.gather(*(in_force(self._state, worker) for worker in range(self._options.workers)))
        return all(generation == self.generation for generation in found)

    def _settings(self, worker: int) -> Mapping[str, str | int | Sequence[str] | None]:
        state, options = self._state, self._options
        admin_sockets = [str(state.socket(name)) for name in all_numbered("admin", options.workers)]
        return {
            "trust_domain": options.trust_domain,
            "rules": str(state.extauthz / "rules.json"),
            "issuers": str(state.extauthz / "issuers.pem"),
            "ledger": options.ledger,
            "durability": "normal",
            "check_socket": str(state.socket(numbered("check", worker))),
            "access_log": str(state.gateway / "access.log"),
            "gateway_admin_socket": str(state.socket("gateway")),
            "admin_socket": admin_sockets[worker],
            "metrics_address": LOOPBACK,
            "metrics_port": options.metrics_port,
            "uncovered": options.uncovered,
            "hold_ms": options.hold_ms,
            "worker": worker,
            "other_workers": admin_sockets[1:],
            "booted_at": options.booted_at if options.workers > 1 else None,
        }


async def in_force(state: StateDirectory, worker: int) -> int | None:
    """The generation of the rules by which a worker decides; None where it has none, or does not answer."""
    return (await _status(state, worker)).generation


async def _status(state: StateDirectory, worker: int) -> _Status:
    answer = await ask_socket(state.socket(numbered("admin", worker)), "/status")
    return msgspec.json.decode(answer, type=_Status) if answer is not None else _Status()
