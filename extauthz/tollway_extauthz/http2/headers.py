"""What is in the header blocks of gRPC calls (RFC 7541): which method is called; how an answer begins and ends.

A client that calls the same method again and again says the same headers again and again. Once it has given up the
table of headers said before (we ask for that), equal blocks mean equal headers: a block that was read once is known.
"""

from typing import Final

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hpack.struct import NeverIndexedHeaderTuple

LARGEST_BLOCK: Final = 65_536
_REMEMBERED: Final = 64
_GRPC: Final = b"application/grpc"


class UnreadableHeaders(Exception):  # noqa: N818 - it says what they are
    """The block breaks the rules of compression: what comes next on this connection cannot be read, either."""


def _block(*fields: tuple[str, str]) -> bytes:
    """The same bytes on every connection: nothing of it enters the table of headers said before."""
    return bytes(Encoder().encode([NeverIndexedHeaderTuple(*each) for each in fields], huffman=False))


ANSWER: Final = _block((":status", "200"), ("content-type", "application/grpc"))
SUCCESS: Final = _block(("grpc-status", "0"))


def failure(status: int, message: str) -> bytes:
    """The only headers of an answer that is no more than a failure. `status`: of gRPC; `message`: ASCII."""
    return _block(
        *((":status", "200"), ("content-type", "application/grpc")),
        *(("grpc-status", str(status)), ("grpc-message", message)),
    )


class HeaderReader:
    """The header blocks of one connection, in order."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=LARGEST_BLOCK)
        self._known: dict[bytes, str] = {}

    def method(self, block: bytes) -> str:
        """The path of the gRPC method that is called; "" where it is no gRPC call. Raises `UnreadableHeaders`."""
        known = self._known.get(block)
        if known is not None:
            return known
        try:
            fields = dict(self._decoder.decode(block, raw=True))
        except HPACKError as problem:
            raise UnreadableHeaders from problem
        method = _method(fields)
        if self._decoder.header_table_size == 0:
            self._decoder.max_allowed_table_size = 0  # given up is given up
            if len(self._known) < _REMEMBERED:
                self._known[block] = method
        return method


def _method(fields: dict[bytes, bytes]) -> str:
    if fields.get(b":method") != b"POST" or not fields.get(b"content-type", b"").startswith(_GRPC):
        return ""
    return fields.get(b":path", b"").decode("ascii", "replace")
