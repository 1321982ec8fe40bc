"""Real small processes: started, started again, ended in order, and gone with the supervisor."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tollway_cli.standalone.lifecycle import BackOff
from tollway_cli.standalone.supervisor import Crash, ProcessSpec, Supervisor, describe_exit, tail

FAST = BackOff(first=0.02, most=0.05)


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(lambda crash: CRASHES.append(crash), FAST)
    CRASHES.clear()
    yield supervisor
    await supervisor.stop_all()


CRASHES: list[Crash] = []


def shell(tmp_path: Path, name: str, script: str, **more: object) -> ProcessSpec:
    spec = {"env": {"PATH": os.environ["PATH"]}, "grace": 2.0} | more
    return ProcessSpec(name, ("/bin/sh", "-c", script), tmp_path / f"{name}.log", **spec)  # type: ignore[arg-type]


async def eventually(condition: object, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_process_runs_with_its_output_in_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.ensure(shell(tmp_path, "talker", "echo hello; echo trouble >&2; sleep 60"))
    await eventually(lambda: tail(tmp_path / "talker.log") == ("hello", "trouble"))


LAST_WORDS = r"""
echo "[2026-11-22 09:00:00.000][1][info][main] all is well"
echo "[2026-11-22 09:00:01.000][1][critical][backtrace] Caught Segmentation fault"
printf "ActiveStream 0x1, stream_id_: 7\nheaders:\n'authorization', 'Bearer sk-a-key'\n contents: a prompt\n"
kill -SEGV $$
"""


async def test_what_a_crashing_envoy_says_of_a_call_is_neither_kept_nor_shown(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    CRASHES.clear()
    await supervisor.ensure(shell(tmp_path, "envoy", LAST_WORDS, is_envoy=True))
    await eventually(lambda: CRASHES)
    assert CRASHES[0].last_lines[0].endswith("all is well")
    assert CRASHES[0].last_lines[1].endswith("Segmentation fault")
    kept = (tmp_path / "envoy.log").read_text() + str(CRASHES[0])
    assert "sk-a-key" not in kept
    assert "a prompt" not in kept


async def test_a_process_sees_only_the_environment_it_is_given(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_PROVIDER_KEY", "sk-secret")
    await supervisor.ensure(shell(tmp_path, "reader", "echo [$A_PROVIDER_KEY]; sleep 60"))
    await eventually(lambda: tail(tmp_path / "reader.log") == ("[]",))


async def test_a_process_that_crashes_is_started_again_and_its_last_lines_are_shown(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    await supervisor.ensure(shell(tmp_path, "crasher", "echo out of luck; exit 7"))
    await eventually(lambda: len(CRASHES) >= 3)
    assert CRASHES[0].reason == "ended with exit code 7"
    assert CRASHES[0].last_lines == ("out of luck",)
    assert CRASHES[0].again_in < CRASHES[1].again_in


async def test_a_process_that_was_killed_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.ensure(shell(tmp_path, "victim", "echo up; exec sleep 60"))
    await eventually(lambda: len(tail(tmp_path / "victim.log")) == 1)
    worker = supervisor.worker("victim")
    assert worker is not None
    first = worker.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: worker.pid not in (None, first))
    assert CRASHES[0].reason == "was killed by SIGKILL"


async def test_processes_end_by_rank_and_those_who_will_not_are_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    polite = "trap 'echo {0} >> {1}; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    specs = [
        shell(tmp_path, "last", polite.format("last", order), stop_rank=2),
        shell(tmp_path, "first", polite.format("first", order), stop_rank=0),
        shell(tmp_path, "stubborn", "trap '' TERM; echo up; while :; do sleep 0.02; done", stop_rank=1, grace=0.3),
    ]
    for spec in specs:
        await supervisor.ensure(spec)
    await eventually(lambda: all(tail(spec.log) for spec in specs))
    pids = [worker.pid for spec in specs if (worker := supervisor.worker(spec.name)) is not None]
    await supervisor.stop_all()
    assert order.read_text().split() == ["first", "last"]
    assert not any(pid and is_alive(pid) for pid in pids)
    assert CRASHES == []


async def test_a_process_is_drained_before_it_is_told_to_end(supervisor: Supervisor, tmp_path: Path) -> None:
    alive_while_draining = []

    async def drain() -> None:
        worker = supervisor.worker("drained") or workers[0]
        alive_while_draining.append(worker.pid is not None and is_alive(worker.pid))

    await supervisor.ensure(shell(tmp_path, "drained", "echo up; exec sleep 60", before_stop=drain))
    workers = [worker for worker in [supervisor.worker("drained")] if worker is not None]
    await eventually(lambda: tail(tmp_path / "drained.log"))
    await supervisor.stop(["drained"])
    assert alive_while_draining == [True]


async def test_the_same_process_is_left_alone_and_a_changed_one_is_replaced(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    def spec(fingerprint: str) -> ProcessSpec:
        return shell(tmp_path, "sidecar", "echo up; exec sleep 60", fingerprint=fingerprint)

    assert await supervisor.ensure(spec("one"))
    assert not await supervisor.ensure(spec("one"))
    await eventually(lambda: len(tail(tmp_path / "sidecar.log")) == 1)
    assert await supervisor.ensure(spec("two"))
    await eventually(lambda: len(tail(tmp_path / "sidecar.log")) == 2)


async def test_a_program_that_does_not_exist_is_a_crash_with_a_reason(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.ensure(ProcessSpec("ghost", ("/no/such/envoy",), tmp_path / "ghost.log"))
    await eventually(lambda: len(CRASHES) > 0)
    assert CRASHES[0].last_lines == ("tollway: cannot start /no/such/envoy: No such file or directory",)


def test_an_end_is_told_in_words() -> None:
    assert describe_exit(-11) == "was killed by SIGSEGV"
    assert describe_exit(1) == "ended with exit code 1"


SUPERVISOR = """
    import asyncio, sys
    from pathlib import Path
    from tollway_cli.standalone.supervisor import ProcessSpec, Supervisor

    async def main():
        supervisor = Supervisor(print)
        for name in ("one", "two"):
            script = "trap '' TERM HUP INT; echo $$; while :; do sleep 0.05; done"
            await supervisor.ensure(ProcessSpec(name, ("/bin/sh", "-c", script), Path(sys.argv[1]) / f"{name}.log"))
        await asyncio.sleep(60)

    asyncio.run(main())
"""


def test_nothing_is_left_behind_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SUPERVISOR), str(tmp_path)])
    try:
        logs = [tmp_path / "one.log", tmp_path / "two.log"]
        deadline = time.monotonic() + 10
        while not all(tail(log) for log in logs) and time.monotonic() < deadline:
            time.sleep(0.02)
        pids = [int(tail(log)[0]) for log in logs]
        assert all(map(is_alive, pids))
    finally:
        parent.kill()
        parent.wait()
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_alive, pids))
