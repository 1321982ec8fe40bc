"""The whole operator: who leads, what is watched, what is listed again, and the loop that reconciles.

watches, listings, own writes ──▶ store ──changes──▶ loop ──key──▶ plan ──actions──▶ API server
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from tollway.identity.rotation import USUAL, Pace
from tollway.pricing.table import PriceBook
from tollway_operator.authority.stored import StoredAuthority
from tollway_operator.cluster import kinds
from tollway_operator.cluster.client import Client, Gate, Transport
from tollway_operator.cluster.errors import ClusterError, NotLeading
from tollway_operator.cluster.kinds import Kind
from tollway_operator.cluster.lease import Leadership
from tollway_operator.cluster.service_account import ServiceAccount
from tollway_operator.metrics import CountedTransport, Metrics, Standing
from tollway_operator.names import AUTHORITY, is_svid_secret
from tollway_operator.reconciling.acting import Actor, TrustedAuthority
from tollway_operator.reconciling.actions import Key
from tollway_operator.reconciling.answering import Answering
from tollway_operator.reconciling.loop import Loop
from tollway_operator.reconciling.reconciler import Reconciler
from tollway_operator.reconciling.reporting import ReportSource, Silence
from tollway_operator.reconciling.snapshot import Installation, Snapshot
from tollway_operator.signing.request import SIGNER
from tollway_operator.watching.facts import AgentFact, Fact, SecretFact, moment
from tollway_operator.watching.feeds import Deliver, Feed, Patience, into, scopes
from tollway_operator.watching.listing import Watch, list_all
from tollway_operator.watching.store import Store
from tollway_operator.watching.watched import REQUIRED, watches

_log = logging.getLogger(__name__)
_JOIN_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """Seconds, where it is a time. `me` is unique to this process, and the same for a container started again."""

    installation: Installation
    me: str
    lease_s: float = 15.0
    resync_s: float = 600.0
    report_s: float = 10.0
    reports: tuple[str, int] | None = None
    """Host and port where the replicas of the gateway report."""
    pace: Pace = USUAL
    """Of the authority."""
    patience: Patience = field(default_factory=Patience)
    account: ServiceAccount | None = None
    """As whom it watches; None: by the kubeconfig that KUBECONFIG names."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """`wall`: milliseconds since the epoch. `steady`: seconds, never jumps. `jitter`: in [0, 1)."""

    wall: Callable[[], int]
    steady: Callable[[], float]
    jitter: Callable[[], float]


class Watcher(Protocol):
    """What watches, in threads of its own, until it is stopped."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def join(self, timeout: float) -> None: ...


Watching = Callable[[Sequence[Watch], Deliver], Sequence[Watcher]]


