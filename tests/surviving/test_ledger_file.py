"""A ledger that cannot be used stops Tollway with a sentence that says what to do; none is ever begun afresh for it.

While an instance runs, that is found when its data plane has to be started again: until then calls are refused.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ending.stage import Stage, staged
from installations import wait_until
from surviving.faults import Crowd, is_in_order, kill, recovers

CALLERS = 4


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--without-override") as stage:
        yield stage


@contextlib.contextmanager
def damaged(ledger: Path) -> Iterator[None]:
    """As a bad disk does it: a piece in the middle is not what was written."""
    with ledger.open("r+b") as file:
        middle = ledger.stat().st_size // 4096 * 2048
        file.seek(middle)
        before = file.read(4096)
        file.seek(middle)
        file.write(os.urandom(len(before)))
    try:
        yield
    finally:
        with ledger.open("r+b") as file:
            file.seek(middle)
            file.write(before)


@contextlib.contextmanager
def read_only(ledger: Path) -> Iterator[None]:
    """As after a restore from a backup by somebody else."""
    ledger.chmod(0o400)
    try:
        yield
    finally:
        ledger.chmod(0o600)


@contextlib.contextmanager
def emptied(ledger: Path) -> Iterator[None]:
    """As a file system leaves it after a crash."""
    before = ledger.read_bytes()
    ledger.write_bytes(b"")
    try:
        yield
    finally:
        ledger.write_bytes(before)


@contextlib.contextmanager
def data_plane_dead(stage: Stage, *, checkpointed: bool = True) -> Iterator[None]:
    """It is dead, and nobody starts it again yet; all that it wrote is in the file itself."""
    with stage.paused(stage.installation.pid):
        dead = stage.data_plane
        kill(dead)
        wait_until(lambda: Path(f"/proc/{dead}/stat").read_text().rpartition(")")[2].split()[0] == "Z", 10)
        if checkpointed:
            with contextlib.closing(sqlite3.connect(stage.installation.state / "ledger.sqlite")) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield


Fault = Callable[[Path], contextlib.AbstractContextManager[None]]
FAULTS: Mapping[str, tuple[Fault, str]] = {
    "damaged": (damaged, "Restore it from a backup"),
    "read-only": (read_only, "permissions"),
    "empty": (emptied, "Restore it from a backup"),
}


def content(stage: Stage) -> bytes:
    return (stage.installation.state / "ledger.sqlite").read_bytes()


def said(stage: Stage) -> str:
    return stage.installation.output.read_text()


def test_an_instance_whose_ledger_cannot_be_used_does_not_start_and_says_what_to_do(stage: Stage) -> None:
    stage.call("json").read()
    assert is_in_order(stage)
    books = [call for call in stage.calls() if call["outcome"] != "refused"]
    with stopped(stage):
        for name in ("damaged", "read-only"):
            does_not_start(stage, *FAULTS[name])
    assert [call for call in stage.calls() if call["outcome"] != "refused"] == books
    assert is_in_order(stage)


@contextlib.contextmanager
def stopped(stage: Stage) -> Iterator[None]:
    stage.installation.stop()
    try:
        yield
    finally:
        stage.installation.start()
        stage.wait_until_it_serves()


def does_not_start(stage: Stage, fault: Fault, mend: str) -> None:
    ledger, before = stage.installation.state / "ledger.sqlite", len(said(stage))
    with fault(ledger):
        seen = content(stage)
        with pytest.raises(AssertionError, match="ended with 3"):
            stage.installation.start()
        assert content(stage) == seen
    assert str(ledger) in said(stage)[before:]
    assert mend in said(stage)[before:]
    assert "Traceback" not in said(stage)[before:]


@pytest.mark.parametrize("name", FAULTS)
def test_a_data_plane_that_cannot_use_it_refuses_in_shape_until_it_can_again(stage: Stage, name: str) -> None:
    fault, mend = FAULTS[name]
    ledger, before = stage.installation.state / "ledger.sqlite", len(said(stage))
    with Crowd(stage, CALLERS) as crowd:
        crowd.is_answered(5)
        with contextlib.ExitStack() as until_mended:
            with data_plane_dead(stage):
                until_mended.enter_context(fault(ledger))
            wait_until(lambda: mend in said(stage)[before:], 20, lambda: said(stage)[before:])
            crowd.is_refused()
            seen = content(stage)
            crowd.is_refused()
            assert content(stage) == seen
        crowd.is_served_again(time.monotonic())
    assert crowd.were_told_nothing_else()
    assert is_in_order(stage)


def test_a_ledger_that_is_gone_while_its_latest_changes_are_there_is_not_made_anew(stage: Stage) -> None:
    ledger, before = stage.installation.state / "ledger.sqlite", len(said(stage))
    kept = ledger.with_name("kept")
    stage.call("json").read()
    assert is_in_order(stage)
    with data_plane_dead(stage, checkpointed=False):
        ledger.rename(kept)
    wait_until(lambda: "is gone, but its latest changes" in said(stage)[before:], 20, lambda: said(stage)[before:])
    assert not ledger.exists()
    kept.rename(ledger)
    assert recovers(stage, time.monotonic())
    assert is_in_order(stage)
