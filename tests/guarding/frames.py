"""HTTP/2 by hand: frames that no library would send.

Headers are literals without indexing and without Huffman coding (RFC 7541 §6.2.2), so that every byte is as written.
"""

import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
_ACK: Final = 0x1
CANCEL: Final = struct.pack(">I", 8)
_HEAD: Final = 9


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def hello() -> bytes:
    return PREFACE + frame(SETTINGS, 0, 0)


def fields(*named: tuple[str, str | bytes]) -> bytes:
    """A header block."""
    return b"".join(b"\0" + _text(name.encode()) + _text(_bytes(value)) for name, value in named)


def request(path: str, method: str = "POST", *more: tuple[str, str | bytes]) -> bytes:
    """The header block of a request that is in order but for `more`."""
    usual = ((":method", method), (":scheme", "https"), (":path", path), (":authority", "gateway"))
    return fields(*usual, ("content-type", "application/json"), *more)


def read_frames(data: bytes) -> Iterator[Frame]:
    """All whole frames."""
    while len(data) >= _HEAD and len(data) >= (end := _HEAD + int.from_bytes(data[:3], "big")):
        yield Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[_HEAD:end])
        data = data[end:]


def read_to_the_end(connection: ssl.SSLSocket) -> bytes:
    """All that still comes until the other side ends the connection, however it does. `TimeoutError` if it does not."""
    read = b""
    try:
        while more := connection.recv(65536):
            read += more
    except TimeoutError:
        raise
    except OSError:
        return read
    return read


def read_until_answered(connection: ssl.SSLSocket) -> list[Frame]:
    """What comes up to the answer to a PING, or up to the end of the connection."""
    read, found = b"", list[Frame]()
    while not any(each.kind == PING and each.flags & _ACK for each in found):
        try:
            more = connection.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            more = b""
        if not more:
            break
        read += more
        found = list(read_frames(read))
    return found


def _text(text: bytes) -> bytes:
    return _integer(len(text)) + text


def _integer(value: int, prefix: int = 0x7F) -> bytes:
    if value < prefix:
        return bytes([value])
    encoded, value = bytearray([prefix]), value - prefix
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
