"""How a trust domain gets another root while every connection goes on: a table of states and events, and two functions.

A certificate may only be used where everybody who checks it trusts its root. Agents' certificates are checked by the
gateways, few and ours; the gateway's own is checked by every sidecar. So the new root is shown to all beside the
current one, agents move when every gateway has *proved* that it trusts it, the gateway moves when every sidecar has,
and the root that is left goes when the last certificate under it has expired.

    None ──prepare──▶ Prepared ──gateways prove──▶ Trusted ──activate──▶ Active ──sidecars prove──▶ Draining
     ▲                                                                                                  │ expired
     └──────────────────────────────── everybody follows ◀── Removed ◀─────────────────────────────────┘

`abort` goes back to None while nothing has been signed, and through RollingBack later. What comes next is a function of
the stored state, what was observed, and the clock: whoever reads the state after a crash goes on where it stood.

All times are integer milliseconds since the Unix epoch. Digests are compared, never interpreted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeAlias

from tollway.identity.rotation import PUBLISH_MS, USUAL, Pace, Validity
from tollway.identity.spiffe_id import SPIFFEID, agent_path

DRAIN_MS: Final = USUAL.drain
SILENCE_MS: Final = 10 * 60_000
"""A pod that has not followed after so long is worth a warning."""
_NAMED: Final = 10
"""A message names so many pods; the others are counted."""


class Phase(StrEnum):
    """Where a change of the root stands."""

    NONE = "None"
    PREPARED = "Prepared"
    """Everybody is shown the new root; nothing is signed under it but the trial certificate, which is nobody's."""
    TRUSTED = "Trusted"
    """Every gateway has proved that it trusts the new root and knows its signing CA, and pods that start will."""
    ACTIVE = "Active"
    """Agents' next certificates come from the new root; the gateway's still from the current one."""
    DRAINING = "Draining"
    """Everything is signed under the new root; certificates under the other live on."""
    REMOVED = "Removed"
    """The new root is the only one; not everybody has proved to have dropped the other."""
    ROLLING_BACK = "RollingBack"
    """Aborted: everything is signed under the current root again; certificates under the other live on."""


