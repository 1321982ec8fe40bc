"""The processes of a run: started so that they end with it; CPU time, memory and children read from `/proc`."""

import asyncio
import contextlib
import os
import re
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
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
    """KiB. `pss` shares out what several processes have in common (an Envoy's program), `private` leaves it out."""

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


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far; the clock that counts it has 10 ms ticks."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> Memory:
    found = {name: int(amount) for name, amount in _KIB.findall((_PROC / str(pid) / "smaps_rollup").read_text())}
    return Memory(found["Pss"], found["Private_Clean"] + found["Private_Dirty"])


def children(pid: int) -> Mapping[int, str]:
    """The processes that `pid` started itself, and their command lines."""
    found = {}
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            if int(_stat(int(entry.name))[1]) == pid:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` behind the name, which may have spaces itself: state, parent, … (proc(5))."""
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
