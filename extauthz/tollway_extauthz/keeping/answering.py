"""What the kubelet asks: does it live, may Envoy and extauthz start, may calls come?"""

from typing import Protocol

from aiohttp import web


class State(Protocol):
    @property
    def is_started(self) -> bool: ...

    @property
    def is_ready(self) -> bool: ...


def application(state: State) -> web.Application:
    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def start(_: web.Request) -> web.Response:
        return _answer(state.is_started, "not everything is written that Envoy and extauthz start with\n")

    async def readiness(_: web.Request) -> web.Response:
        return _answer(state.is_ready, "not everything was listed, or it is not in force yet\n")

    app = web.Application()
    app.router.add_get("/healthz", health)
    app.router.add_get("/startz", start)
    app.router.add_get("/readyz", readiness)
    return app


def _answer(holds: bool, otherwise: str) -> web.Response:
    return web.Response(text="ok\n") if holds else web.Response(status=503, text=otherwise)
