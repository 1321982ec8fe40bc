"""`tollway up`: read the directory, start the instance, follow changes until told to stop."""

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tollway.resources.models import ResourceSet
from tollway.resources.notices import notices
from tollway.resources.parse import Parsed, parse_files
from tollway_cli.failures import AnswerIsNo, Broken
from tollway_cli.standalone.config_files import ConfigWatch, read_directory
from tollway_cli.standalone.given_secrets import Absent, GivenSecret, with_secrets
from tollway_cli.standalone.instance import Instance, InstanceOptions
from tollway_cli.standalone.plan import key_of
from tollway_cli.standalone.ports import NoPortFree
from tollway_cli.standalone.self_report import Reporter, SelfReport
from tollway_cli.standalone.state import Lock, StateUnusable, prepare
from tollway_cli.standalone.tuning import USUAL, Tuning
from tollway_cli.standalone.voice import Voice
from tollway_operator.authority.authority import CannotSign
from tollway_operator.authority.state import UnreadableState
from tollway_operator.envoy.binary import EnvoyNotFoundError, envoy_binary
from tollway_operator.envoy.settings import SettingsError

POLL: Final = 0.1
"""Seconds between two looks at the configuration directory. A change is taken at the second look that sees it alike,
so that a file is not read while an editor writes it."""
_AFTER_FAILURE: Final = 10.0
_CANNOT_GO_ON: Final = (CannotSign, UnreadableState, NoPortFree, SettingsError, OSError)
"""What cannot be done about by starting again what failed; each says what would help."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    config: Path
    state: Path
    ready_file: Path | None = None
    ledger: Path | None = None
    uncovered: str = "deny"
    secrets: tuple[GivenSecret, ...] = ()
    absent: tuple[Absent, ...] = ()
    """Keys that were to be given and are not."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    upstream_ca: Path | None = None
    tuning: Tuning = USUAL
    workers: int = 1
    booted_at: int | None = None
    """When this machine started, by its clock, milliseconds since the epoch: for several workers."""
    names_state: bool = False
    """The state is not the default one: commands that look at it have to name it."""

    @property
    def state_option(self) -> str:
        """What a command that looks at this instance has to be told."""
        return f" --state {shlex.quote(str(self.state))}" if self.names_state else ""


def up(options: UpOptions, clock: Callable[[], int], jitter: Callable[[], float]) -> None:
    """Returns when told to stop and everything has ended. Raises `CommandFailed` when it cannot start."""
    voice = Voice(clock)
    source = Source(options, voice)
    for absent in options.absent:
        voice.warn(f"notice: {absent}; what needs this key is not served")
    resources = source.first()
    try:
        binary = envoy_binary()
        state = prepare(options.state)
        locks = [Lock.take(state.lock_file), Lock.take_ledger(options.ledger or state.ledger)]
    except (EnvoyNotFoundError, StateUnusable, OSError) as error:
        raise Broken(str(error)) from error
    chosen = InstanceOptions(
        state,
        binary,
        options.ready_file,
        options.ledger,
        options.uncovered,
        options.environ,
        options.upstream_ca,
        options.tuning,
        options.workers,
        options.booted_at,
    )
    reporting = Reporting(options, binary, clock())
    try:
        asyncio.run(_serve(lambda: Instance(chosen, voice, clock, jitter), source, resources, voice, reporting))
    except _CANNOT_GO_ON as error:
        raise Broken(str(error)) from error
    finally:
        for lock in locks:
            lock.release()


class Source:
    """The configuration directory: what it says, and what is wrong with it, each said once per change."""

    def __init__(self, options: UpOptions, voice: Voice) -> None:
        self.options = options
        self._voice = voice
        # A ready file may be asked for in the same directory.
        self._except_for = frozenset([options.ready_file] if options.ready_file is not None else [])
        self._watch = ConfigWatch(options.config, self._except_for)
        self.problems: tuple[str, ...] = ()
        """What is wrong with the files as they are now."""
        self._noticed: tuple[str, ...] = ()

    def first(self) -> ResourceSet:
        """What it says at start. Raises `AnswerIsNo` where anything in it is wrong."""
        parsed = self._read()
        if parsed.problems:
            self._voice.warn(f"{self.options.config} cannot be used:", map(str, parsed.problems))
            raise AnswerIsNo("nothing was started: mend the files and start again")
        self._notice(parsed.resources)
        return parsed.resources

    def changed(self) -> bool:
        return self._watch.changed()

    def again(self) -> ResourceSet | None:
        """What it says now, or None where anything in it is wrong: then what is in force stays."""
        parsed, before = self._read(), self.problems
        self.problems = tuple(map(str, parsed.problems))
        if self.problems:
            self._voice.warn("the change cannot be used, what was in force stays in force:", self.problems)
            return None
        if before:
            self._voice.warn("the files are in order again")
        self._notice(parsed.resources)
        return parsed.resources

    def _read(self) -> Parsed:
        files, unreadable = read_directory(self.options.config, self._except_for)
        if unreadable:
            return Parsed(ResourceSet(), unreadable)
        parsed = parse_files(files)
        return replace(parsed, resources=with_secrets(parsed.resources, self.options.secrets))

    def _notice(self, resources: ResourceSet) -> None:
        found = tuple(map(str, notices(resources)))
        for notice in found:
            if notice not in self._noticed:
                self._voice.warn(f"notice: {notice}")
        self._noticed = found


