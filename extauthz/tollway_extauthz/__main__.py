"""Starts the data plane (`python -m tollway_extauthz --settings FILE`): wires the parts, gives them the clock."""

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import grpc
from aiohttp import ClientSession, UnixConnector, web
from prometheus_client import generate_latest

from tollway.pricing.data import default_book
from tollway_extauthz.access_log_file import AccessLogFile
from tollway_extauthz.access_log_service import AccessLogService
from tollway_extauthz.admin import Admin
from tollway_extauthz.authorizer import Authorizer
from tollway_extauthz.check_server import MOST_WAITERS, start_check_server
from tollway_extauthz.gate import Gate
from tollway_extauthz.gateway_life import GatewayLife
from tollway_extauthz.learned import LearnedOutputs
from tollway_extauthz.metrics import Metrics
from tollway_extauthz.rules import RuleSource
from tollway_extauthz.settings import Settings, read_settings
from tollway_extauthz.settler import Settler
from tollway_extauthz.stores.sqlite import SQLiteLedger

_log = logging.getLogger("tollway_extauthz")
_GRACE_S: Final = 5.0


def steady_clock() -> Callable[[], int]:
    """Milliseconds since the epoch, from the wall clock at start and a clock that never jumps from then on."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: (time.monotonic_ns() + offset) // 1_000_000


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


def open_ledger(settings: Settings) -> SQLiteLedger:
    return SQLiteLedger(Path(settings.ledger), durability=settings.durability)


class DataPlane:
    """All parts of one process, and the order in which they start and stop."""

    def __init__(self, settings: Settings, ledger: SQLiteLedger, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._ledger = ledger
        self._gate = Gate(self._ledger, clock, MOST_WAITERS, settings.hold_ms)
        learned = LearnedOutputs(self._ledger.learned(2000))
        self._rules = RuleSource(Path(settings.rules), Path(settings.issuers), settings.trust_domain, default_book())
        self._settler = Settler(self._ledger, self._gate, learned, self._metrics, clock)
        self._authorizer = Authorizer(
            lambda: self._rules.current,
            self._ledger,
            self._gate,
            learned,
            self._metrics,
            clock,
            time.perf_counter,
            uncovered_allowed=settings.uncovered == "allow",
        )
        self._admin = Admin(self._ledger, lambda: self._rules.current, learned.median, clock, settings)
        self._log_file = AccessLogFile(Path(settings.access_log), self._ledger, self._settler.take, self._reopen)
        self._following = asyncio.Lock()
        self._gateway = GatewayLife(settings.gateway_admin_socket, clock, wall_clock, self._end_older)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; then let calls in flight be decided, and settle what the logs still tell."""
        self._refresh()
        # What ended, or still ran, while nobody listened: no hold may expire before that is known.
        await self._try(self._follow_log)
        logs = await self._start_log_server()
        runners = [await self._start_admin(), await self._start_metrics()]
        checks = start_check_server(self._authorizer, self._settings.check_socket)
        Path(self._settings.check_socket).chmod(0o600)
        _log.info("ready on %s", self._settings.check_socket)
        tasks = [
            asyncio.create_task(self._every(0.1, self._refresh)),
            asyncio.create_task(self._every(0.1, self._sync)),
            asyncio.create_task(self._every(0.2, self._follow_log)),
            asyncio.create_task(self._every(0.25, self._settler.expire)),
            asyncio.create_task(self._every(0.5, self._gateway.look)),
        ]
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(checks.stop(_GRACE_S).wait)
        await self._try(self._follow_log)
        self._log_file.close()
        await logs.stop(_GRACE_S)
        for runner in runners:
            await runner.cleanup()
        self._ledger.close()

    async def _start_log_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((AccessLogService(self._settler.take, self._metrics).handler(),))
        server.add_insecure_port(f"unix:{self._settings.logs_socket}")
        await server.start()
        Path(self._settings.logs_socket).chmod(0o600)
        return server

    async def _start_admin(self) -> web.AppRunner:
        runner = web.AppRunner(self._admin.application(), access_log=None)
        await runner.setup()
        Path(self._settings.admin_socket).unlink(missing_ok=True)
        await web.UnixSite(runner, self._settings.admin_socket).start()
        Path(self._settings.admin_socket).chmod(0o600)
        return runner

    async def _start_metrics(self) -> web.AppRunner:
        """The only thing served to the network: numbers, and whether this process lives and is ready."""
        app = web.Application()
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/healthz", self._show_health)
        app.router.add_get("/readyz", self._show_readiness)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, self._settings.metrics_address, self._settings.metrics_port).start()
        return runner

    async def _show_metrics(self, _: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest, self._metrics.registry)
        return web.Response(body=body, content_type="text/plain", charset="utf-8")

    async def _show_health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _show_readiness(self, _: web.Request) -> web.Response:
        if self._rules.current is None:
            return web.Response(status=503, text="no rules yet\n")
        return web.Response(text="ok\n")

    def _refresh(self) -> None:
        if self._rules.refresh() and self._rules.current is not None:
            self._metrics.generation.set(self._rules.current.generation)

    async def _follow_log(self) -> None:
        async with self._following:
            await self._log_file.poll()

    async def _end_older(self, gateway_started: int) -> None:
        """The gateway that carried older holds is gone. All that it wrote is in the file by now."""
        await self._follow_log()
        self._settler.expire(granted_before=gateway_started)

    async def _reopen(self) -> None:
        connector = UnixConnector(self._settings.gateway_admin_socket)
        async with ClientSession(connector=connector) as session, session.post("http://envoy/reopen_logs") as answer:
            answer.raise_for_status()

    async def _sync(self) -> None:
        await asyncio.to_thread(self._ledger.sync)  # waits for the disk

    async def _every(self, seconds: float, work: Callable[[], object | Awaitable[object]]) -> None:
        """Do `work` again and again: none of this may stop for good."""
        while True:
            await self._try(work)
            await asyncio.sleep(seconds)

    async def _try(self, work: Callable[[], object | Awaitable[object]]) -> None:
        try:
            result = work()
            if isinstance(result, Awaitable):
                await result
        except Exception:  # noqa: BLE001 - whatever it is, the next round may succeed
            _log.exception("a periodic task failed and is tried again")


async def _serve(settings: Settings, ledger: SQLiteLedger) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await DataPlane(settings, ledger, steady_clock()).run(stop)


def main(open_its_ledger: Callable[[Settings], SQLiteLedger] = open_ledger) -> int:
    parser = argparse.ArgumentParser(prog="tollway-extauthz", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="JSON file (see tollway_extauthz.settings)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read_settings(arguments.settings)
    except ValueError as problem:
        print(f"tollway-extauthz: {problem}", file=sys.stderr)  # noqa: T201 - before there is a log
        return 2
    asyncio.run(_serve(settings, open_its_ledger(settings)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
