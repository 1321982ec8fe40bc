"""The metrics of the operator. Labels are bounded: topics, kinds and codes, never names of objects."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tollway_operator.cluster.client import Answer, Transport
from tollway_operator.cluster.errors import ClusterError, Conflict, NotLeading, Refused, Unavailable
from tollway_operator.cluster.kinds import Object

_PREFIX: Final = "tollway_operator_"
_OUTCOMES: Final = ((Conflict, "conflict"), (NotLeading, "not_leading"), (Unavailable, "unavailable"))
NO_ANSWER: Final = "none"
"""The code of a request that nobody answered."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an operator stands at this moment. Seconds, but for `earliest_expiry`: milliseconds since the epoch, None
    where no SVID is known; `listed_ago` is None before the first whole listing of this lead."""

    leads: bool
    stands_by: bool
    turned_ago: float
    listed_ago: float | None
    earliest_expiry: int | None


class Metrics:
    """What is counted since the start; a scrape adds how the operator stands."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._reconciles = self._counter("reconciles", "Looks at what may have changed.", "topic", "outcome")
        self._requests = self._counter("api_requests", "Requests but for watches.", "verb", "kind", "code")
        self._issued = self._counter("svids_issued", "SVIDs signed and handed over.", "delivery")
        self._listings = self._counter("listings", "Whole listings of everything that is watched.")
        ProcessCollector(registry=self._registry)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, says, labels, registry=self._registry)

    def looked(self, topic: str, error: Exception | None) -> None:
        self._reconciles.labels(topic, _outcome(error)).inc()

    def asked(self, method: str, url: str, code: int | None) -> None:
        """`code` is None where no answer came."""
        self._requests.labels(method, resource_of(url), str(code) if code is not None else NO_ANSWER).inc()

    def issued(self, delivery: str) -> None:
        self._issued.labels(delivery).inc()

    def listed(self) -> None:
        self._listings.inc()

    def text(self, standing: Standing) -> bytes:
        """In Prometheus' text format. May run in another thread than the counting."""
        now = CollectorRegistry()
        now.register(_Standings(standing))
        return generate_latest(self._registry) + generate_latest(now)


@dataclass(frozen=True, slots=True, eq=False)
class _Standings(Collector):
    standing: Standing

    def collect(self) -> Iterator[Metric]:
        now = self.standing
        yield _gauge("leads", "1 where this operator holds the Lease and writes.", float(now.leads))
        if now.listed_ago is not None:
            yield _gauge("seconds_since_listing", "Since everything was listed the last time.", now.listed_ago)
        if now.earliest_expiry is not None:
            says = "When the first of all SVIDs that are known ends, in seconds since the epoch."
            yield _gauge("earliest_expiry_seconds", says, now.earliest_expiry / 1000)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, says, value)


def _outcome(error: Exception | None) -> str:
    if error is None:
        return "done"
    if isinstance(error, Refused):
        return "refused"
    named = next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), None)
    return named or ("cluster_error" if isinstance(error, ClusterError) else "failed")


def resource_of(url: str) -> str:
    """The plural of what is asked for, with its subresource: "agentidentities/status"; "discovery" for no objects."""
    parts = url.partition("?")[0].strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    return "/".join(filter(None, (rest[0], *rest[2:3]))) if rest else "discovery"


class CountedTransport:
    """A `Transport` whose requests are counted."""

    def __init__(self, inner: Transport, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def send(self, method: str, url: str, body: Object | None, content_type: str) -> Answer:
        try:
            answer = await self._inner.send(method, url, body, content_type)
        except Unavailable:
            self._metrics.asked(method, url, None)
            raise
        self._metrics.asked(method, url, answer.status)
        return answer
