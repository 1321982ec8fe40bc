"""The watches, by kopf: each scope is a kopf operator with a thread and an event loop of its own, so that nothing that
is decided or signed ever keeps a watch waiting.

Handlers are `on.event` alone. They make no annotations and no finalizers, and no Secret is copied anywhere.
"""

import asyncio
import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import kopf

from tollway_operator.cluster.client import PAGE
from tollway_operator.cluster.kinds import Kind, Object
from tollway_operator.cluster.service_account import ServiceAccount
from tollway_operator.watching.facts import Fact
from tollway_operator.watching.listing import Watch, readable
from tollway_operator.watching.store import Store

_log = logging.getLogger(__name__)
PREFIX: Final = "operator.tollway.dev"
"""Of everything that kopf might ever write down in an object."""
_RESTART_S: Final = 2.0

Deliver = Callable[[Kind, Fact, bool], None]
"""Told of each fact, and whether the object was removed; in the thread of the feed."""


def into(store: Store) -> Deliver:
    """Has a store told, which belongs to the event loop that runs now."""
    loop = asyncio.get_running_loop()

    def deliver(kind: Kind, fact: Fact, removed: bool) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(store.drop if removed else store.put, kind, fact)

    return deliver


class EndlessBackOff:
    """Pauses between attempts, in seconds: a watch is never given up."""

    def __iter__(self) -> Iterator[float]:
        pause = 0.5
        while True:
            yield pause
            pause = min(pause * 2, 15.0)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for how long a watch may be silent, and how long a request may take."""

    silence: float = 70.0
    request: float = 30.0


def scopes(watches: Iterable[Watch]) -> Sequence[tuple[str, Sequence[Watch]]]:
    """The watches by namespace; "" is for those of all namespaces. Two of one kind are two scopes: kopf has one
    selector for a kind."""
    grouped: defaultdict[tuple[str, int], list[Watch]] = defaultdict(list)
    for watch in watches:
        where = watch.namespace if watch.kind.namespaced else ""
        scope = next(number for number in count() if watch.kind not in _kinds(grouped[where, number]))
        grouped[where, scope].append(watch)
    return [(where, each) for (where, _), each in sorted(grouped.items()) if each]


def _kinds(watches: Iterable[Watch]) -> set[Kind]:
    return {watch.kind for watch in watches}


class Feed:
    """One scope. `start`, then `stop` and `join`. As `account`, or else by a kubeconfig."""

    def __init__(
        self,
        namespace: str,
        watches: Sequence[Watch],
        deliver: Deliver,
        patience: Patience,
        account: ServiceAccount | None = None,
    ) -> None:
        self._namespace = namespace
        self._watches = watches
        self._deliver = deliver
        self._patience = patience
        self._account = account
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {namespace or 'cluster'}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                asyncio.run(self._watch())
            except Exception:  # noqa: BLE001 - whatever it is, watching begins anew
                _log.exception("watching %s ended and begins anew", self._namespace or "the cluster")
            self._stop.wait(_RESTART_S)

    async def _watch(self) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=self._settings(),
            standalone=True,
            clusterwide=not self._namespace,
            namespaces=[self._namespace] if self._namespace else (),
            identity="tollway",  # type: ignore[arg-type]
            stop_flag=self._stop,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for watch in self._watches:
            kind = watch.kind
            version = kind.api_version.rpartition("/")[2]
            handler = self._handler(kind)
            kopf.on.event(kind.group, version, kind.plural, id=kind.plural, registry=registry)(handler)
        return registry

    async def _login(self, **kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf's own
        """Asked again when the API server takes a token no more, and by then the kubelet has brought another."""
        if self._account is None:
            return kopf.login_with_kubeconfig(**kwargs)
        account = self._account
        return kopf.ConnectionInfo(server=account.server, ca_path=str(account.ca_file), token=account.token())

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        async def seen(event: Object, **_: object) -> None:
            fact = readable(kind, event["object"])
            if fact is not None:
                self._deliver(kind, fact, event.get("type") == "DELETED")

        return seen

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.persistence.finalizer = f"{PREFIX}/finalizer"
        settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
        settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(
            prefix=PREFIX, ignored_fields=["data", "stringData"]
        )
        # Which kinds there are is known: no right to look at all CRDs and namespaces is needed.
        settings.scanning.disabled = True
        settings.networking.error_backoffs = EndlessBackOff()
        settings.networking.enforce_retry_after = True
        settings.networking.request_timeout = self._patience.request
        settings.watching.inactivity_timeout = self._patience.silence
        # All scopes list at the same moment, and an object takes ten times its JSON while it is read.
        settings.watching.chunk_size = PAGE
        settings.watching.reconnect_backoff = 0.5
        # For so long a worker keeps an object that it is done with: of a listing, that would be all of them.
        settings.queueing.idle_timeout = 0.05
        for watch in self._watches:
            selected = (watch.kind.group, watch.kind.plural)
            if watch.labels:
                settings.watching.label_selectors[selected] = watch.labels
            if watch.fields:
                settings.watching.field_selectors[selected] = watch.fields
        return settings
