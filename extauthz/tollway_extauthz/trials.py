"""Which sidecars have proved that they trust the next root: Envoy passes on who completed a handshake with the trial
certificate, and the operator's report tells it.

Only what Envoy read from a certificate of ours is believed, and the address. What is remembered is bounded: the oldest
goes first, and would only have to prove itself again.
"""

import re
import threading
from collections.abc import Callable
from typing import Final

from aiohttp import web

from tollway.identity.spiffe_id import InvalidSPIFFEID, parse_spiffe_id
from tollway.usage_report import Tried

MOST: Final = 50_000
PATH: Final = "/trial/{bundle:[0-9a-f]{64}}"
_PEER, _POD, _ADDRESS = "x-tollway-peer", "x-tollway-peer-pod", "x-tollway-peer-address"
_FRESH_MS: Final = 10 * 60_000
"""A sidecar proves itself every minute: one that stopped is gone, or cannot any more."""


class Trials:
    """Heard in the event loop, read by whoever reports."""

    def __init__(self, trust_domain: str, clock: Callable[[], int], most: int = MOST) -> None:
        self._pod = re.compile(rf"([a-z0-9-]+)\.pod\.{re.escape(trust_domain)}")
        self._clock = clock
        self._most = most
        self._heard: dict[tuple[str, str, str], Tried] = {}
        self._lock = threading.Lock()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get(PATH, self._hear)
        return app

    def heard(self) -> tuple[Tried, ...]:
        """The latest of each sidecar that proved itself lately."""
        since = self._clock() - _FRESH_MS
        with self._lock:
            return tuple(tried for tried in self._heard.values() if tried.at >= since)

    async def _hear(self, request: web.Request) -> web.Response:
        headers = request.headers
        try:
            peer = str(parse_spiffe_id(headers.get(_PEER, "")))
        except InvalidSPIFFEID:
            raise web.HTTPForbidden from None
        named = self._pod.fullmatch(headers.get(_POD, ""))
        pod, address = named[1] if named else "", headers.get(_ADDRESS, "")
        self._remember(Tried(peer, pod, address, request.match_info["bundle"], self._clock()))
        return web.Response()

    def _remember(self, tried: Tried) -> None:
        key = tried.peer, tried.pod, tried.address
        with self._lock:
            self._heard.pop(key, None)
            self._heard[key] = tried
            if len(self._heard) > self._most:
                del self._heard[next(iter(self._heard))]
