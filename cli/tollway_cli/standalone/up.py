"""`tollway up`: read the directory, start the instance, follow changes until told to stop."""

import asyncio
import contextlib
import shlex
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tollway.resources.models import ResourceSet
from tollway.resources.notices import notices
from tollway.resources.parse import Parsed, parse_files
from tollway_cli.failures import AnswerIsNo, Broken
from tollway_cli.standalone.config_files import ConfigWatch, read_directory
from tollway_cli.standalone.given_secrets import GivenSecret, with_secrets
from tollway_cli.standalone.instance import Instance, InstanceOptions
from tollway_cli.standalone.plan import key_of
from tollway_cli.standalone.ports import NoPortFree
from tollway_cli.standalone.state import Lock, StateUnusable, prepare
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
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
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
    resources = source.first()
    try:
        binary = envoy_binary()
        state = prepare(options.state)
        lock = Lock.take(state.lock_file)
    except (EnvoyNotFoundError, StateUnusable) as error:
        raise Broken(str(error)) from error
    chosen = InstanceOptions(state, binary, options.ready_file, options.ledger, options.uncovered, options.environ)
    try:
        asyncio.run(_serve(lambda: Instance(chosen, voice, clock, jitter), source, resources, voice))
    except _CANNOT_GO_ON as error:
        raise Broken(str(error)) from error
    finally:
        lock.release()


class Source:
    """The configuration directory: what it says, and what is wrong with it, each said once per change."""

    def __init__(self, options: UpOptions, voice: Voice) -> None:
        self.options = options
        self._voice = voice
        # A ready file may be asked for in the same directory.
        self._except_for = frozenset([options.ready_file] if options.ready_file is not None else [])
        self._watch = ConfigWatch(options.config, self._except_for)
        self._is_bad = False
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
        parsed = self._read()
        if parsed.problems:
            self._is_bad = True
            self._voice.warn("the change cannot be used, what was in force stays in force:", map(str, parsed.problems))
            return None
        if self._is_bad:
            self._is_bad = False
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


async def _serve(make: Callable[[], Instance], source: Source, resources: ResourceSet, voice: Voice) -> None:
    signals = Signals()
    instance = make()
    voice.say(f"starting with {source.options.config}")
    try:
        if not await signals.interrupts(instance.start(resources)):
            _introduce(instance, source.options, voice)
            await _follow(instance, source, signals, voice)
    finally:
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
