"""A node as far as port-forwarding goes: what the API server asks of a kubelet, on loopback, as kubelets answer it.

What is forwarded goes to a real port. Source of the protocol: kubelet, `portforward/websocket.go`.
"""

import asyncio
import contextlib
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from aiohttp import WSMsgType, web

from clusters import Cluster

PROTOCOL = "v4.channel.k8s.io"


class Kubelet:
    """`leads_to`: the port on loopback for each port of a pod; others are refused, as where nobody listens."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.leads_to: dict[int, int] = {}
        self.port = 0
        self.asked: list[str] = []
        self._files = certificate, key
        self._runners: list[web.AppRunner] = []

    async def serve(self, application: web.Application) -> None:
        """For ever; `application` is what listens in its pods."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self._files)
        own = web.Application()
        own.router.add_get("/portForward/{namespace}/{pod}", self._forward)
        self.port = await self._listen(own, context)
        self.leads_to[9466] = await self._listen(application, None)

    async def end(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _listen(self, application: web.Application, context: ssl.SSLContext | None) -> int:
        runner = web.AppRunner(application, shutdown_timeout=1)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return int(runner.addresses[0][1])

    async def _forward(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=(PROTOCOL,))
        await socket.prepare(request)
        port = int(request.query["port"])
        self.asked.append(request.match_info["pod"])
        for channel in (0, 1):
            await socket.send_bytes(bytes((channel,)) + struct.pack("<H", port))
        if port not in self.leads_to:
            await socket.send_bytes(b"\x01" + f"failed to connect to localhost:{port}: connection refused".encode())
        else:
            await self._bridge(socket, self.leads_to[port])
        await socket.close()
        return socket

    async def _bridge(self, socket: web.WebSocketResponse, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def back() -> None:
            while data := await reader.read(1000):
                await socket.send_bytes(b"\x00" + data)

        returning = asyncio.create_task(back())
        try:
            forth = asyncio.create_task(_forth(socket, writer))
            await asyncio.wait((returning, forth), return_when=asyncio.FIRST_COMPLETED)
            forth.cancel()
        finally:
            returning.cancel()
            writer.close()


async def _forth(socket: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
    async for message in socket:
        if message.type is WSMsgType.BINARY and message.data[0] == 0:
            writer.write(message.data[1:])
            await writer.drain()


@contextlib.contextmanager
def node(cluster: Cluster, name: str, application: Callable[[], Awaitable[web.Application]]) -> Iterator[Kubelet]:
    """The node is known to the API server; its server runs in a thread of its own."""
    kubelet = Kubelet(*cluster._authority.issue(f"kubelet-{name}", f"system:node:{name}", server=True))
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def begin() -> None:
        await kubelet.serve(await application())
        started.set()

    def live() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(begin())
        loop.run_forever()

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        assert started.wait(30)
        _announce(cluster, name, kubelet.port)
        yield kubelet
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(kubelet.end())
        _end(loop)


def _announce(cluster: Cluster, name: str, port: int) -> None:
    cluster.admin.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}).expect()
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    patch = {"status": status}
    cluster.admin.send("PATCH", f"/api/v1/nodes/{name}/status", patch, "application/merge-patch+json").expect()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    async def last() -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    loop.run_until_complete(last())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
