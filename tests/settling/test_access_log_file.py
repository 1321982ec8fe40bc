"""The access-log file is the truth: whatever happens to either side, every line is taken; twice does no harm."""

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tollway.ledger.port import LedgerUnavailable
from tollway.settling.call_end import CallEnd
from tollway_extauthz.access_log_file import AccessLogFile, Line, call_end
from tollway_extauthz.stores.memory import MemoryLedger


class Envoy:
    """Writes lines as Envoy does: to the file it has open, until it is told to open its log anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def log(self, *ids: str, **more: object) -> None:
        for each in ids:
            line = {"id": each, "code": 200, "details": "via_upstream", **more}
            self._file.write(json.dumps(line).encode() + b"\n")

    def write(self, raw: bytes) -> None:
        self._file.write(raw)

    def close(self) -> None:
        self._file.close()

    async def reopen(self) -> None:
        self._file.close()
        self._file = self._path.open("ab", buffering=0)


class Setting:
    def __init__(self, folder: Path, rotate_at: int = 1 << 20) -> None:
        self.path = folder / "access.log"
        self.envoy = Envoy(self.path)
        self.checkpoints = MemoryLedger()
        self.taken: list[str] = []
        self.written_at: list[int] = []
        self.now = 1_000_000
        self.wall = 1_795_000_000_000
        self.fails_at = ""
        self.log = self._follow(self.envoy.reopen, rotate_at)

    def restart(self) -> None:
        self.log.close()
        self.log = self._follow(self.envoy.reopen, 1 << 20)

    def reopen_by(self, reopen: Callable[[], Awaitable[None]], rotate_at: int) -> None:
        self.log.close()
        self.log = self._follow(reopen, rotate_at)

    def close(self) -> None:
        self.log.close()
        self.envoy.close()

    def _follow(self, reopen: Callable[[], Awaitable[None]], rotate_at: int) -> AccessLogFile:
        return AccessLogFile(
            self.path, self.checkpoints, self._take, reopen, lambda: self.now, lambda: self.wall, rotate_at
        )

    def _take(self, ends: Sequence[CallEnd], note: Callable[[], None]) -> None:
        """All of them or none, as a transaction does."""
        if self.fails_at in [end.call_id for end in ends]:
            raise LedgerUnavailable("The disk is full.")
        self.taken += [end.call_id for end in ends]
        self.written_at += [end.written_at for end in ends]
        note()


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with contextlib.closing(Setting(tmp_path)) as setting:
        yield setting


@pytest.fixture
def rotating(tmp_path: Path) -> Iterator[Setting]:
    """Rotates at 200 bytes, a few lines."""
    with contextlib.closing(Setting(tmp_path, rotate_at=200)) as setting:
        yield setting


async def test_new_lines_are_taken_once(setting: Setting) -> None:
    setting.envoy.log("a", "b")
    await setting.log.poll()
    setting.envoy.log("c")
    await setting.log.poll()
    assert setting.taken == ["a", "b", "c"]


async def test_half_a_line_waits_for_its_other_half(setting: Setting) -> None:
    setting.envoy.write(b'{"id": "a", ')
    await setting.log.poll()
    assert setting.taken == []
    setting.envoy.write(b'"code": 200}\n')
    await setting.log.poll()
    assert setting.taken == ["a"]


async def test_a_restart_goes_on_at_the_checkpoint(setting: Setting) -> None:
    setting.envoy.log("a")
    await setting.log.poll()
    setting.envoy.log("b")
    setting.restart()
    await setting.log.poll()
    assert setting.taken == ["a", "b"]


@pytest.mark.parametrize(
    "damaged",
    [
        b"{garbage",
        b'{"id":"\xff"}',
        b'{"id":"x","start":"' + b"9" * 5000 + b'"}',
        b"[" * 100_000,
        b'{"id":' + b'{"a":' * 100_000,
    ],
    ids=["no JSON", "no UTF-8", "no moment", "deep", "deep within"],
)
async def test_a_damaged_line_does_not_hide_the_next(setting: Setting, damaged: bytes) -> None:
    setting.envoy.write(damaged + b"\n")
    setting.envoy.log("a")
    await setting.log.poll()
    assert setting.taken[-1:] == ["a"]


async def test_a_line_longer_than_a_chunk_is_taken(setting: Setting) -> None:
    setting.envoy.log("a", "b" * 200_000, "c")
    await setting.log.poll()
    assert setting.taken == ["a", "b" * 200_000, "c"]


async def test_a_line_that_an_envoy_was_killed_in_does_not_hide_the_first_of_the_next_envoy(setting: Setting) -> None:
    setting.envoy.write(b'{"code":200,"id":"lost","usage":{"comp')
    setting.envoy.log("a", "b")
    await setting.log.poll()
    assert setting.taken == ["a", "b"]


async def test_what_could_not_be_taken_is_taken_the_next_time(setting: Setting) -> None:
    setting.envoy.log("a", "b", "c")
    setting.fails_at = "b"
    with pytest.raises(LedgerUnavailable):
        await setting.log.poll()
    setting.fails_at = ""
    await setting.log.poll()
    assert setting.taken == ["a", "b", "c"]


async def test_a_file_that_was_put_aside_and_the_one_after_it_are_taken_at_once(setting: Setting) -> None:
    setting.envoy.log("a")
    setting.path.rename(setting.path.with_name("access.log.old"))
    await setting.envoy.reopen()
    setting.envoy.log("b")
    assert await setting.log.poll() == 2
    assert setting.taken == ["a", "b"]


async def test_a_grown_file_is_rotated_without_losing_a_line(rotating: Setting) -> None:
    ids = [f"call-{number}" for number in range(40)]
    for each in ids:
        rotating.envoy.log(each)
        await rotating.log.poll()
    await rotating.log.poll()
    assert rotating.taken == ids
    assert rotating.path.stat().st_size < 400


async def test_a_crash_between_renaming_and_draining_loses_nothing(setting: Setting) -> None:
    setting.envoy.log("a")
    await setting.log.poll()
    setting.path.rename(setting.path.with_name("access.log.old"))
    setting.envoy.log("b")
    setting.restart()
    await setting.log.poll()
    setting.envoy.log("c")
    await setting.log.poll()
    assert setting.taken == ["a", "b", "c"]


async def test_a_line_written_while_envoy_reopens_is_taken(setting: Setting) -> None:
    async def reopen() -> None:
        setting.envoy.log("late")
        await setting.envoy.reopen()

    setting.reopen_by(reopen, rotate_at=1)
    setting.envoy.log("a")
    await setting.log.poll()
    assert setting.taken == ["a", "late"]


async def test_what_was_written_while_nobody_read_is_as_old_as_it_says(setting: Setting) -> None:
    setting.envoy.log("a", start=str(setting.wall - 50_000), duration=20_000)
    setting.envoy.log("b", start=str(setting.wall - 50_000), duration=60_000)
    setting.envoy.log("c")
    await setting.log.poll()
    assert setting.written_at == [setting.now - 30_000, setting.now, setting.now]


@pytest.mark.parametrize("hours", [2, -2])
async def test_what_comes_while_somebody_reads_is_new_however_the_clock_was_set(setting: Setting, hours: int) -> None:
    await setting.log.poll()
    began = setting.now
    setting.envoy.log("a", start=str(setting.wall), duration=5)
    setting.now, setting.wall = setting.now + 20, setting.wall + 20 + hours * 3_600_000
    await setting.log.poll()
    assert began <= setting.written_at[0] <= setting.now


async def test_a_missing_file_is_not_an_error(tmp_path: Path) -> None:
    log = AccessLogFile(tmp_path / "none.log", MemoryLedger(), lambda *_: None, lambda: None, int, int)  # type: ignore[arg-type, return-value]
    assert await log.poll() == 0


def test_numbers_and_periodic_entries_are_read_as_they_are() -> None:
    line = Line(
        "x",
        200,
        "via_upstream",
        10,
        upstream_bytes_received=20,
        content_encoding="gzip",
        start="1795326866317",
        duration=14,
        usage={"prompt_tokens": 7.0, "model": "m", "odd": 1.5, "none": None, "yes": True, "tier": {"a": 1}},
        type="DownstreamPeriodic",
    )
    told = {"prompt_tokens": 7, "model": "m"}
    assert call_end(line, 4711) == CallEnd("x", 200, True, True, told, 20, True, 4711, final=False)
