"""The only thing served to the network: numbers, and whether this process lives and is ready."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tollway_extauthz.metrics import Counts, Metrics, families, total
from tollway_extauthz.other_workers import OtherWorkers


@dataclass(frozen=True, slots=True, eq=False)
class Scrape(Collector):
    """What was counted. `generation`: of the rules in force. `silent`: how many workers did not answer."""

    counts: Counts
    generation: int = 0
    silent: int = 0

    def collect(self) -> Iterator[Metric]:
        yield from families(self.counts, self.generation)
        yield GaugeMetricFamily(
            "tollway_workers_silent",
            "Workers that did not answer: of what they counted, what they said last is in the sums.",
            self.silent,
        )


class Scraping:
    """`metrics` are this worker's."""

    def __init__(self, metrics: Metrics, others: OtherWorkers, is_ready: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._others = others
        self._is_ready = is_ready

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/healthz", self._show_health)
        app.router.add_get("/readyz", self._show_readiness)
        return app

    async def _show_metrics(self, _: web.Request) -> web.Response:
        others, silent = await self._others.count()
        counts = total((self._metrics.counts(), others))
        body = await asyncio.to_thread(_text, Scrape(counts, self._metrics.generation, silent))
        return web.Response(body=body, content_type="text/plain", charset="utf-8")

    async def _show_health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _show_readiness(self, _: web.Request) -> web.Response:
        if not self._is_ready():
            return web.Response(status=503, text="no rules yet\n")
        return web.Response(text="ok\n")


def _text(scrape: Collector) -> bytes:
    registry = CollectorRegistry()
    registry.register(scrape)
    return generate_latest(registry)
