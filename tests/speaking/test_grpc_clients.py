"""gRPC's own client finds a server as any other on the socket: for messages of every size, many at once, and errors."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tollway_extauthz.http2.server import Call, GrpcServer
from waiting.stage import until

ECHO = "/a.Service/Echo"
NEVER = "/a.Service/Never"
MIB = 1 << 20


class Server:
    """Echoes; lets those wait who ask for `NEVER`."""

    def __init__(self) -> None:
        self.waiting: list[Call] = []
        self.grpc = GrpcServer({ECHO: self._echo, NEVER: self._wait})

    def _echo(self, call: Call, message: bytes) -> None:
        call.answer(message)
        self.grpc.flush()

    def _wait(self, call: Call, _: bytes) -> None:
        self.waiting.append(call)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server()
    await server.grpc.start(str(tmp_path / "s"))
    yield server
    server.grpc.close()


@pytest.fixture
async def channel(server: Server, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}", options=options) as channel:
        yield channel


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_384, 65_536, MIB - 5, MIB, 5 * MIB, 33 * MIB])
async def test_messages_of_every_size_travel_both_ways(channel: grpc.aio.Channel, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert await channel.unary_unary(ECHO)(message) == message


async def test_small_calls_go_beside_big_ones_and_all_are_answered(channel: grpc.aio.Channel) -> None:
    echo = channel.unary_unary(ECHO)
    sent = [b"b" * (3 * MIB), *(b"%d" % number for number in range(200))] * 3
    assert await asyncio.gather(*map(echo, sent)) == sent


@pytest.mark.parametrize(
    ("method", "message", "code"),
    [
        ("/a.Service/Other", b"", grpc.StatusCode.UNIMPLEMENTED),
        (ECHO, b"x" * (40 * MIB + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["unknown method", "too large"],
)
async def test_what_cannot_be_served_is_told_so_and_the_connection_stays(
    channel: grpc.aio.Channel, method: str, message: bytes, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary(method)(message)
    assert failed.value.code() is code
    assert await channel.unary_unary(ECHO)(b"still here") == b"still here"


async def test_a_call_without_a_message_is_an_error(channel: grpc.aio.Channel) -> None:
    call = channel.stream_unary(ECHO)()
    await call.done_writing()
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def test_a_compressed_message_is_refused(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary(ECHO)(b"a" * 10_000, compression=grpc.Compression.Gzip)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_caller_that_gives_up_is_known_to_have_left(server: Server, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary(NEVER)(b"x", timeout=0.2)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await channel.unary_unary(ECHO)(b"so that its reset has been read")
    assert [call.is_wanted for call in server.waiting] == [False]
    server.waiting[0].answer(b"too late")
    server.grpc.flush()
    assert await channel.unary_unary(ECHO)(b"fine") == b"fine"


async def test_a_connection_that_ends_leaves_nobody_waiting(server: Server, tmp_path: Path) -> None:
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        call = channel.unary_unary(NEVER)(b"x")
        await until(lambda: server.waiting)
        assert server.waiting[0].is_wanted
        call.cancel()
    await until(lambda: not server.waiting[0].is_wanted)


async def test_only_the_owner_may_use_the_socket(server: Server, tmp_path: Path) -> None:
    assert server.grpc is not None
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
