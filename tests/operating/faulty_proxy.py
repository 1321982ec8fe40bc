"""A proxy in front of an API server that does to its clients what networks, load balancers and busy servers do."""

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import aiohttp
import yaml
from aiohttp import web

from clusters import Cluster
from ports import free_port

_PASSED_ON: Final = ("Authorization", "Content-Type", "Accept")


@dataclass(frozen=True)
class Asked:
    """A request that a client made, and when, by a clock that never jumps."""

    method: str
    path: str
    watches: bool
    at: float


@dataclass
class Faults:
    """What is done now. `answer`: to every request but watches (status, headers); `watch_error`: the code of an ERROR
    event that ends each new watch; `stalled`: nothing is answered; `dropped`: which lines of watches are lost."""

    answer: tuple[int, dict[str, str]] | None = None
    watch_error: int | None = None
    stalled: bool = False
    dropped: Callable[[bytes], bool] = field(default=lambda _: False)


class FaultyProxy:
    """Runs in a thread of its own, between `__enter__` and `__exit__`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.port = free_port()
        self.faults = Faults()
        self.asked: list[Asked] = []
        self._streams: set[asyncio.Task[object]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def kubeconfig(self, original: Path) -> Path:
        """The same credentials, this way."""
        content = yaml.safe_load(original.read_text())
        content["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.port}"
        path = original.with_name(f"{original.name}-faulty")
        path.write_text(yaml.safe_dump(content))
        return path

    def cut_watches(self) -> int:
        """End every open stream, as a load balancer does; returns how many there were."""
        streams = list(self._streams)
        for task in streams:
            self._loop.call_soon_threadsafe(task.cancel)
        return len(streams)

    def since(self, moment: float) -> list[Asked]:
        return [each for each in self.asked if each.at >= moment]

    @contextlib.contextmanager
    def doing(self, **faults: object) -> Iterator[float]:
        """Have these faults; gives the moment when they began."""
        self.faults = Faults(**faults)  # type: ignore[arg-type]
        try:
            yield time.monotonic()
        finally:
            self.faults = Faults()

    @contextlib.contextmanager
    def refusing(self) -> Iterator[float]:
        """Nobody listens, and what was open is closed; gives the moment when that began."""
        self._here(self._site.stop())
        self.cut_watches()
        assert self._runner.server is not None
        self._here(self._runner.server.shutdown(0.5))
        try:
            yield time.monotonic()
        finally:
            self._here(self._listen())

    def _here(self, doing: Coroutine[object, object, object]) -> None:
        """In the proxy's own thread."""
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._loop.run_forever()
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    async def _start(self) -> None:
        certificate, key = self._cluster._authority.issue(f"proxy-{self.port}", "kube-apiserver", server=True)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        trusting = ssl.create_default_context(cafile=str(self._cluster.ca_file))
        connector = aiohttp.TCPConnector(ssl=trusting, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        self._context = context
        await self._listen()
        self._ready.set()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._context, reuse_address=True)
        await self._site.start()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()
        await asyncio.sleep(0.1)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        watches = request.query.get("watch") == "true"
        self.asked.append(Asked(request.method, request.path_qs, watches, time.monotonic()))
        while self.faults.stalled:  # noqa: ASYNC110 - it ends in another thread
            await asyncio.sleep(0.05)
        if watches:
            return await self._stream(request)
        if self.faults.answer is not None:
            status, headers = self.faults.answer
            return web.json_response({"kind": "Status", "code": status}, status=status, headers=headers)
        try:
            async with self._forward(request, await request.read()) as answer:
                body = await answer.read()
                headers = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
                return web.Response(body=body, status=answer.status, headers=headers)
        except aiohttp.ClientError:
            return web.Response(status=502)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if self.faults.watch_error is not None:
            await response.prepare(request)
            code = self.faults.watch_error
            await response.write(b'{"type":"ERROR","object":{"kind":"Status","code":%d,"message":"gone"}}\n' % code)
            return response
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            async with self._forward(request, None) as answer:
                response.set_status(answer.status)
                await response.prepare(request)
                async for line in answer.content:
                    while self.faults.stalled:  # noqa: ASYNC110 - it ends in another thread
                        await asyncio.sleep(0.05)
                    if not self.faults.dropped(line):
                        await response.write(line)
        except aiohttp.ClientError:
            pass
        finally:
            self._streams.discard(task)
        return response

    def _forward(
        self, request: web.Request, body: bytes | None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        headers["Accept-Encoding"] = "identity"
        url = f"https://127.0.0.1:{self._cluster.port}{request.path_qs}"
        timeout = aiohttp.ClientTimeout(total=None)
        bare = ("Content-Type",)
        return self._session.request(
            request.method, url, data=body or None, headers=headers, timeout=timeout, skip_auto_headers=bare
        )
