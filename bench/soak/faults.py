"""What is done to the installation, in turn. Each takes the processes as they are at that moment."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.roads import EXTAUTHZ, GATEWAY, SIDECAR

PAUSE_S: Final = 3.0

Processes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`lasts`: seconds until what it does is over, and only recovering is left."""

    name: str
    do: Callable[[Processes, Callable[[], None]], Awaitable[None]]
    lasts: float = 0.0


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _killing(*names: str) -> Callable[[Processes, Callable[[], None]], Awaitable[None]]:
    async def kill(processes: Processes, hang_up: Callable[[], None]) -> None:
        del hang_up
        for name in names:
            _send(processes.get(name, ()), signal.SIGKILL)

    return kill


async def _pause(processes: Processes, hang_up: Callable[[], None]) -> None:
    """A process that the kernel gives no time."""
    del hang_up
    pids = processes.get(EXTAUTHZ, ())
    _send(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(PAUSE_S)
    finally:
        _send(pids, signal.SIGCONT)


async def _everybody_leaves(processes: Processes, hang_up: Callable[[], None]) -> None:
    del processes
    hang_up()


FAULTS: Final[Sequence[Fault]] = (
    Fault("extauthz is killed", _killing(EXTAUTHZ)),
    Fault("the gateway's Envoy is killed", _killing(GATEWAY)),
    Fault("a sidecar's Envoy is killed", _killing(SIDECAR)),
    Fault(f"extauthz is stopped for {PAUSE_S:.0f} s", _pause, PAUSE_S),
    Fault("every second caller hangs up at once", _everybody_leaves),
    Fault("extauthz and the gateway's Envoy are killed", _killing(EXTAUTHZ, GATEWAY)),
)
