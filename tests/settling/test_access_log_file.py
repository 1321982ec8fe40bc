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

    def log(self, *ids: str) -> None:
        for each in ids:
            self._file.write(json.dumps({"id": each, "code": 200, "details": "via_upstream"}).encode() + b"\n")

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
        return AccessLogFile(self.path, self.checkpoints, self._take, reopen, rotate_at)

    def _take(self, ends: Sequence[CallEnd], note: Callable[[], None]) -> None:
        """All of them or none, as a transaction does."""
        if self.fails_at in [end.call_id for end in ends]:
            raise LedgerUnavailable("The disk is full.")
        self.taken += [end.call_id for end in ends]
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


async def test_lines_about_settled_calls_are_passed_over(tmp_path: Path) -> None:
    taken: list[str] = []

    def take(ends: Sequence[CallEnd], note: Callable[[], None]) -> None:
        taken.extend(end.call_id for end in ends)
        note()

    with contextlib.closing(Envoy(tmp_path / "access.log")) as envoy:
        envoy.log("a", "b", "c")
        ledger = MemoryLedger()
        log = AccessLogFile(tmp_path / "access.log", ledger, take, envoy.reopen, is_settled=lambda call: call == "b")
        assert await log.poll() == 3
        log.close()
    assert taken == ["a", "c"]


async def test_a_missing_file_is_not_an_error(tmp_path: Path) -> None:
    log = AccessLogFile(tmp_path / "none.log", MemoryLedger(), lambda *_: None, lambda: None)  # type: ignore[arg-type, return-value]
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
    assert call_end(line) == CallEnd("x", 200, True, True, told, 20, True, 1_795_326_866_331, final=False)
