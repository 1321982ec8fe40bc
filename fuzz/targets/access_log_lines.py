"""Envoy's access-log file: no bytes stop it from being followed, and no line behind bad ones is lost."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Final

from tollway.settling.call_end import CallEnd
from tollway_extauthz.access_log_file import AccessLogFile

_LINE: Final = {
    "id": "11111111-2222-3333-4444-555555555555",
    "call": "11111111-2222-3333-4444-555555555555",
    "provider": "openai",
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "service_tier": "default"},
    "code": 200,
    "flags": "-",
    "details": "via_upstream",
    "upstream_bytes_sent": 812,
    "upstream_bytes_received": 1204,
    "start": "1790000000123",
    "duration": 42,
    "type": "DownstreamEnd",
    "content_encoding": None,
}
_LAST: Final = "behind-it-all"
_NOW: Final = 1_790_000_060_000


def seeds() -> Iterator[bytes]:
    line = json.dumps(_LINE, separators=(",", ":")).encode()
    yield line
    yield line[: len(line) // 2] + line
    yield line + b"\n" + line.replace(b"DownstreamEnd", b"DownstreamPeriodic")
    yield line.replace(b"12", b"1.5e3").replace(b'"default"', b"null")
    yield b'{"id":"\xff"}\n\n{}\n[]\n{"start":"9"}\n\x00'


def check(data: bytes) -> None:
    """In two pieces, as a poll may come between them."""
    pieces = (data[: len(data) // 2], data[len(data) // 2 :], b'\n{"id":"' + _LAST.encode() + b'"}\n')
    with tempfile.TemporaryDirectory(dir=_quick()) as folder:
        taken = _followed(Path(folder) / "access.log", pieces)
    assert taken, "the line behind was lost"
    assert taken[-1].call_id == _LAST, "the line behind was lost"
    for end in taken:
        check_end(end)


def _followed(path: Path, pieces: Sequence[bytes]) -> list[CallEnd]:
    taken: list[CallEnd] = []

    def take(ends: Sequence[CallEnd], note: Callable[[], None]) -> None:
        taken.extend(ends)
        note()

    followed = AccessLogFile(path, _Memory(), take, _nobody, lambda: _NOW, lambda: _NOW)
    with contextlib.closing(followed) as log, path.open("ab", buffering=0) as file:
        for piece in pieces:
            file.write(piece)
            _run(log.poll())
    return taken


def check_end(end: CallEnd) -> None:
    """What a settler may rely on."""
    assert type(end.call_id) is str
    assert type(end.status) is int
    assert type(end.received) is int
    assert type(end.written_at) is int
    assert 0 <= end.written_at <= _NOW
    assert all(type(value) in (int, str) for value in end.usage.values())


class _Memory:
    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def checkpoint(self, name: str) -> str | None:
        return self._kept.get(name)

    def set_checkpoint(self, name: str, value: str) -> None:
        self._kept[name] = value


async def _nobody() -> None:
    """Nothing is rotated here."""


def _run(polling: Coroutine[object, None, int]) -> None:
    """An event loop costs more than everything else here, and a poll that rotates nothing never waits for one."""
    with contextlib.suppress(StopIteration):
        while True:
            polling.send(None)


def _quick() -> str | None:
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None
