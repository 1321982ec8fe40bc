"""The decision in Go (`go_authz/`): built where there is a Go toolchain, and run."""

import asyncio
import contextlib
import shutil
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from bench.failures import BenchFailed
from bench.processes import answer_of, require_alive, running
from tollway_extauthz.keeping.probes import until

_SOURCE: Final = Path(__file__).parent / "go_authz"
_BUILT_WITHIN_S: Final = 600.0
_SERVES_WITHIN_S: Final = 10.0


class NoGo(Exception):  # noqa: N818 - named for what is missing
    """It cannot be built here; the message says why."""


async def built(directory: Path, env: Mapping[str, str]) -> Path:
    """The program. Raises `NoGo`."""
    go = shutil.which("go", path=env.get("PATH"))
    if go is None:
        raise NoGo("there is no Go toolchain here (no `go` in PATH)")
    program = directory / "go_authz"
    try:
        await answer_of((go, "-C", str(_SOURCE), "build", "-o", str(program), "."), env, _BUILT_WITHIN_S)
    except BenchFailed as failure:
        raise NoGo(str(failure)) from failure
    return program


@contextlib.asynccontextmanager
async def deciding(program: Path, socket: Path, env: Mapping[str, str]) -> AsyncIterator[Process]:
    """The program on `socket`. Raises `BenchFailed` where it does not come up."""
    socket.parent.mkdir(parents=True, exist_ok=True)
    log = socket.with_suffix(".log")
    async with running((str(program), str(socket)), log, env) as process:

        async def is_decided() -> bool:
            await asyncio.sleep(0)
            return process.returncode is not None or socket.exists()

        await until(is_decided, _SERVES_WITHIN_S)
        require_alive(process, "the decision in Go", log)
        yield process