class Root(StrEnum):
    """Which of the two: the one there was before, or the one that is to take its place."""

    CURRENT = "current"
    NEXT = "next"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a phase means: which roots the bundle has, and which signs the next certificate of whom."""

    bundle: tuple[Root, ...]
    agents: Root
    gateway: Root
    trial: Root | None = None
    """Which signs the trial certificate: whoever completes a handshake with it trusts what is published now."""


_ALONE: Final = Rule((Root.CURRENT,), Root.CURRENT, Root.CURRENT)
_SHOWN: Final = Rule((Root.CURRENT, Root.NEXT), Root.CURRENT, Root.CURRENT)
_TRIED: Final = replace(_SHOWN, trial=Root.NEXT)

RULES: Final[Mapping[Phase, Rule]] = {
    Phase.NONE: _ALONE,
    Phase.PREPARED: _TRIED,
    Phase.TRUSTED: _TRIED,
    Phase.ACTIVE: replace(_TRIED, agents=Root.NEXT),
    Phase.DRAINING: Rule((Root.CURRENT, Root.NEXT), agents=Root.NEXT, gateway=Root.NEXT),
    # Here the next root has become the current one.
    Phase.REMOVED: replace(_ALONE, trial=Root.CURRENT),
    Phase.ROLLING_BACK: _SHOWN,
}


class Event(StrEnum):
    """What can happen: commands of a person, what was observed, what the clock says."""

    PREPARE = "prepare"
    ACTIVATE = "activate"
    ABORT = "abort"
    GATEWAYS_TRUST = "every gateway trusts the new root"
    GATEWAYS_DOUBT = "a gateway does not trust the new root"
    SIDECARS_TRUST = "every sidecar trusts the new root"
    ALL_FOLLOWED = "nobody trusts the old root"
    ROOT_IS_OLD = "the root is near its end"
    ROOT_IS_VERY_OLD = "the root is very near its end"
    ROOT_ENDS = "the root signs no full certificate any more"
    LEAVES_EXPIRED = "the last certificate under the other root has expired"


COMMANDS: Final = frozenset({Event.PREPARE, Event.ACTIVATE, Event.ABORT})

Move: TypeAlias = tuple[Phase, Event]

MOVES: Final[Mapping[Move, Phase]] = {
    (Phase.NONE, Event.PREPARE): Phase.PREPARED,
    (Phase.NONE, Event.ROOT_IS_OLD): Phase.PREPARED,
    (Phase.PREPARED, Event.GATEWAYS_TRUST): Phase.TRUSTED,
    (Phase.PREPARED, Event.ABORT): Phase.NONE,
    (Phase.PREPARED, Event.ROOT_ENDS): Phase.DRAINING,
    (Phase.TRUSTED, Event.GATEWAYS_DOUBT): Phase.PREPARED,
    (Phase.TRUSTED, Event.ACTIVATE): Phase.ACTIVE,
    (Phase.TRUSTED, Event.ROOT_IS_VERY_OLD): Phase.ACTIVE,
    (Phase.TRUSTED, Event.ABORT): Phase.NONE,
    (Phase.TRUSTED, Event.ROOT_ENDS): Phase.DRAINING,
    (Phase.ACTIVE, Event.SIDECARS_TRUST): Phase.DRAINING,
    (Phase.ACTIVE, Event.ROOT_ENDS): Phase.DRAINING,
    (Phase.ACTIVE, Event.ABORT): Phase.ROLLING_BACK,
    (Phase.DRAINING, Event.ABORT): Phase.ROLLING_BACK,
    (Phase.DRAINING, Event.LEAVES_EXPIRED): Phase.REMOVED,
    (Phase.REMOVED, Event.ALL_FOLLOWED): Phase.NONE,
    (Phase.REMOVED, Event.PREPARE): Phase.PREPARED,
    (Phase.REMOVED, Event.ROOT_IS_OLD): Phase.PREPARED,
    (Phase.ROLLING_BACK, Event.LEAVES_EXPIRED): Phase.NONE,
}
"""Where an event leads. What is neither here nor in `REFUSALS` changes nothing."""

REFUSALS: Final[Mapping[Move, str]] = {
    (Phase.NONE, Event.ACTIVATE): "no change of the root is under way: prepare one first",
    (Phase.NONE, Event.ABORT): "no change of the root is under way",
    (Phase.PREPARED, Event.ACTIVATE): "not every gateway has proved that it trusts the new root",
    (Phase.ACTIVE, Event.PREPARE): "a change of the root is under way: wait until it is done, or abort it",
    (Phase.DRAINING, Event.PREPARE): "a change of the root is under way: wait until it is done, or abort it",
    (Phase.REMOVED, Event.ACTIVATE): "the change of the root is done: prepare another one first",
    (Phase.REMOVED, Event.ABORT): "the old root is removed: prepare a change to go to another one",
    (Phase.ROLLING_BACK, Event.PREPARE): "the last change is being rolled back: wait until its certificates are gone",
    (Phase.ROLLING_BACK, Event.ACTIVATE): "the change is being rolled back: wait, then prepare another one",
}
"""Commands that a person has to be told about. Giving one again that was done already is neither a move nor a refusal:
whoever crashed after it may give it again."""


@dataclass(frozen=True, slots=True)
class Change:
    """What of a change must be stored, beside the roots themselves. `since`: when this phase began."""

    phase: Phase = Phase.NONE
    since: int = 0

    @property
    def rule(self) -> Rule:
        return RULES[self.phase]

    @property
    def has_next(self) -> bool:
        """Whether there are two roots."""
        return Root.NEXT in self.rule.bundle


NO_CHANGE: Final = Change()


@dataclass(frozen=True, slots=True)
class Proof:
    """Digests of what is published, or of what a gateway runs: the trust bundle, and the signing CAs."""

    bundle: str
    issuers: str


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The digest of the trust bundle that it proved to run, or None. `born`: when its pod was made; 0: not known."""

    bundle: str | None
    born: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """Every pod there is, by name, with what it proved to run; None: it said nothing.

    Only to be made of a complete listing: a pod that is missing here is not waited for. A proof is of one pod, not of a
    name: it ends with the pod's UID.
    """

    gateways: Mapping[str, Proof | None] = field(default_factory=dict)
    sidecars: Mapping[str, Sidecar] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    """The objects that pods read when they start, with the digest of the trust bundle that each has now."""

    def doubting_gateways(self, published: Proof) -> tuple[str, ...]:
        return tuple(sorted(name for name, proof in self.gateways.items() if proof != published))

    def doubting_sidecars(self, published: Proof, since: int, settled: int = PUBLISH_MS) -> tuple[str, ...]:
        """Those of pods made since then that have said nothing yet do not count: they started with what all sources had
        by then. Where pods come and go all the time there would never be a moment at which all have spoken."""

        def is_waited_for(sidecar: Sidecar) -> bool:
            is_newborn = sidecar.bundle is None and sidecar.born >= since + settled
            return sidecar.bundle != published.bundle and not is_newborn

        return tuple(sorted(name for name, sidecar in self.sidecars.items() if is_waited_for(sidecar)))

    def stale_sources(self, published: Proof) -> tuple[str, ...]:
        return tuple(sorted(name for name, bundle in self.sources.items() if bundle != published.bundle))


