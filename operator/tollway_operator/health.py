"""What the operator serves to the pod network: whether it lives, whether it is ready, and numbers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from tollway_operator.metrics import Metrics, Standing

PORT: Final = 9467
_LONGEST_TURN_S: Final = 30.0
"""A loop that did not turn for so long is stuck: it turns at least once a second."""


class Health:
    """`standing` is asked with each probe; the event loop that answers is the one that reconciles."""

    def __init__(self, standing: Callable[[], Standing], metrics: Metrics) -> None:
        self._standing = standing
        self._metrics = metrics

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/healthz", self._show_health)
        app.router.add_get("/readyz", self._show_readiness)
        app.router.add_get("/metrics", self._show_metrics)
        return app

    @asynccontextmanager
    async def served(self, host: str | None, port: int) -> AsyncIterator[None]:
        """Every address of this machine where `host` is None; nothing at all where `port` is 0. Raises `OSError`."""
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            if port:
                await web.TCPSite(runner, host, port).start()
            yield
        finally:
            await runner.cleanup()

    async def _show_health(self, _: web.Request) -> web.Response:
        ago = self._standing().turned_ago
        if ago > _LONGEST_TURN_S:
            return web.Response(status=503, text=f"the loop has not turned for {ago:.0f} s\n")
        return web.Response(text="ok\n")

    async def _show_readiness(self, _: web.Request) -> web.Response:
        now = self._standing()
        if now.leads and now.listed_ago is not None:
            return web.Response(text="leads\n")
        if now.stands_by:
            return web.Response(text="stands by: another operator leads\n")
        return web.Response(status=503, text=_unready(now))

    async def _show_metrics(self, _: web.Request) -> web.Response:
        body = await asyncio.to_thread(self._metrics.text, self._standing())
        return web.Response(body=body, content_type="text/plain", charset="utf-8")


def _unready(now: Standing) -> str:
    return "the cluster is not listed yet\n" if now.leads else "nobody is known to hold the Lease\n"
