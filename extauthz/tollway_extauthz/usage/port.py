"""The port on the pod network where the operator asks: mutual TLS, one question, and a thread of its own.

Anything in the cluster may knock here, so nothing of it touches the thread that decides about calls: handshakes,
refusals and reports are made beside it, few at once.
"""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from tollway.ledger.port import LedgerUnavailable
from tollway.usage_report import PATH, UsageReport
from tollway_extauthz.usage.identity import Identity

_log = logging.getLogger(__name__)
MOST_CONNECTIONS: Final = 64
HANDSHAKE_S: Final = 5.0
IDLE_S: Final = 60.0
_SAY_AGAIN_MS: Final = 60_000
_MOST_SENTENCES: Final = 256

Report = Callable[[], UsageReport | None]


class UsagePort:
    """`clock`: wall clock, milliseconds since the epoch: certificates are judged by it."""

    def __init__(self, address: str, port: int, identity: Identity, report: Report, clock: Callable[[], int]) -> None:
        """Listens, and answers from `start` on. Raises `OSError`."""
        self._listening = _listen(address, port)
        self._listening.setblocking(False)
        self._identity = identity
        self._report = report
        self._clock = clock
        self._said: dict[str, int] = {}
        self._open = 0
        self._shaking: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)

    def start(self) -> None:
        self._thread.start()
        _log.info("the operator may ask for usage on port %d", self._listening.getsockname()[1])

    def stop(self) -> None:
        """Close, and wait for the thread."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        app = web.Application(client_max_size=0)
        app.router.add_get(PATH, self._answer)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=IDLE_S)
        await runner.setup()
        assert runner.server is not None  # noqa: S101 - `setup` makes it
        factory = runner.server
        server = await self._loop.create_server(lambda: _Knock(self, factory), sock=self._listening)
        await self._stopped.wait()
        server.close()
        for task in self._shaking:
            task.cancel()
        await runner.cleanup()

    # Connections

    def knocked(self, transport: asyncio.Transport, factory: Callable[[], asyncio.Protocol]) -> None:
        if self._open >= MOST_CONNECTIONS:
            self._say("there are too many connections to the usage port: one more is refused")
            transport.abort()
            return
        self._open += 1
        task = self._loop.create_task(self._shake_hands(transport, factory))
        self._shaking.add(task)
        task.add_done_callback(self._shaking.discard)

    def left(self) -> None:
        self._open -= 1

    async def _shake_hands(self, transport: asyncio.Transport, factory: Callable[[], asyncio.Protocol]) -> None:
        """With the certificate of this moment; asyncio's own servers keep one for ever, and say nothing of failures."""
        context = self._identity.context()
        if context is None:
            self._refused(transport, "this gateway has no SVID yet")
            return
        server = _Admitted(factory, self.left)
        try:
            upgraded = await self._loop.start_tls(
                transport, server, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except OSError as problem:
            self._refused(transport, _reason(problem))
            return
        refusal = self._refusal(upgraded)
        if upgraded is None or refusal is not None:
            self._refused(transport, str(refusal))
            return
        server.admit(upgraded)

    def _refused(self, transport: asyncio.Transport, why: str) -> None:
        self._say(f"the usage port refused a connection from {_host(transport)}: {why}")
        transport.abort()
        self.left()

    def _refusal(self, transport: asyncio.BaseTransport | None) -> str | None:
        """Why this connection is not, or no longer, the operator's."""
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object") if transport is not None else None
        leaf = tls.getpeercert(binary_form=True) if tls is not None else None
        problem = self._identity.refusal(leaf, self._clock())
        return f"{problem.reason}: {problem.message}" if problem is not None else None

    # Requests

    async def _answer(self, request: web.Request) -> web.Response:
        problem = self._refusal(request.transport)
        if problem is not None:
            self._say(f"the usage port refused a question from {request.remote}: {problem}")
            response = web.Response(status=403, text=f"{problem}\n")
            response.force_close()
            return response
        try:
            report = self._report()
        except LedgerUnavailable as unavailable:
            raise web.HTTPServiceUnavailable(text=f"{unavailable}\n") from None
        if report is None:
            raise web.HTTPServiceUnavailable(text="no rules are in force yet\n")
        return web.Response(body=msgspec.json.encode(report), content_type="application/json")

    def _say(self, sentence: str) -> None:
        """A line a minute for each: nobody may fill the log from outside."""
        now = self._clock()
        if now - self._said.get(sentence, now - _SAY_AGAIN_MS) < _SAY_AGAIN_MS:
            return
        if len(self._said) >= _MOST_SENTENCES:
            self._said.clear()
        self._said[sentence] = now
        _log.warning("%s", sentence)


class _Knock(asyncio.Protocol):
    """A connection before its handshake."""

    def __init__(self, port: UsagePort, factory: Callable[[], asyncio.Protocol]) -> None:
        self._port = port
        self._factory = factory

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - it is TCP
        # What comes now is the handshake, and is not ours to read.
        transport.pause_reading()
        self._port.knocked(transport, self._factory)


class _Admitted(asyncio.Protocol):
    """A connection during its handshake, and then what the HTTP server makes of it.

    What the client sends with the end of its handshake comes before anybody looked at who it is, and waits.
    """

    def __init__(self, factory: Callable[[], asyncio.Protocol], left: Callable[[], None]) -> None:
        self._factory = factory
        self._left = left
        self._early = b""
        self._lost = False
        self._inner: asyncio.Protocol | None = None

    def admit(self, transport: asyncio.BaseTransport) -> None:
        if self._lost:
            self._left()
            return
        self._inner = self._factory()
        self._inner.connection_made(transport)
        if self._early:
            self._inner.data_received(self._early)

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            self._early += data
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._inner is not None:
            self._left()
            self._inner.connection_lost(exc)


def _listen(address: str, port: int) -> socket.socket:
    if address:
        return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        # Pods have addresses of either family, or of both.
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        return socket.create_server(("", port))


def _reason(problem: OSError) -> str:
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {problem.verify_message}"
    if isinstance(problem, ssl.SSLError):
        return f"the TLS handshake failed: {(problem.reason or 'unknown').replace('_', ' ').lower()}"
    return "the connection ended during the TLS handshake"


def _host(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else "unknown"
