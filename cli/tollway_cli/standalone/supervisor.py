"""Keeps the processes of a standalone instance running, and ends them in order.

`Supervisor` holds one `Worker` per process; a worker feeds `lifecycle.step` with what happens and does what it says.
A process that ends by itself is started again with exponential back-off, and its last lines of log are shown.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tollway_cli.standalone import crash_dumps, leash
from tollway_cli.standalone.lifecycle import Action, BackOff, Event, State, step

LOG_LIMIT: Final = 4 * 1024 * 1024
"""A log longer than this is put aside (one generation) when its process is started again."""
TAIL_LINES: Final = 12
HOPELESS: Final = 3
"""The exit code by which a process says that a person has to do something first, and has said what in its log."""


async def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process: what to run, where its output goes, when its turn to end comes.

    `stop_rank`: lower ranks end first. `fingerprint`: what it read at start; when it changes the process is replaced.
    `before_stop` is awaited before it is told to end (a drain). `is_envoy`: when it crashes, its last words are about a
    call, and are taken out of its log.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_rank: int = 0
    grace: float = 5.0
    fingerprint: str = ""
    before_stop: Callable[[], Awaitable[None]] = field(default=_nothing, compare=False)
    is_envoy: bool = False


@dataclass(frozen=True, slots=True)
class Crash:
    """A process that ended by itself, or could not be started, for the person who watches."""

    name: str
    reason: str
    """How it ended, or why it could not be started."""
    ran_for: float
    again_in: float
    log: Path
    last_lines: tuple[str, ...]


def describe_exit(returncode: int) -> str:
    """`-9` is "was killed by SIGKILL", `1` is "ended with exit code 1"."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


def tail(log: Path, since: int = 0, lines: int = TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a log after its first `since` bytes, or nothing where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, file.seek(0, os.SEEK_END) - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if line.strip())[-lines:]


def leashed(command: tuple[str, ...]) -> tuple[str, ...]:
    """`command`, so that the kernel kills it when this process is gone."""
    return (sys.executable, "-I", "-S", str(Path(leash.__file__)), str(os.getpid()), *command)


class Worker:
    """One supervised process. All its methods run in the event loop's thread, which must be the main thread: the
    kernel ties a child to the *thread* that started it."""

    def __init__(self, spec: ProcessSpec, on_crash: Callable[[Crash], None], back_off: BackOff) -> None:
        self.spec = spec
        self.state = State.IDLE
        self._on_crash = on_crash
        self._back_off = back_off
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._process: asyncio.subprocess.Process | None = None
        self._started_at = 0.0
        self._log_began = 0
        self._not_started = ""
        self.failures = 0
        """Short runs in a row that ended by themselves."""
        self._attempted = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name=f"supervise {spec.name}")

    @property
    def is_hopeless(self) -> bool:
        """Whether it said, as it ended, that starting it again does not help."""
        return self._process is not None and self._process.returncode == HOPELESS

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The end of what it wrote since it was started last."""
        return tail(self.spec.log, self._log_began)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it; returns when the attempt was made."""
        self._events.put_nowait(Event.START)
        await self._attempted.wait()

    async def stop(self) -> None:
        """End it (drain, SIGTERM, SIGKILL after the grace); returns when it is gone."""
        if self.state is State.RUNNING:
            with contextlib.suppress(Exception):  # a drain that fails must not keep it alive
                await asyncio.wait_for(self.spec.before_stop(), self.spec.grace)
        self._events.put_nowait(Event.STOP)
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        while self.state is not State.STOPPED:
            self.state, action = step(self.state, await self._events.get())
            await self._do(action)

    async def _do(self, action: Action) -> None:
        match action:
            case Action.SPAWN:
                await self._spawn()
            case Action.BACK_OFF:
                self._wait_before_restart()
            case Action.TERMINATE:
                self._signal(signal.SIGTERM)
                self._later(self.spec.grace, Event.GRACE_OVER)
            case Action.KILL:
                self._signal(signal.SIGKILL)
            case Action.NONE:
                pass

    async def _spawn(self) -> None:
        self._started_at = self._loop.time()
        try:
            self._process = await self._start_process()
        except OSError as error:  # no descriptor, no memory, no room for the log: another time there may be
            self._process = None
            self._not_started = f"could not be started ({error.strerror})"
            self._events.put_nowait(Event.EXITED)
        else:
            task = self._loop.create_task(self._report_exit(self._process))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        finally:
            self._attempted.set()

    async def _start_process(self) -> asyncio.subprocess.Process:
        _put_aside(self.spec.log)
        with self.spec.log.open("ab") as log:
            self._log_began = log.tell()
            return await asyncio.create_subprocess_exec(
                *leashed(self.spec.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.spec.env),
                start_new_session=True,  # Ctrl-C at the terminal is for us: we end them in order
            )

    async def _report_exit(self, process: asyncio.subprocess.Process) -> None:
        returncode = await process.wait()
        if self.spec.is_envoy and returncode in crash_dumps.CRASHES:
            try:
                crash_dumps.take_out(self.spec.log, self._log_began)
            except OSError:
                self.spec.log.unlink(missing_ok=True)  # rather no log than one with a key in it
        self._events.put_nowait(Event.EXITED)

    def _wait_before_restart(self) -> None:
        ran_for = self._loop.time() - self._started_at
        self.failures = self._back_off.failures(self.failures, ran_for)
        delay = self._back_off.delay(self.failures)
        self._on_crash(
            Crash(self.spec.name, self._reason(), ran_for, delay, self.spec.log, self.last_lines),
        )
        self._later(delay, Event.DUE)

    def _reason(self) -> str:
        returncode = self._process.returncode if self._process is not None else None
        return self._not_started if returncode is None else describe_exit(returncode)

    def _later(self, delay: float, event: Event) -> None:
        self._loop.call_later(delay, self._events.put_nowait, event)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)


def _put_aside(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(log.name + ".1"))


_USUAL: Final = BackOff()


class Supervisor:
    """All processes of one instance, by name."""

    def __init__(self, on_crash: Callable[[Crash], None], back_off: BackOff = _USUAL) -> None:
        self._on_crash = on_crash
        self._back_off = back_off
        self._workers: dict[str, Worker] = {}

    def worker(self, name: str) -> Worker | None:
        return self._workers.get(name)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._workers)

    @property
    def specs(self) -> tuple[ProcessSpec, ...]:
        return tuple(worker.spec for worker in self._workers.values())

    async def ensure(self, spec: ProcessSpec) -> bool:
        """Have `spec` running; a process of that name with another command is replaced. Whether anything was done."""
        present = self._workers.get(spec.name)
        if present is not None and present.spec == spec:
            return False
        await self.stop((spec.name,))
        worker = Worker(spec, self._on_crash, self._back_off)
        self._workers[spec.name] = worker
        await worker.start()
        return True

    async def replace(self, names: Iterable[str]) -> None:
        """Start those of these processes anew that there are."""
        specs = [self._workers[name].spec for name in names if name in self._workers]
        await self.stop(spec.name for spec in specs)
        for spec in specs:
            await self.ensure(spec)

    async def stop(self, names: Iterable[str]) -> None:
        """End these processes, lower `stop_rank` first, those of one rank together."""
        workers = [self._workers.pop(name) for name in names if name in self._workers]
        for rank in sorted({worker.spec.stop_rank for worker in workers}):
            await asyncio.gather(*(worker.stop() for worker in workers if worker.spec.stop_rank == rank))

    async def stop_all(self) -> None:
        await self.stop(tuple(self._workers))
