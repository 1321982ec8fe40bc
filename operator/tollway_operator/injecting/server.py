"""The webhook over HTTPS, and on a port of its own what a kubelet asks. Stateless: any number of them may run."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from tollway_operator.cluster.errors import ClusterError
from tollway_operator.injecting.outcomes import Outcome, Refused
from tollway_operator.injecting.patching import inject
from tollway_operator.injecting.pod import read_pod
from tollway_operator.injecting.review import LARGEST, BadReview, Review, answer, read_review
from tollway_operator.injecting.rules import is_selected
from tollway_operator.injecting.serving import ServingCertificate
from tollway_operator.injecting.settings import InjectionSettings, NamespaceFacts
from tollway_operator.injecting.view import View

_log = logging.getLogger(__name__)
PATH: Final = "/inject"
PORT: Final = 9443
HEALTH_PORT: Final = 9468
_UNREAD: Final = Refused("NotReady", "the injector cannot read the cluster: try again in a moment")
_LOOK_S: Final = 0.7
"""The API server gets its answer within a second, with what is known by then."""
_SMALL: Final = 64 * 1024
"""Bytes of a review that is answered beside others. Larger ones take ten times their size while they are read, and are
read one after the other: whoever makes many of them at once waits for himself."""
_ARRIVAL_S: Final = 5.0

Address = tuple[str | None, int]
"""Host (None: every one of this machine) and port."""


@dataclass(frozen=True, slots=True)
class Addresses:
    webhook: Address = (None, PORT)
    health: Address = (None, HEALTH_PORT)


class Injector:
    """What comes of one review. Whatever goes wrong here is a refusal."""

    def __init__(self, view: View, settings: InjectionSettings) -> None:
        self._view = view
        self._settings = settings

    async def answer(self, review: Review) -> bytes:
        try:
            return answer(review, await self._outcome(review), _shown(review.pod))
        except Exception:  # noqa: BLE001 - whatever it is, nothing is allowed for it
            _log.exception("a pod of namespace %s could not be injected", review.namespace)
            failed = Refused("Failed", "the injector failed with it: see the log of tollway-injector")
            return answer(review, failed, "?")

    async def _outcome(self, review: Review) -> Outcome:
        if not self._view.is_complete:
            return _UNREAD
        settings = replace(self._settings, pod_certificates=self._view.pod_certificates)
        try:
            facts = await self._facts(review)
            return inject(review.pod, facts, settings) if facts is not None else _UNREAD
        except msgspec.ValidationError as error:
            return Refused("NotAPod", f"it cannot be read as a pod: {error}")

    async def _facts(self, review: Review) -> NamespaceFacts | None:
        """None where nothing certain is known of the namespace."""
        known = self._view.namespace(review.namespace)
        if known.is_enforced and is_selected(read_pod(review.pod), known):
            return known
        # The API server says that it is enforced; and an AgentIdentity is often made together with its pods.
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._view.look_again(review.namespace)
        except (ClusterError, TimeoutError) as error:
            _log.warning("namespace %s cannot be read: %s", review.namespace, error)
            return known if known.is_enforced else None
        return self._view.namespace(review.namespace)


def _shown(pod: Any) -> str:  # noqa: ANN401 - JSON
    try:
        return read_pod(pod).shown
    except msgspec.ValidationError:
        return "?"


class Server:
    """`served` while its context lasts."""

    def __init__(
        self, injector: Injector, view: View, certificate: ServingCertificate, now: Callable[[], datetime]
    ) -> None:
        self._injector = injector
        self._view = view
        self._certificate = certificate
        self._now = now
        self._large = asyncio.Lock()

    @asynccontextmanager
    async def served(self, at: Addresses) -> AsyncIterator[None]:
        """Raises `OSError` where an address is taken."""
        async with (
            _served(self._webhook(), at.webhook, self._certificate),
            _served(self._health(), at.health, None),
        ):
            yield

    def _webhook(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST)
        app.router.add_post(PATH, self._inject)
        return app

    def _health(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/healthz", self._show_health)
        app.router.add_get("/readyz", self._show_readiness)
        return app

    async def _inject(self, request: web.Request) -> web.Response:
        if request.content_length is not None and request.content_length <= _SMALL:
            return await self._answered(request)
        async with self._large:
            return await self._answered(request)

    async def _answered(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_ARRIVAL_S):
                body = await request.read()
            review = read_review(body)
        except BadReview as bad:
            return web.Response(status=400, text=f"{bad}\n")
        except TimeoutError:
            return web.Response(status=408, text="the review did not arrive in time\n")
        return web.Response(body=await self._injector.answer(review), content_type="application/json")

    async def _show_health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _show_readiness(self, _: web.Request) -> web.Response:
        if not self._view.is_complete:
            return web.Response(status=503, text="the cluster is not listed yet\n")
        if not self._certificate.is_valid(self._now()):
            return web.Response(status=503, text="there is no valid certificate: is the operator running?\n")
        return web.Response(text="ready\n")


@asynccontextmanager
async def _served(app: web.Application, at: Address, certificate: ServingCertificate | None) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        context = certificate.context if certificate is not None else None
        await web.TCPSite(runner, *at, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()
