"""Envoys that the bench itself starts: the provider, and the two of the bare road. Run as Tollway runs its own."""

import contextlib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.failures import BenchFailed
from bench.processes import require_alive, running
from tollway_cli.standalone.envoys import command
from tollway_extauthz.keeping.probes import ask_socket, until
from tollway_operator.envoy.binary import envoy_binary

_READY_WITHIN_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class EnvoyPlan:
    """`directory` gets its configuration and log; `concurrency` is its number of worker threads."""

    name: str
    directory: Path
    bootstrap: bytes
    admin_socket: Path
    concurrency: int


@contextlib.asynccontextmanager
async def serving(plan: EnvoyPlan, env: Mapping[str, str]) -> AsyncIterator[Process]:
    """A running Envoy that serves. Raises `BenchFailed` where it does not."""
    plan.directory.mkdir(parents=True, exist_ok=True)
    bootstrap, log = plan.directory / "bootstrap.json", plan.directory / "envoy.log"
    bootstrap.write_bytes(plan.bootstrap)
    async with running(command(envoy_binary(), bootstrap, plan.concurrency), log, env) as process:

        async def is_decided() -> bool:
            return process.returncode is not None or await ask_socket(plan.admin_socket, "/ready") == b"LIVE\n"

        in_time = await until(is_decided, _READY_WITHIN_S)
        require_alive(process, plan.name, log)
        if not in_time:
            raise BenchFailed(f"{plan.name} does not serve within {_READY_WITHIN_S:.0f} s")
        yield process
