"""Envoy's access-log file: how it is learned that a call has ended, and none is lost.

Envoy writes one JSON object a line and flushes every 20 ms. We follow the file from a checkpoint in the ledger: a
restart of either side loses nothing, and a line told twice does no harm. A file that has grown is renamed, Envoy is
told to open a new one, and the old one is drained before it goes.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec

from tollway.settling.call_end import CallEnd

_log = logging.getLogger(__name__)
_CHECKPOINT: Final = "access-log"
_CHUNK: Final = 1 << 16
"""What is taken at once, some hundred lines: decisions wait no longer than for these."""
_LONGEST_LINE: Final = 1 << 20
_ROTATE_AT: Final = 64 << 20
_MOMENT: Final = re.compile(r"[0-9]{1,16}")
_BEGIN: Final = b'{"'
"""How a line begins, and the objects in it, which cannot be read as a line: more follows them."""


class Line(msgspec.Struct, frozen=True):
    """The keys of a line that matter here (written by the gateway's configuration)."""

    id: str | None = None
    code: int | None = None
    details: str | None = None
    upstream_bytes_sent: int | None = None
    upstream_bytes_received: int | None = None
    content_encoding: str | None = None
    start: str | None = None
    duration: int | None = None
    usage: dict[str, object] | None = None
    type: str | None = None


_line: Final = msgspec.json.Decoder(Line).decode


class Checkpoints(Protocol):
    def checkpoint(self, name: str) -> str | None: ...

    def set_checkpoint(self, name: str, value: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """What Envoy wrote that nobody took yet: normally nothing, or what is younger than a poll."""

    bytes: int
    written_at: int
    """When Envoy last wrote, milliseconds; 0 where there is no file."""


def backlog(path: Path, checkpoints: Checkpoints) -> Backlog:
    """As seen from outside: by the files and the checkpoint alone."""
    inode, offset = _taken(checkpoints)
    found = [each.stat() for each in (path.with_name(path.name + ".old"), path) if each.exists()]
    left = sum(each.st_size - (offset if each.st_ino == inode else 0) for each in found)
    return Backlog(max(left, 0), max((each.st_mtime_ns // 1_000_000 for each in found), default=0))


class AccessLogFile:
    """Follows one file; one task polls.

    `take` gets what some lines tell, and what to call, in the same transaction, so that they are not read again. Where
    it raises they are. `reopen` tells Envoy to open its log anew. `wall_clock` is the clock by which Envoy says when it
    wrote a line; it may be set meanwhile, and `clock` not.
    """

    def __init__(
        self,
        path: Path,
        checkpoints: Checkpoints,
        take: Callable[[Sequence[CallEnd], Callable[[], None]], None],
        reopen: Callable[[], Awaitable[None]],
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        rotate_at: int = _ROTATE_AT,
    ) -> None:
        self._path = path
        self._old = path.with_name(path.name + ".old")
        self._checkpoints = checkpoints
        self._take = take
        self._reopen = reopen
        self._clock = clock
        self._wall_clock = wall_clock
        self._rotate_at = rotate_at
        self._file: BinaryIO | None = None
        self._offset = 0
        self._complete_at = 0
        """Everything that Envoy had written by then was taken (by `clock`)."""

    async def poll(self) -> int:
        """Take what is new; rotate if it is time. Returns the number of lines."""
        if self._file is None and not self._open():
            return 0
        began = self._clock()
        lines = await self._drain()
        if self._offset >= self._rotate_at or self._is_old():
            lines += await self._rotate()
            lines += await self._drain() if self._open() else 0
        self._complete_at = began
        return lines

    def close(self) -> None:
        """Let go of the file; what was taken is in the checkpoint."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> bool:
        inode, offset = _taken(self._checkpoints)
        for path in (self._old, self._path):
            # A file that was renamed but not drained comes first; without a checkpoint every file is read whole.
            if path.exists():
                self._file = path.open("rb")
                self._offset = offset if _inode(self._file) == inode else 0
                self._file.seek(self._offset)
                return True
        return False

    async def _drain(self) -> int:
        assert self._file is not None  # noqa: S101 - `poll` opened it
        lines = 0
        while chunk := self._read():
            complete, newline, _ = chunk.rpartition(b"\n")
            if newline:
                lines += self._take_lines(complete)
            elif len(chunk) >= _LONGEST_LINE:
                _log.error("%s: a line of over %d bytes is skipped", self._path, _LONGEST_LINE)
                self._offset += len(chunk)
            else:
                break
            await asyncio.sleep(0)
        return lines

    def _read(self) -> bytes:
        """What comes next: a chunk, or more where a chunk does not hold a line."""
        assert self._file is not None  # noqa: S101 - `poll` opened it
        # What could not be taken last time is read again.
        self._file.seek(self._offset)
        chunk = self._file.read(_CHUNK)
        return chunk if b"\n" in chunk or len(chunk) < _CHUNK else chunk + self._file.read(_LONGEST_LINE - _CHUNK)

    def _take_lines(self, complete: bytes) -> int:
        assert self._file is not None  # noqa: S101 - `poll` opened it
        lines = [line for text in complete.split(b"\n") if (line := _readable(text)) is not None]
        ends = [call_end(line, self._written_at(line)) for line in lines]
        offset = self._offset + len(complete) + 1
        place = f"{_inode(self._file)} {offset}"
        self._take(ends, lambda: self._checkpoints.set_checkpoint(_CHECKPOINT, place))
        self._offset = offset
        return complete.count(b"\n") + 1

    def _written_at(self, line: Line) -> int:
        """By `clock`: as long ago as the line says, but not before everything that was there had been taken."""
        stamp = int(line.start) + (line.duration or 0) if line.start and _MOMENT.fullmatch(line.start) else 0
        age = max(self._wall_clock() - stamp, 0) if stamp else 0
        return max(self._clock() - age, self._complete_at)

    async def _rotate(self) -> int:
        """Rename, have Envoy write elsewhere, drain what it still wrote, and only then remove."""
        assert self._file is not None  # noqa: S101 - `poll` opened it
        if not self._is_old():
            self._path.rename(self._old)
        await self._reopen()
        lines = await self._drain()
        self.close()
        self._old.unlink(missing_ok=True)
        return lines

    def _is_old(self) -> bool:
        assert self._file is not None  # noqa: S101 - `poll` opened it
        return self._old.exists() and _inode(self._file) == self._old.stat().st_ino


def _taken(checkpoints: Checkpoints) -> tuple[int, int]:
    """Of which file (inode) how many bytes were taken."""
    inode, _, offset = (checkpoints.checkpoint(_CHECKPOINT) or "0 0").partition(" ")
    return int(inode), int(offset)


def _inode(file: BinaryIO) -> int:
    return Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino


def _readable(text: bytes) -> Line | None:
    """The line; of one that runs into the rest of another (Envoy was killed in the middle of it) the last."""
    begin = 0
    while begin >= 0:
        try:
            line = _line(text[begin:])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            begin = text.find(_BEGIN, begin + 1)
            continue
        if begin:
            _log.warning("%d bytes of the access log are the beginning of a lost line", begin)
        return line
    _log.error("a line of the access log cannot be read (%d bytes); the hold's deadline covers it", len(text))
    return None


def call_end(line: Line, written_at: int) -> CallEnd:
    """The line in the core's words."""
    return CallEnd(
        call_id=line.id or "",
        status=line.code or 0,
        whole=line.details == "via_upstream",
        reached_provider=(line.upstream_bytes_sent or 0) > 0,
        usage={key: v for key, value in (line.usage or {}).items() if (v := _whole(value)) is not None},
        received=line.upstream_bytes_received or 0,
        compressed=(line.content_encoding or "identity") != "identity",
        written_at=written_at,
        final=line.type != "DownstreamPeriodic",
    )


def _whole(value: object) -> int | str | None:
    """Numbers that are whole, and texts; of anything else a provider may say there is nothing to count."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None
