"""The processes of a run: started so that they end with it; CPU time, memory and children read from `/proc`."""

import asyncio
import contextlib
import os
import re
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.failures import BenchFailed
from tollway_cli.standalone.supervisor import leashed, tail

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_KIB: Final = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_END_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `rss` counts all that is there, `pss` shares out what several processes have in common (an Envoy's
    program), `private` leaves that out."""

    rss: int
    pss: int
    private: int


@contextlib.asynccontextmanager
async def running(command: Sequence[str], log: Path, env: Mapping[str, str]) -> AsyncIterator[Process]:
    """`command` for as long as the context lasts; it is ended in order, and by the kernel if this process is killed."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *leashed(tuple(command)), stdin=DEVNULL, stdout=output, stderr=STDOUT, env=dict(env), start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), _END_WITHIN_S)


async def answer_of(command: Sequence[str], env: Mapping[str, str], within: float, question: bytes = b"") -> bytes:
    """What `command` says on stdout. Raises `BenchFailed` with what it says on stderr unless it ends with 0, and where
    it does not end `within` seconds."""
    process = await asyncio.create_subprocess_exec(
        *leashed(tuple(command)), stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(env)
    )
    try:
        answer, complaint = await asyncio.wait_for(process.communicate(question), within)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise BenchFailed(f"`{' '.join(command[1:])}` did not end within {within:.0f} s") from None
    if process.returncode != 0:
        said = complaint.decode(errors="replace").strip()
        raise BenchFailed(f"`{' '.join(command[1:])}` ended with {process.returncode}: {said}")
    return answer


def require_alive(process: Process, name: str, log: Path) -> None:
    """Raises `BenchFailed` with the end of its log where the process has ended."""
    if process.returncode is not None:
        lines = "\n    ".join(tail(log) or ("(empty)",))
        raise BenchFailed(f"{name} ended with {process.returncode}. The end of its log:\n    {lines}")


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of all threads of these processes so far, and of their children that ended; the clock that
    counts it has 10 ms ticks."""
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in pids) / _TICKS


def memory(pids: Iterable[int]) -> Memory:
    """Of these processes together."""
    rollups = [(_PROC / str(pid) / "smaps_rollup").read_text() for pid in pids]
    kinds = [{name: int(amount) * 1024 for name, amount in _KIB.findall(rollup)} for rollup in rollups]
    return Memory(
        sum(kind["Rss"] for kind in kinds),
        sum(kind["Pss"] for kind in kinds),
        sum(kind["Private_Clean"] + kind["Private_Dirty"] for kind in kinds),
    )


def open_files(pids: Iterable[int]) -> int:
    """File descriptors of these processes together."""
    return sum(len(os.listdir(_PROC / str(pid) / "fd")) for pid in pids)  # noqa: PTH208 - names are all that is needed


def started_at(pid: int) -> float:
    """Seconds from the machine's start to the process's."""
    return int(_stat(pid)[19]) / _TICKS


def children(pid: int) -> Mapping[int, str]:
    """The processes that `pid` started itself, and their command lines."""
    found = {}
    for child in _offspring().get(pid, ()):
        with contextlib.suppress(OSError):  # it ended while we looked
            found[child] = (_PROC / str(child) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def whole(roots: Iterable[int]) -> Sequence[int]:
    """These processes and all that they, and these in turn, started."""
    offspring, found = _offspring(), list(roots)
    for pid in found:  # it grows as we go
        found += offspring.get(pid, ())
    return found


def _offspring() -> Mapping[int, Sequence[int]]:
    """Process -> those that it started itself."""
    found: dict[int, list[int]] = {}
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    return found


def move(pids: Iterable[int], cores: Collection[int]) -> None:
    """Have all threads of these processes, and what they start from now on, run on these cores only."""
    for pid in pids:
        for thread in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it ended while we looked
                os.sched_setaffinity(int(thread.name), cores)


@contextlib.contextmanager
def started_on(cores: Collection[int]) -> Iterator[None]:
    """What is started meanwhile runs on these cores only, and all that it starts; none: wherever the kernel likes."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` behind the name, which may have spaces itself: state, parent, … (proc(5))."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