class Reporting:
    """Says in the state directory how the instance is."""

    def __init__(self, options: UpOptions, envoy: Path, started_at: int) -> None:
        self._options = options
        self._envoy = envoy
        self._started_at = started_at
        self._version = version("tollway")  # looks through every directory of packages
        self._reporter = Reporter(options.state)

    async def keep_telling(self, instance: Instance, source: Source) -> None:
        while True:
            self._tell(instance, source)
            await asyncio.sleep(POLL)

    def _tell(self, instance: Instance, source: Source) -> None:
        """A full disk is no reason to stop serving: it is told again as soon as that helps."""
        options = self._options
        report = SelfReport(
            version=self._version,
            pid=os.getpid(),
            started_at=self._started_at,
            config=str(options.config),
            ledger=str(instance.ledger),
            uncovered=options.uncovered,
            workers=options.workers,
            envoy=str(self._envoy),
            upstream_ca=instance.upstream_ca_file,
            ready_file=str(options.ready_file or ""),
            generation=instance.generation,
            given_secrets=tuple(f"{secret.name}/{secret.key}" for secret in options.secrets),
            problems=source.problems,
            not_in_force=instance.refusal,
            processes=instance.processes(),
        )
        with contextlib.suppress(OSError):
            self._reporter.tell(report)


class Signals:
    """SIGINT and SIGTERM stop, SIGHUP reads the configuration again."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    async def interrupts(self, work: Coroutine[object, object, object]) -> bool:
        """Do `work`, or leave it when told to stop: whether that happened."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        for one in (task, stop):
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return self.stop.is_set()

    async def pause(self, seconds: float) -> None:
        """Let time pass, less of it when told to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)


async def _serve(
    make: Callable[[], Instance], source: Source, resources: ResourceSet, voice: Voice, reporting: Reporting
) -> None:
    signals = Signals()
    instance = make()
    telling = asyncio.create_task(reporting.keep_telling(instance, source))
    voice.say(f"starting with {source.options.config}")
    try:
        if not await signals.interrupts(instance.start(resources)):
            _introduce(instance, source.options, voice)
            await _follow(instance, source, signals, voice)
    finally:
        telling.cancel()
        voice.say("stopping")
        await instance.stop()
        voice.say("stopped")


async def _follow(instance: Instance, source: Source, signals: Signals, voice: Voice) -> None:
    while not signals.stop.is_set():
        if source.changed() or signals.reload.is_set():
            signals.reload.clear()
            await signals.interrupts(_reload(instance, source, voice))
        try:
            await instance.renew()
        except (CannotSign, OSError) as error:
            voice.warn(f"identities cannot be renewed: {error}")
            await signals.pause(_AFTER_FAILURE)
        await signals.pause(POLL)


async def _reload(instance: Instance, source: Source, voice: Voice) -> None:
    resources = source.again()
    if resources is None or resources == instance.resources:
        return
    try:
        if await instance.apply(resources):
            voice.say(f"the change is in force: {_counted(resources)}")
    except _CANNOT_GO_ON as error:
        instance.refusal = str(error)
        voice.warn(f"the change is not in force: {error}. Send SIGHUP to try again")


def _introduce(instance: Instance, options: UpOptions, voice: Voice) -> None:
    resources = instance.resources
    voice.say(f"serving {_counted(resources)}; the gateway is {instance.gateway_url}")
    for agent in resources.agents:
        if agent.suspended:
            voice.say(f"{key_of(agent)} is suspended")
    option = options.state_option
    if resources.agents:
        first = key_of(resources.agents[0])
        voice.say(f"run a program as an agent:  tollway run{option} --agent {first} -- COMMAND")
    voice.say(f"see what is spent:          tollway limits{option}")
    voice.say("stop with Ctrl-C")


def _counted(resources: ResourceSet) -> str:
    found = (("agent", resources.agents), ("provider", resources.providers), ("quota", resources.quotas))
    return ", ".join(f"{len(several)} {word}{'' if len(several) == 1 else 's'}" for word, several in found)
