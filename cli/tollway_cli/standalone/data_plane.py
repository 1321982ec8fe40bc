"""The data-plane process (`tollway_extauthz`) seen from the supervisor: its settings, its rules, what it runs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from tollway.resources.models import ResourceSet, RuleFile
from tollway_cli.standalone.ports import LOOPBACK
from tollway_cli.standalone.probes import ask_port, ask_socket, until
from tollway_cli.standalone.state import StateDirectory
from tollway_operator.atomic_files import write_file

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


class _Status(msgspec.Struct):
    generation: int | None


class DataPlane:
    """Publishes rules in generations that never go back, and asks which one is in force."""

    def __init__(self, state: StateDirectory, options: DataPlaneOptions, generation: int) -> None:
        self._state = state
        self._options = options
        self.generation = generation

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-m", self._options.module, "--settings", str(self._state.extauthz / "settings.json"))

    def settings(self) -> bytes:
        """What it reads at start, to be written to `settings.json`."""
        return msgspec.json.format(msgspec.json.encode(self._settings()), indent=2)

    def publish(self, resources: ResourceSet) -> None:
        """Put `resources` into force there, without any Secret. It is taken within a moment: `runs` waits for that."""
        self.generation += 1
        rules = RuleFile(self.generation, replace(resources, secrets=()))
        write_file(self._state.extauthz / "rules.json", msgspec.json.encode(rules))

    async def runs(self) -> bool:
        """Wait until what was published last is in force."""
        return await until(self._in_force, TAKES_RULES_WITHIN)

    async def is_ready(self) -> bool:
        return await ask_port(self._options.metrics_port, "/readyz") is not None

    async def _in_force(self) -> bool:
        answer = await ask_socket(self._state.socket("admin"), "/status")
        return answer is not None and msgspec.json.decode(answer, type=_Status).generation == self.generation

    def _settings(self) -> Mapping[str, str | int]:
        state, options = self._state, self._options
        return {
            "trust_domain": options.trust_domain,
            "rules": str(state.extauthz / "rules.json"),
            "issuers": str(state.extauthz / "issuers.pem"),
            "ledger": options.ledger,
            "durability": "normal",
            "check_socket": str(state.socket("check")),
            "logs_socket": str(state.socket("logs")),
            "access_log": str(state.gateway / "access.log"),
            "gateway_admin_socket": str(state.socket("gateway")),
            "admin_socket": str(state.socket("admin")),
            "metrics_address": LOOPBACK,
            "metrics_port": options.metrics_port,
            "uncovered": options.uncovered,
            "hold_ms": options.hold_ms,
        }