@dataclass(frozen=True, slots=True)
class Situation:
    """What the next step depends on, beside the phase. `replaceable`: whether a root may be made without being asked
    (one that a user brought may not)."""

    current: Validity
    replaceable: bool
    published: Proof
    observed: Observed
    now: int
    pace: Pace = USUAL

    def doubting_sidecars(self, change: Change) -> tuple[str, ...]:
        return self.observed.doubting_sidecars(self.published, change.since, self.pace.publish)


class RefusedCommand(Exception):  # noqa: N818 - named for what happened
    """The command cannot be followed now; nothing has changed. The message says why, and what to do."""


def next_event(change: Change, situation: Situation) -> Event | None:
    """What has happened that leads on, if anything; to be asked again after each move, until it says None."""
    has_happened = (event for event, predicate in _HAPPENS if predicate(change, situation))
    return next((event for event in has_happened if (change.phase, event) in MOVES), None)


def after(change: Change, event: Event, now: int) -> Change:
    """The change after an event: itself where nothing follows. Raises `RefusedCommand`."""
    refusal = REFUSALS.get((change.phase, event))
    if refusal is not None:
        raise RefusedCommand(refusal)
    phase = MOVES.get((change.phase, event), change.phase)
    if phase is change.phase:
        return change
    return Change(phase, now) if phase is not Phase.NONE else NO_CHANGE


def commanded(change: Change, command: Event, situation: Situation) -> Change:
    """The change after a command, given when `next_event` says None. Raises `RefusedCommand`, with names."""
    if command not in COMMANDS:
        raise ValueError(f"{command} is not a command")
    if command is Event.ABORT and _is_too_late_to_go_back(change, situation):
        raise RefusedCommand("the current root is about to end: going back to it would stop every call")
    if command is Event.ACTIVATE and change.phase is Phase.TRUSTED and not _has_settled(change, situation):
        soon = situation.pace.publish // 1000
        raise RefusedCommand(f"the new root is trusted since a moment only: try again in {soon} s")
    try:
        return after(change, command, situation.now)
    except RefusedCommand as refused:
        missing = waiting_for(change, situation) if command is Event.ACTIVATE else ()
        raise RefusedCommand(f"{refused}: {named(missing)}" if missing else str(refused)) from None


def signer_of(change: Change, spiffe_id: SPIFFEID) -> Root:
    """The root that the next certificate for this ID comes from.

    An ID that looks like the gateway's, of whatever namespace, is treated as the gateway's: that is never too early.
    """
    path = agent_path(spiffe_id)
    is_gateway = path is not None and path.agent is None and path.service_account == _GATEWAY
    return change.rule.gateway if is_gateway else change.rule.agents


_GATEWAY: Final = "tollway-gateway"


# --- what has happened ---------------------------------------------------------------------------------------------


def _has_settled(change: Change, situation: Situation) -> bool:
    # A pod that starts may read what was published a moment ago. After so long it is listed, and is waited for.
    return situation.now >= change.since + situation.pace.publish


def _gateways_trust(change: Change, situation: Situation) -> bool:
    return not _gateways_doubt(change, situation)


def _gateways_doubt(_: Change, situation: Situation) -> bool:
    observed, published = situation.observed, situation.published
    # No gateway at all has proved nothing.
    return not observed.gateways or bool(observed.doubting_gateways(published) + observed.stale_sources(published))


