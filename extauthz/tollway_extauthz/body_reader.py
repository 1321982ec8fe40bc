"""Reads big bodies in a process of its own, so that small calls do not wait for them.

Understanding a body of megabytes takes milliseconds of one thread that nobody can interrupt. The reader (`python -m
tollway_extauthz.body_reader`) is told a body on its standard input and says what it understood; it holds no secret,
reads no file, and ends with the process that started it. A body that kills it is refused, and the next gets a new one.
"""

import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from struct import Struct
from typing import BinaryIO, Final

import msgspec

from tollway.deciding.question import Question, understand
from tollway.providers.json_scan import Body
from tollway.providers.port import Kind, Operation, ParsedCall, RequestRefused
from tollway.providers.registry import family_of

BIG: Final = 64 * 1024
"""Bytes from which on a body is read elsewhere: about a millisecond's work."""
_IDLE_S: Final = 30.0
_LESS_URGENT: Final = 10
"""Who sends megabytes has time; where all cores are busy, small calls go first."""
_PIPE_BYTES: Final = 1 << 20
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


class BodyReader:
    """One process, one body at a time. It is started when a big body comes, and ends `idle_s` after the last one."""

    def __init__(self, idle_s: float = _IDLE_S) -> None:
        self._idle_s = idle_s
        self._process: asyncio.subprocess.Process | None = None
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
        return self._process.pid if self._process is not None else None

    async def close(self) -> None:
        """End the process, and wait for that, also for one that was sent to rest."""
        self._stay()
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.gather(*self._ending)

    def _stay(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _rest(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()  # it ends when nobody can ask it any more
            ending = asyncio.ensure_future(process.wait())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _ask(self, asked: bytes, body: Body) -> _Told:
        if self._process is None:
            command = (sys.executable, "-m", "tollway_extauthz.body_reader")
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
            _widen(self._process)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: S101, PT018 - pipes, as asked for
        stdin.write(_LENGTHS.pack(len(asked), len(body)))
        stdin.write(asked)
        for piece in _pieces(body):  # not all at once: what a pipe does not take would be copied meanwhile
            stdin.write(piece)
            await stdin.drain()
        (length,) = _LENGTH.unpack(await stdout.readexactly(_LENGTH.size))
        return _told_from(await stdout.readexactly(length))


def _pieces(body: Body) -> Iterator[memoryview]:
    whole = memoryview(body)
    return (whole[start : start + _PIECE] for start in range(0, len(body), _PIECE))


def _widen(process: asyncio.subprocess.Process) -> None:
    """A pipe of 64 KiB would wake both sides up forty times for a body of megabytes."""
    assert process.stdin is not None  # noqa: S101 - a pipe, as asked for
    with contextlib.suppress(OSError):  # more than this user may have
        fcntl.fcntl(process.stdin.get_extra_info("pipe"), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


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
    serve(sys.stdin.buffer, sys.stdout.buffer, read_one)
