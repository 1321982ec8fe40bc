"""The cluster as the injector sees it: namespaces, AgentIdentities and AIProviders, watched; no pod and no Secret."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from tollway_operator.cluster import kinds
from tollway_operator.cluster.client import Client
from tollway_operator.cluster.errors import ClusterError
from tollway_operator.cluster.service_account import ServiceAccount
from tollway_operator.injecting.settings import NamespaceFacts
from tollway_operator.watching.facts import AgentFact, Fact, ProviderFact
from tollway_operator.watching.feeds import Feed, Patience, into, scopes
from tollway_operator.watching.listing import Watch, list_all, readable
from tollway_operator.watching.store import Store

_log = logging.getLogger(__name__)
WATCHES: Final = (Watch(kinds.AGENT_IDENTITY), Watch(kinds.AI_PROVIDER), Watch(kinds.NAMESPACE))
"""Each needs a rule in `charts/tollway/rbac`."""
_CERTIFICATES: Final = (kinds.POD_CERTIFICATE_REQUEST, kinds.CLUSTER_TRUST_BUNDLE)
_AGAIN_S: Final = 1.0
_JOIN_S: Final = 3.0


class View:
    """`run` until cancelled. Made inside the event loop. `account`: as whom it watches; None: by a kubeconfig."""

    def __init__(
        self, client: Client, resync_s: float, patience: Patience, account: ServiceAccount | None = None
    ) -> None:
        self._client = client
        self._store = Store()
        self._resync_s = resync_s
        self._patience = patience
        self._account = account
        self.is_complete = False
        """Whether everything was listed once: before that nothing can be said of a pod."""
        self.pod_certificates = False
        """Whether the cluster can deliver by PodCertificate."""

    async def run(self) -> None:
        feeds = self._feeds()
        for feed in feeds:
            feed.start()
        try:
            await self._keep_up_to_date()
        finally:
            for feed in feeds:
                feed.stop()
            for feed in feeds:
                feed.join(_JOIN_S)

    def namespace(self, name: str) -> NamespaceFacts:
        """As it is known; a namespace of which nothing is known has no labels."""
        found = self._store.get(kinds.NAMESPACE, Fact, name)
        agents = self._store.all(kinds.AGENT_IDENTITY, AgentFact, name)
        providers = [fact for fact in self._store.all(kinds.AI_PROVIDER, ProviderFact) if not fact.me.being_deleted]
        providers.sort(key=lambda fact: (fact.me.created, fact.me.name))
        return NamespaceFacts(
            name=name,
            labels=found.me.labels if found is not None else {},
            agents=[fact.declared for fact in agents if fact.declared is not None],
            providers=[fact.provider for fact in providers if fact.provider is not None],
        )

    async def look_again(self, name: str) -> None:
        """Ask the API server itself for a namespace and its AgentIdentities: a watch is a moment behind it. Raises
        `ClusterError`."""
        content = await self._client.get(kinds.NAMESPACE, name)
        fact = readable(kinds.NAMESPACE, content) if content is not None else None
        if fact is not None:
            self._store.put(kinds.NAMESPACE, fact)
        await list_all(self._client, (Watch(kinds.AGENT_IDENTITY, name),), self._store)

    async def _keep_up_to_date(self) -> None:
        while True:
            listed = await self._list()
            await asyncio.sleep(self._resync_s if listed else _AGAIN_S)

    async def _list(self) -> bool:
        try:
            served = [await self._client.serves(kind) for kind in _CERTIFICATES]
            await list_all(self._client, WATCHES, self._store)
        except ClusterError as error:
            _log.warning("the cluster cannot be read: %s", error)
            return False
        self.pod_certificates = all(served)
        self.is_complete = True
        return True

    def _feeds(self) -> Sequence[Feed]:
        deliver = into(self._store)
        return [Feed(where, of, deliver, self._patience, self._account) for where, of in scopes(WATCHES)]