def _sidecars_trust(change: Change, situation: Situation) -> bool:
    return not (situation.doubting_sidecars(change) + situation.observed.stale_sources(situation.published))


def _all_followed(change: Change, situation: Situation) -> bool:
    return _gateways_trust(change, situation) and _sidecars_trust(change, situation)


def _root_is_old(_: Change, situation: Situation) -> bool:
    return situation.replaceable and situation.now >= situation.current.at(5, 6)


def _root_is_very_old(change: Change, situation: Situation) -> bool:
    return situation.now >= situation.current.at(11, 12) and _has_settled(change, situation)


def _root_ends(change: Change, situation: Situation) -> bool:
    """From here on waiting for the silent would stop everybody else too."""
    ends = situation.now >= situation.current.not_after - situation.pace.longest_leaf
    return ends and (change.phase is not Phase.PREPARED or _has_settled(change, situation))


def _leaves_expired(change: Change, situation: Situation) -> bool:
    return situation.now >= change.since + situation.pace.drain


_HAPPENS: Final[tuple[tuple[Event, Callable[[Change, Situation], bool]], ...]] = (
    (Event.ROOT_ENDS, _root_ends),
    (Event.LEAVES_EXPIRED, _leaves_expired),
    (Event.GATEWAYS_DOUBT, _gateways_doubt),
    (Event.GATEWAYS_TRUST, _gateways_trust),
    (Event.ALL_FOLLOWED, _all_followed),
    (Event.SIDECARS_TRUST, _sidecars_trust),
    (Event.ROOT_IS_OLD, _root_is_old),
    (Event.ROOT_IS_VERY_OLD, _root_is_very_old),
)
"""The first that leads on counts: the end of a root before everything, doubt before what doubt forbids."""


def _is_too_late_to_go_back(change: Change, situation: Situation) -> bool:
    goes_back = change.phase in (Phase.ACTIVE, Phase.DRAINING)
    return goes_back and situation.now >= situation.current.not_after - situation.pace.ca_ttl


# --- what to tell --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """What a condition says: the phase is its reason. `is_late`: somebody has been waited for too long."""

    phase: Phase
    message: str
    waiting_for: tuple[str, ...]
    is_late: bool


def waiting_for(change: Change, situation: Situation) -> tuple[str, ...]:
    """The pods that hold the change up, by kind and name, and the objects that do."""
    observed, published = situation.observed, situation.published
    gateways = tuple(f"gateway {name}" for name in observed.doubting_gateways(published))
    sidecars = tuple(f"sidecar {name}" for name in situation.doubting_sidecars(change))
    sources = observed.stale_sources(published)
    match change.phase:
        case Phase.PREPARED:
            return gateways + sources
        case Phase.ACTIVE:
            return sidecars + sources
        case Phase.REMOVED:
            return gateways + sidecars + sources
        case _:
            return ()


def standing(change: Change, situation: Situation) -> Standing:
    """How the change stands, for a person."""
    missing = waiting_for(change, situation)
    is_late = bool(missing) and situation.now >= change.since + SILENCE_MS
    sentence = _SENTENCES[change.phase]
    if missing:
        sentence += f" Waiting for proof from {named(missing)}; one that stays silent can be deleted."
    elif change.phase is Phase.PREPARED and not situation.observed.gateways:
        sentence += " No gateway is running that could prove it."
    return Standing(change.phase, sentence, missing, is_late)


def named(pods: tuple[str, ...]) -> str:
    """The first few, and how many more."""
    more = f" and {len(pods) - _NAMED} more" if len(pods) > _NAMED else ""
    return ", ".join(pods[:_NAMED]) + more


_SENTENCES: Final[Mapping[Phase, str]] = {
    Phase.NONE: "No change of the root is under way.",
    Phase.PREPARED: "The new root is published; nothing is signed under it.",
    Phase.TRUSTED: "Every gateway trusts the new root. Activate or abort the change.",
    Phase.ACTIVE: "Agents get certificates under the new root; the gateway follows when every sidecar trusts it.",
    Phase.DRAINING: "Everything is signed under the new root; certificates under the old one expire.",
    Phase.REMOVED: "The old root is removed.",
    Phase.ROLLING_BACK: "The change was aborted; certificates under the new root expire.",
}
