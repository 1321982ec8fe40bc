"""An operator inside the test, against a real API server: so that it can be killed at any write.

It watches nothing: it lists at its start, and sees what it writes. Of two, each lists again every second, too.
"""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tollway.pricing.data import default_book
from tollway_operator.cluster.client import Answer, Transport
from tollway_operator.cluster.connection import connect
from tollway_operator.cluster.errors import Unavailable
from tollway_operator.cluster.kinds import Object
from tollway_operator.control import Clocks, Operator, Options
from tollway_operator.reconciling.snapshot import Installation

CLOCKS: Final = Clocks(lambda: time.time_ns() // 1_000_000, time.monotonic, random.random)
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Recorder:
    """Records the writes of one life, and ends it right after one of them: the server has it, nobody hears of it."""

    def __init__(self, inner: Transport, dies_after: int = 0) -> None:
        self._inner = inner
        self._dies_after = dies_after
        self.writes: list[str] = []
        self.dead = asyncio.Event()

    async def send(self, method: str, url: str, body: Object | None, content_type: str) -> Answer:
        if self.dead.is_set():
            raise Unavailable("the process is gone")
        # Renewing the Lease is not part of a reconcile.
        counts = method in _WRITES and not (method == "PUT" and "/leases/" in url)
        answer = await self._inner.send(method, url, body, content_type)
        if self.dead.is_set():
            raise Unavailable("the process is gone")
        if counts:
            self.writes.append(f"{method} {url.partition('?')[0]} {answer.status}")
        if counts and len(self.writes) == self._dies_after:
            self.dead.set()
            await asyncio.Event().wait()
        return answer


async def live(
    kubeconfig: Path, installation: Installation, dies_after: int = 0, me: str = "operator-0", twice: bool = False
) -> Recorder:
    """One life of an operator (or of two at once, both with the right to write): until it dies or all is done."""
    connection = await connect(kubeconfig, 20)
    recorder = Recorder(connection, dies_after)
    options = Options(installation, me, lease_s=15.0, resync_s=1.0 if twice else 600.0)
    operators = [
        Operator(options, recorder, default_book(), CLOCKS, watch=lambda _watches, _deliver: ())
        for _ in range(2 if twice else 1)
    ]
    running = []
    try:
        for operator in operators:
            running.append(asyncio.create_task(operator.run()))
            # Who comes a little later takes the Lease that is its own by name, and so both write from the beginning.
            await _until(lambda operator=operator: recorder.dead.is_set() or operator.leads, operators, running)
        await _until(lambda: recorder.dead.is_set() or all(map(_is_settled, operators)), operators, running)
    finally:
        recorder.dead.set()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await connection.close()
    return recorder


def _is_settled(operator: Operator) -> bool:
    return operator.leads and operator.is_settled


async def _until(holds: Callable[[], bool], operators: list[Operator], running: list[asyncio.Task[None]]) -> None:
    deadline = time.monotonic() + 120
    quiet = 0
    while quiet < 3:
        for task in running:
            if task.done():
                task.result()
        assert time.monotonic() < deadline, f"it does not settle: {[each.standing() for each in operators]}"
        quiet = quiet + 1 if holds() else 0
        await asyncio.sleep(0.02)
