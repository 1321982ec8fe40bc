"""Changes of the root of an instance: commands come from a file, proofs from our own processes; how it stands is told
in another file.

Each step is made of what is written, observed and commanded, and written down before it has an effect: whoever kills
the instance finds the next one going on where it stood.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from tollway.identity.root_change import (
    COMMANDS,
    Event,
    Observed,
    Proof,
    RefusedCommand,
    Sidecar,
)
from tollway.identity.root_standing import RootStanding, read_standing, told
from tollway_cli.standalone.data_plane import DataPlane
from tollway_cli.standalone.identities import Identities
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.standalone.voice import Voice
from tollway_extauthz.keeping.probes import ask_socket
from tollway_extauthz.trying import taken_bundle
from tollway_files.atomic import write_file
from tollway_operator.authority.authority import CannotSign
from tollway_operator.authority.root_changes import advanced, commanded, standing
from tollway_operator.authority.state import State
from tollway_operator.envoy.settings import GatewaySettings
from tollway_operator.envoy.vocabulary import TRIAL_CLUSTER

COMMAND_FILE: Final = "root-command.json"
STANDING_FILE: Final = "root.json"
_EVERY_MS: Final = 300

Watch = Callable[[str | None], Awaitable[Observed]]
"""What everybody proved, of a trust bundle by its digest."""


class Order(msgspec.Struct, frozen=True):
    """A command of a person. `id` tells it from the same command given before."""

    id: str
    command: str


def read_stands(state: Path) -> RootStanding | None:
    """What was told last; None where nothing was, or it cannot be read."""
    try:
        return read_standing((state / STANDING_FILE).read_bytes())
    except OSError:
        return None


def give(state: Path, order: Order) -> None:
    """Raises `OSError`."""
    write_file(state / COMMAND_FILE, msgspec.json.encode(order))


class RootChanging:
    """`step` now and then. `changed` is called when what is to be tried is another."""

    def __init__(
        self, identities: Identities, state: StateDirectory, watch: Watch, changed: Callable[[], None], voice: Voice
    ) -> None:
        self._identities = identities
        self._directory = state.root
        self._watch = watch
        self._changed = changed
        self._voice = voice
        self._told = read_stands(state.root) or RootStanding()
        self._again_at = 0

    async def step(self, now: int) -> None:
        """Raises `OSError` and `CannotSign`; then nothing has changed."""
        order = self._order()
        if order is None and now < self._again_at:
            return
        self._again_at = now + _EVERY_MS
        self._identities.keep_trying(now)
        tried = self._identities.tried
        observed = await self._watch(tried)
        refused = self._follow(order, observed, now)
        if self._identities.tried != tried:
            observed = await self._watch(self._identities.tried)
        self._tell(order, refused, observed, now)

    def _order(self) -> Order | None:
        try:
            found = msgspec.json.decode((self._directory / COMMAND_FILE).read_bytes(), type=Order)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.id != self._told.answered else None

    def _follow(self, order: Order | None, observed: Observed, now: int) -> str:
        """What is against the order; empty where it was followed, or there is none."""
        try:
            self._become(self._next(order, observed, now), now)
        except (RefusedCommand, CannotSign) as refused:
            if order is None:
                raise
            return str(refused)
        return ""

    def _next(self, order: Order | None, observed: Observed, now: int) -> State:
        authority = self._identities.authority
        if order is None:
            return advanced(authority.state, observed, now, authority.pace)
        if order.command not in COMMANDS:
            raise RefusedCommand(f"{order.command!r} is no command: it must be one of {', '.join(sorted(COMMANDS))}")
        return commanded(authority.state, Event(order.command), observed, now, pace=authority.pace)

    def _become(self, state: State, now: int) -> None:
        before = self._identities.tried
        if not self._identities.become(state, now):
            return
        self._voice.say(f"change of the root: {state.change.phase}")
        if self._identities.tried != before:
            self._changed()

    def _tell(self, order: Order | None, refused: str, observed: Observed, now: int) -> None:
        authority = self._identities.authority
        found = standing(authority.state, observed, now, authority.pace)
        answered = (order.id, refused) if order is not None else (self._told.answered, self._told.refused)
        stands = told(found, authority.state.change.since, *answered)
        if stands.late and not self._told.late:
            self._voice.warn(f"change of the root: {stands.message}")
        if stands != self._told:
            write_file(self._directory / STANDING_FILE, msgspec.json.encode(stands))
            self._told = stands


class Proving:
    """Asks our own processes what they prove."""

    def __init__(self, gateway: GatewaySettings, data_plane: DataPlane) -> None:
        self._gateway = gateway
        self._data_plane = data_plane

    async def observe(self, tried: str | None, sidecars: Mapping[str, Path]) -> Observed:
        """`sidecars`: the agents that can prove something, with their admin sockets."""
        if tried is None:
            return Observed()
        return Observed(
            gateways={"gateway": await self._of_gateway()},
            sidecars={agent: Sidecar(tried if proved else None) for agent, proved in await _of_all(sidecars, tried)},
        )

    async def _of_gateway(self) -> Proof:
        gateway = self._gateway
        shown = Path(gateway.identity_dir)
        bundle = await asyncio.to_thread(taken_bundle, gateway.address, gateway.port, shown)
        return Proof(bundle, await self._data_plane.issuers())


async def _of_all(sidecars: Mapping[str, Path], tried: str) -> Iterable[tuple[str, bool]]:
    found = await asyncio.gather(*(has_tried(socket, tried) for socket in sidecars.values()))
    return zip(sidecars, found, strict=True)


async def has_tried(admin: Path, tried: str) -> bool:
    """Whether the sidecar with this admin socket has completed a handshake with the trial certificate for the trust
    bundle of this digest."""
    name = f"cluster.{TRIAL_CLUSTER}{tried}.health_check.success"
    answer = await ask_socket(admin, f"/stats?format=text&filter={tried}.health_check.success")
    counts = (line.rpartition(": ") for line in (answer or b"").decode().splitlines())
    return any(of == name and count != "0" for of, _, count in counts)
