"""The provider of streams (`python -m bench.streaming_provider PORT`): 50 events, each written for itself.

An Envoy can give an answer by itself only in one piece, so this one is Python: one loop, no parsing but of what tells
where a request ends. It sends its usage where it is asked to, as the real one does.
"""

import asyncio
import re
import sys
from collections.abc import Iterator
from typing import Final

from bench.calls import CHUNK_EVERY_S, STREAM_CHUNKS, STREAM_END, STREAM_USAGE

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _framed(data: bytes) -> bytes:
    """A chunk of HTTP/1.1's transfer coding (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


_CHUNKS: Final = tuple(map(_framed, STREAM_CHUNKS))
_END: Final = _framed(STREAM_END) + b"0\r\n\r\n"
_USAGE_AND_END: Final = _framed(STREAM_USAGE) + _END


class Answering(asyncio.Protocol):
    def __init__(self) -> None:
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(_HEAD_END)
        if not found:
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) >= int(length[1]):
            self._got = b""
            self._transport.write(_HEAD)
            self._stream(iter(_CHUNKS), _USAGE_AND_END if b"include_usage" in body else _END)

    def _stream(self, chunks: Iterator[bytes], end: bytes) -> None:
        if self._transport.is_closing():
            return
        chunk = next(chunks, None)
        self._transport.write(end if chunk is None else chunk)
        if chunk is not None:
            asyncio.get_running_loop().call_later(CHUNK_EVERY_S, self._stream, chunks, end)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
