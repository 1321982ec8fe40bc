"""What a connection says: frames in order, and answers in pieces that the client has room for (RFC 9113 §5.2)."""

from dataclasses import dataclass
from typing import Final

from tollway_extauthz.http2 import frames
from tollway_extauthz.http2.headers import ANSWER, SUCCESS, failure

_END_OF_HEADERS: Final = frames.END_HEADERS
_END_OF_ALL: Final = frames.END_HEADERS | frames.END_STREAM


@dataclass(slots=True)
class _Unsent:
    """The rest of an answer that the client has no room for yet."""

    body: memoryview
    room: int


class Outbox:
    """`add` takes frames that need no room. `stream_room`: the bytes of an answer that a new stream has room for."""

    def __init__(self) -> None:
        self.stream_room = frames.DEFAULT_WINDOW
        self.frame_size = frames.DEFAULT_FRAME
        self._room = frames.DEFAULT_WINDOW
        self._frames: list[bytes] = []
        self.add = self._frames.append
        self._unsent: dict[int, _Unsent] = {}

    def answer(self, stream: int, message: bytes, room: int) -> bool:
        """Send an answer as far as the connection and `room` allow, the rest later. Whether all of it is sent."""
        size = 5 + len(message)
        prefix = b"\0" + len(message).to_bytes(4, "big")
        self.add(frames.frame(frames.HEADERS, _END_OF_HEADERS, stream, ANSWER))
        if size <= self.frame_size and size <= self._room and size <= room and not self._unsent:
            self._room -= size
            self.add(frames.HEAD.pack(size >> 16, size & 0xFFFF, frames.DATA, 0, stream))
            self.add(prefix)
            self.add(message)
            self.add(frames.frame(frames.HEADERS, _END_OF_ALL, stream, SUCCESS))
            return True
        self._unsent[stream] = _Unsent(memoryview(prefix + message), room)
        self.go_on()
        return stream not in self._unsent

    def fail(self, stream: int, status: int, message: str) -> None:
        """End a call with a status of gRPC's."""
        self.add(frames.frame(frames.HEADERS, _END_OF_ALL, stream, failure(status, message)))

    def go_on(self) -> None:
        """Send of what waits as much as there is room for."""
        for stream, unsent in list(self._unsent.items()):
            while unsent.body and (room := min(self._room, unsent.room, self.frame_size)) > 0:
                piece, unsent.body = bytes(unsent.body[:room]), unsent.body[room:]
                self._room -= len(piece)
                unsent.room -= len(piece)
                self.add(frames.frame(frames.DATA, 0, stream, piece))
            if not unsent.body:
                del self._unsent[stream]
                self.add(frames.frame(frames.HEADERS, _END_OF_ALL, stream, SUCCESS))

    def widen(self, more: int) -> bool:
        """The connection has room for `more`. False where that is beyond all bounds."""
        self._room += more
        return self._room <= frames.LARGEST_WINDOW

    def widen_stream(self, stream: int, more: int) -> bool:
        """A stream has room for `more` of an answer that waits. False where none of its waits."""
        unsent = self._unsent.get(stream)
        if unsent is not None:
            unsent.room += more
        return unsent is not None

    def set_stream_room(self, room: int) -> int:
        """What streams have room for from the beginning was changed, for all of them. Returns by how much."""
        more, self.stream_room = room - self.stream_room, room
        for unsent in self._unsent.values():
            unsent.room += more
        return more

    def forget(self, stream: int) -> None:
        """Nobody wants the rest of this answer."""
        self._unsent.pop(stream, None)

    def take(self) -> bytes:
        """What is to be sent now."""
        taken = b"".join(self._frames)
        self._frames.clear()
        return taken