class Operator:
    """`run` until cancelled. Made inside the event loop."""

    def __init__(
        self,
        options: Options,
        transport: Transport,
        prices: PriceBook,
        clocks: Clocks,
        reports: ReportSource | None = None,
        watch: Watching | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._options = options
        self._clocks = clocks
        self._metrics = metrics or Metrics()
        self._watching = watch or self._by_kopf
        self._reports = reports or Silence()
        installation = options.installation
        reader = Client(CountedTransport(transport, self._metrics), Gate(clocks.steady, clocks.jitter))
        self._leadership = Leadership(
            reader, installation.root_namespace, options.me, clocks.steady, clocks.wall, options.lease_s
        )
        self._client = reader.writing_if(lambda: self._leadership.held)
        self._store = Store()
        stored = StoredAuthority(self._client, installation.trust_domain, installation.root_namespace, options.pace)
        self._authority = TrustedAuthority(stored)
        answering = Answering(self._client, self._store, installation, clocks.jitter)
        issued = self._metrics.issued
        actor = Actor(self._client, self._store, self._authority, answering, clocks.wall, self._trusted, issued)
        self._up_to_date = False
        self._listed_at: float | None = None
        self.loop = Loop(self._look, clocks.steady, self._may_reconcile, clocks.jitter)
        self._reconciler = Reconciler(
            Snapshot(self._store, installation), actor, prices, clocks.wall, self.loop.trigger
        )
        self._store.on_change(self._reconciler.changed)
        self._store.on_change(self._authority_changed)
        self._feeds: Sequence[Watcher] = ()
        self._watched: Sequence[Watch] = ()

    @property
    def leads(self) -> bool:
        return self._leadership.held

    @property
    def is_settled(self) -> bool:
        """Whether everything was listed and looked at since the lead was taken, and nothing is missing."""
        return self._up_to_date and self._authority.trust is not None and self.loop.is_idle

    def standing(self) -> Standing:
        """For probes and scrapes."""
        now = self._clocks.steady()
        ends = [*_secret_ends(self._store), *_status_ends(self._store)]
        return Standing(
            leads=self.leads,
            stands_by=self._leadership.stands_by,
            turned_ago=now - self.loop.turned_at,
            listed_ago=now - self._listed_at if self._listed_at is not None else None,
            earliest_expiry=min(ends, default=None),
        )

    async def run(self) -> None:
        """For ever; on the way out the Lease is given back."""
        tasks = [self._leadership.keep(), self._keep_up_to_date(), self._ask_gateway(), self.loop.run()]
        running = [asyncio.create_task(task) for task in tasks]
        try:
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            # First of all, so that the next one can begin: watches take their time.
            await self._leadership.release()
            self._stop_watching()

    # Leading

    def _may_reconcile(self) -> bool:
        if not self._leadership.held:
            # Somebody else may write from now on: nothing that is known now can be relied on later.
            if self._up_to_date:
                _log.warning("the Lease is lost: nothing is written any more")
            self._up_to_date = False
            self._listed_at = None
        return self._up_to_date

    async def _look(self, key: Key) -> float | None:
        try:
            again = await self._look_if_leading(key)
        except Exception as error:
            self._metrics.looked(key.topic, error)
            raise
        self._metrics.looked(key.topic, None)
        return again

    async def _look_if_leading(self, key: Key) -> float | None:
        if not self._leadership.held:
            raise NotLeading("another operator holds the Lease")
        return await self._reconciler.look(key)

    def _trusted(self) -> None:
        self._reconciler.trusts(self._authority.trust, self._authority.root)

    def _authority_changed(self, kind: Kind, _: Fact | None, after: Fact | None) -> None:
        """Somebody else wrote the authority's Secret."""
        stored = self._authority.stored
        is_it = kind is kinds.SECRET and after is not None and after.me.name == AUTHORITY
        if is_it and after is not None and after.me.resource_version != stored.resource_version:
            stored.forget()

    # Watching

    async def _keep_up_to_date(self) -> None:
        """List everything when the lead is taken, and again now and then."""
        while True:
            while not self._leadership.held:  # noqa: ASYNC110 - it ends by the clock
                await asyncio.sleep(0.05)
            try:
                await self._list()
            except ClusterError as error:
                _log.warning("the cluster cannot be read: %s", error)
                await asyncio.sleep(1.0)
                continue
            await self._stay()

    async def _list(self) -> None:
        chosen = await self._watches()
        if chosen != self._watched:
            await asyncio.to_thread(self._stop_watching)
            self._watch(chosen)
        if not self._up_to_date:
            self._authority.stored.forget()
        await list_all(self._client, chosen, self._store)
        self._up_to_date = True
        self._listed_at = self._clocks.steady()
        self._metrics.listed()
        self._reconciler.look_at_everything()

    async def _stay(self) -> None:
        """Until it is time to list again, or the lead was lost."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.resync_s
        while self._may_reconcile() and loop.time() < until:  # noqa: ASYNC110 - both end by the clock
            await asyncio.sleep(0.1)

    async def _watches(self) -> Sequence[Watch]:
        """What the cluster can be watched for. Raises `ClusterError` while Tollway's own kinds are not there."""
        for kind in REQUIRED:
            if not await self._client.serves(kind):
                raise ClusterError(f"the kind {kind.plural}.{kind.group} is not there: install the CRDs (crds/)")
        optional = kinds.POD_CERTIFICATE_REQUEST, kinds.CLUSTER_TRUST_BUNDLE
        has = [kind for kind in optional if await self._client.serves(kind)]
        self._reconciler.delivers_pod_certificates(len(has) == 2)
        installation = self._options.installation
        wanted = watches(installation.root_namespace, installation.secret_namespaces, SIGNER)
        return [watch for watch in wanted if watch.kind.group != "certificates.k8s.io" or watch.kind in has]

    def _watch(self, chosen: Sequence[Watch]) -> None:
        self._watched = chosen
        self._feeds = self._watching(chosen, into(self._store))
        for feed in self._feeds:
            feed.start()

    def _by_kopf(self, chosen: Sequence[Watch], deliver: Deliver) -> Sequence[Watcher]:
        patience, account = self._options.patience, self._options.account
        return [Feed(where, of, deliver, patience, account) for where, of in scopes(chosen)]

    def _stop_watching(self) -> None:
        for feed in self._feeds:
            feed.stop()
        until = self._clocks.steady() + _JOIN_S
        for feed in self._feeds:
            feed.join(max(0.0, until - self._clocks.steady()))

    # The gateway's reports

    async def _ask_gateway(self) -> None:
        while True:
            # Whoever does not lead writes no status, and has no authority to ask by.
            authority = self._authority.stored.current() if self._up_to_date else None
            self._reconciler.reported(await self._reports.ask(authority))
            await asyncio.sleep(self._options.report_s)


def _secret_ends(store: Store) -> Iterator[int]:
    secrets = (fact for fact in store.all(kinds.SECRET, SecretFact) if is_svid_secret(fact.me.name))
    return (fact.svid.validity.not_after for fact in secrets if fact.svid is not None)


def _status_ends(store: Store) -> Iterator[int]:
    """Of certificates that pods hold, what their identities say: their requests do not stay."""
    agents = store.all(kinds.AGENT_IDENTITY, AgentFact)
    ends = (moment((fact.status.get("svid") or {}).get("notAfter")) for fact in agents)
    return (end for end in ends if end is not None)
