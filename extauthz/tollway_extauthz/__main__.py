"""Starts the data plane (`python -m tollway_extauthz --settings FILE`): wires the parts, gives them the clock."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from aiohttp import web

from tollway.usage_report import Tried, Trusted
from tollway_extauthz.admin import Admin
from tollway_extauthz.caretaker import Caretaker
from tollway_extauthz.heap import give_back_memory
from tollway_extauthz.other_workers import OtherWorkers, telling
from tollway_extauthz.periodic import Work, every
from tollway_extauthz.rules import Rules
from tollway_extauthz.scraping import Scraping
from tollway_extauthz.serving import serve_port, serve_socket
from tollway_extauthz.settings import Settings, read_settings
from tollway_extauthz.stores.sqlite import SQLiteLedger, UnusableLedger
from tollway_extauthz.stores.sqlite.tightest import looking
from tollway_extauthz.trials import Trials
from tollway_extauthz.trying import taken_bundle
from tollway_extauthz.usage.identity import Identity
from tollway_extauthz.usage.port import UsagePort
from tollway_extauthz.usage.report import Reporting
from tollway_extauthz.worker import Worker

WRONG_USAGE: Final = 2
UNUSABLE: Final = 3
"""Exit code: it cannot start, and starting again does not help until somebody mends what it says."""
_REFRESH_S: Final = 0.1
_LEARNS_AGAIN_S: Final = 10.0
_LONGEST_TURN_S: Final = 0.001
"""For how long a thread beside may hold up the calls: while new rules are read, and reports are made."""
_LOOPBACK: Final = "127.0.0.1"


def steady_clock(booted_at: int | None = None) -> Callable[[], int]:
    """Milliseconds since the epoch: from the wall clock at start, and from then on by a clock that nobody sets.

    It counts while the machine sleeps, too: a window that ended meanwhile has ended. `booted_at`: see `Settings`.
    """

    def since_boot() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    offset = time.time_ns() - since_boot() if booted_at is None else booted_at * 1_000_000
    return lambda: (since_boot() + offset) // 1_000_000


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


def open_ledger(settings: Settings) -> SQLiteLedger:
    return SQLiteLedger(Path(settings.ledger), durability=settings.durability)


class DataPlane:
    """All parts of one process, and the order in which they start and stop.

    Every worker decides about calls. The first also settles them, takes care of the ledger, and answers people and
    scrapes.
    """

    def __init__(self, settings: Settings, ledger: SQLiteLedger, clock: Callable[[], int], life: str) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._life = life
        self._trials = Trials(settings.trust_domain, clock)
        self._worker = Worker(settings, ledger, clock, wall_clock, time.perf_counter)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; then let calls in flight be decided, and settle what the logs still tell."""
        await self._worker.refresh()
        await (self._run_first(stop) if self._settings.worker == 0 else self._run_other(stop))
        self._ledger.close()

    async def _run_first(self, stop: asyncio.Event) -> None:
        caretaker = Caretaker(self._settings, self._ledger, self._worker.rounds, self._clock, wall_clock)
        await caretaker.catch_up()
        await self._worker.start()
        runners = await self._answer_people()
        with self._answering_the_operator():
            await self._do_until(stop, caretaker.duties)
        await self._worker.finish()
        await caretaker.finish()
        for runner in runners:
            await runner.cleanup()

    async def _run_other(self, stop: asyncio.Event) -> None:
        await self._worker.start()
        runner = await serve_socket(telling(self._worker.metrics, self._life), self._settings.admin_socket)
        await self._do_until(stop, [(_LEARNS_AGAIN_S, self._worker.learn_again)])
        await self._worker.finish()
        await runner.cleanup()

    async def _do_until(self, stop: asyncio.Event, duties: Sequence[tuple[float, Work]] = ()) -> None:
        """Follow the rules until `stop`, and do `duties`."""
        both = ((_REFRESH_S, self._worker.refresh), *duties)
        tasks = [asyncio.create_task(every(seconds, work)) for seconds, work in both]
        await stop.wait()
        for task in tasks:
            task.cancel()

    async def _answer_people(self) -> Sequence[web.AppRunner]:
        """Serve the administration's socket, and its port where there is one, and the metrics' port."""
        settings, worker = self._settings, self._worker
        others = OtherWorkers(settings.other_workers)
        await others.begin()
        admin = Admin(self._ledger, lambda: worker.rules.current, worker.learned.median, self._clock, settings)
        scraping = Scraping(worker.metrics, others, lambda: worker.rules.current is not None)
        runners = [
            await serve_socket(admin.application(), settings.admin_socket),
            await serve_port(scraping.application(), settings.metrics_address, settings.metrics_port),
        ]
        if settings.admin_port:
            runners.append(await serve_port(admin.application(), _LOOPBACK, settings.admin_port))
        if settings.trials_socket:
            runners.append(await serve_socket(self._trials.application(), settings.trials_socket))
        return runners

    def _trusted(self, rules: Rules) -> tuple[Trusted, tuple[Tried, ...]]:
        settings = self._settings
        bundle = taken_bundle(_LOOPBACK, settings.gateway_port, Path(settings.identity))
        return Trusted(socket.gethostname(), bundle, rules.issuers), self._trials.heard()

    @contextmanager
    def _answering_the_operator(self) -> Iterator[None]:
        """Serve the usage port, where there is one, beside the thread that decides."""
        settings, worker = self._settings, self._worker
        if not settings.usage_port:
            yield
            return
        identity = Identity(
            Path(settings.identity), Path(settings.issuers), settings.trust_domain, settings.root_namespace
        )
        look = partial(looking, Path(settings.ledger))
        reporting = Reporting(look, lambda: worker.rules.current, worker.shortfalls, self._clock, self._trusted)
        port = UsagePort(settings.usage_address, settings.usage_port, identity, reporting.report, wall_clock)
        port.start()
        try:
            yield
        finally:
            port.stop()


async def _serve(settings: Settings, ledger: SQLiteLedger) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await DataPlane(settings, ledger, steady_clock(settings.booted_at), f"{os.getpid()}/{wall_clock()}").run(stop)


def main(open_its_ledger: Callable[[Settings], SQLiteLedger] = open_ledger) -> int:
    parser = argparse.ArgumentParser(prog="tollway-extauthz", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="JSON file (see tollway_extauthz.settings)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read_settings(arguments.settings)
        ledger = open_its_ledger(settings)
    except (ValueError, UnusableLedger) as problem:
        print(f"tollway-extauthz: {problem}", file=sys.stderr)  # noqa: T201 - before there is a log
        return WRONG_USAGE if isinstance(problem, ValueError) else UNUSABLE
    _collect_seldom()
    give_back_memory()
    sys.setswitchinterval(_LONGEST_TURN_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, ledger))
    return 0


def _collect_seldom() -> None:
    """Calls leave hardly a cycle behind: looking for them less often is some 5 % of a decision."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


if __name__ == "__main__":
    sys.exit(main())
