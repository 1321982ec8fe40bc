"""Reads big bodies in a process of its own, so that small calls do not wait for them.

Understanding a body of megabytes takes milliseconds of one thread that nobody can interrupt. The reader (`python -m
tollway_extauthz.body_reader`) is told a body on its standard input and says what it understood; it holds no secret,
reads no file, and ends with the process that started it. A body that kills it is refused, and the next gets a new one.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import BinaryIO, Final

import msgspec

from tollway.deciding.question import Question, understand
from tollway.providers.json_scan import Body
from tollway.providers.port import Kind, Operation, ParsedCall, RequestRefused
from tollway.providers.registry import family_of
from tollway_extauthz.heap import give_back_memory

BIG: Final = 64 * 1024
"""Bytes from which on a body is read elsewhere: about a millisecond's work."""
_IDLE_S: Final = 30.0
_LESS_URGENT: Final = 19
"""Who sends megabytes has time; where all cores are busy, small calls go first."""
_ON_THE_WAY: Final = 1 << 20
"""Bytes between both sides, if the kernel allows so many: each time that there is no room wakes both of them up."""
_PIECE: Final = 1 << 18
_LENGTHS: Final = Struct(">II")  # of what comes next: which call, and the body
_LENGTH: Final = Struct(">I")


class _Asked(msgspec.Struct, frozen=True):
    family: str
    operation: Operation
    content_type: str


class _Refused(msgspec.Struct, frozen=True):
    reason: str
    message: str
    param: str | None
    kind: Kind


class _Told(msgspec.Struct, frozen=True):
    """One of both."""

    parsed: ParsedCall | None = None
    refused: _Refused | None = None


_encode: Final = msgspec.msgpack.Encoder().encode
_asked_from: Final = msgspec.msgpack.Decoder(_Asked).decode
_told_from: Final = msgspec.msgpack.Decoder(_Told).decode


class ReaderGone(Exception):  # noqa: N818 - named for what happened
    """The process that read the body ended before it had told."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """The process, and what it is asked and tells by."""

    process: asyncio.subprocess.Process
    asking: asyncio.StreamWriter
    told: asyncio.StreamReader


class BodyReader:
    """One process, one body at a time. It is started when a big body comes, and ends `idle_s` after the last one."""

    def __init__(self, idle_s: float = _IDLE_S) -> None:
        self._idle_s = idle_s
        self._reader: _Reader | None = None
        self._turn = asyncio.Lock()
        self._resting: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Future[int]] = set()

    async def read(self, question: Question, is_wanted: Callable[[], bool]) -> ParsedCall | RequestRefused | None:
        """What the body of a question says that no check before its reading spoke against.

        None if nobody wants to know any more when its turn comes. Raises `ReaderGone`.
        """
        assert question.family is not None and question.operation is not None  # noqa: S101, PT018 - as said
        asked = _Asked(question.family.name, question.operation, question.headers.get("content-type", ""))
        async with self._turn:
            if not is_wanted():
                return None
            self._stay()
            try:
                told = await self._ask(_encode(asked), question.body)
            except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError) as problem:
                await self.close()
                raise ReaderGone from problem
            self._resting = asyncio.get_running_loop().call_later(self._idle_s, self._rest)
        if told.parsed is not None:
            return told.parsed
        if told.refused is None:
            raise ReaderGone
        return RequestRefused(told.refused.reason, told.refused.message, told.refused.param, told.refused.kind)

    @property
    def pid(self) -> int | None:
        return self._reader.process.pid if self._reader is not None else None

    async def close(self) -> None:
        """End the process, and wait for that, also for one that was sent to rest."""
        self._stay()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.asking.close()
            if reader.process.returncode is None:
                reader.process.kill()
            await reader.process.wait()
        await asyncio.gather(*self._ending)

    def _stay(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _rest(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.asking.close()  # it ends when nobody can ask it any more
            ending = asyncio.ensure_future(reader.process.wait())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _ask(self, asked: bytes, body: Body) -> _Told:
        if self._reader is None:
            self._reader = await _started()
        asking, told = self._reader.asking, self._reader.told
        asking.write(_LENGTHS.pack(len(asked), len(body)))
        asking.write(asked)
        for piece in _pieces(body):  # not all at once: what is not taken would be copied meanwhile
            asking.write(piece)
            await asking.drain()
        (length,) = _LENGTH.unpack(await told.readexactly(_LENGTH.size))
        return _told_from(await told.readexactly(length))


async def _started() -> _Reader:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_THE_WAY)
        told, asking = await asyncio.open_unix_connection(sock=ours)
        try:
            command = (sys.executable, "-m", "tollway_extauthz.body_reader")
            process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno(), stdout=theirs.fileno())
        except BaseException:
            asking.close()
            raise
    return _Reader(process, asking, told)


def _pieces(body: Body) -> Iterator[memoryview]:
    whole = memoryview(body)
    return (whole[start : start + _PIECE] for start in range(0, len(body), _PIECE))


def serve(asked: BinaryIO, told: BinaryIO, read: Callable[[bytes, bytes], bytes]) -> None:
    """Read what is asked, one after the other, until nobody asks any more."""
    while len(lengths := asked.read(_LENGTHS.size)) == _LENGTHS.size:
        of_call, of_body = _LENGTHS.unpack(lengths)
        answer = read(asked.read(of_call), asked.read(of_body))
        told.write(_LENGTH.pack(len(answer)) + answer)
        told.flush()


def read_one(asked: bytes, body: bytes) -> bytes:
    """`_Asked` and a body to `_Told`."""
    call = _asked_from(asked)
    family = family_of(call.family)
    assert family is not None  # noqa: S101 - the asking process found it by this name
    parsed = understand(family, call.operation, body, call.content_type)
    if isinstance(parsed, RequestRefused):
        return _encode(_Told(refused=_Refused(parsed.reason, parsed.message, parsed.param, parsed.kind)))
    return _encode(_Told(parsed=parsed))


if __name__ == "__main__":
    os.nice(_LESS_URGENT)
    give_back_memory()
    serve(sys.stdin.buffer, sys.stdout.buffer, read_one)
