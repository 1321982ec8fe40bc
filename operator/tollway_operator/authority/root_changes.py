"""Changes of the root, done: what a step of `tollway.identity.root_change` means for roots and signing CAs.

Each function makes a state of a state. The owner of the authority writes it down before it uses it (`Authority.become`,
`StoredAuthority.stepped`): then a crash at any moment leaves a state from which the change goes on. The key of a root
that is dropped goes with it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from tollway.identity import root_change
from tollway.identity.root_change import Change, Event, Observed, Phase, Proof, Root, Situation, Standing
from tollway.identity.rotation import USUAL, Pace
from tollway.identity.spiffe_id import SPIFFEID, trial_id
from tollway.resources.models import SVIDSpec
from tollway_operator.authority.authority import SVID, Authority, bundle_of, issuers_of, new_line
from tollway_operator.authority.certificates import is_generated, validity_of
from tollway_operator.authority.root import BroughtRoot, UnusableRoot, generate_root, read_root
from tollway_operator.authority.state import Line, State

LEAST_ROOT_MS: Final = 7 * 86_400_000
"""A root with less left than this is not worth a change: the next one would have to begin before it is done."""


def published(state: State) -> Proof:
    """What a gateway proves that runs with this state: SHA-256, in hexadecimal digits, of the map of bundles and of
    the signing CAs, as files. A sidecar proves the first."""
    return Proof(_digest(bundle_of(state).map()), _digest(issuers_of(state)))


def situation_of(state: State, observed: Observed, now: int, pace: Pace = USUAL) -> Situation:
    current = state.root
    return Situation(current.validity, is_generated(current.certificate), published(state), observed, now, pace)


def advanced(state: State, observed: Observed, now: int, pace: Pace = USUAL) -> State:
    """`state` after everything that was observed and that the clock says; itself where nothing follows.

    Raises `CannotSign` where a next root cannot sign.
    """
    while (event := root_change.next_event(state.change, situation_of(state, observed, now, pace))) is not None:
        change = root_change.after(state.change, event, now)
        state = _moved(state, change, _generated(state, now, pace))
    return state


def commanded(
    state: State,
    command: Event,
    observed: Observed,
    now: int,
    brought: BroughtRoot | None = None,
    pace: Pace = USUAL,
) -> State:
    """`state` after a command, and after what was observed before it.

    `brought` is the next root for `Event.PREPARE`; without it one is generated. Raises `RefusedCommand`, `UnusableRoot`
    and `CannotSign`; then nothing has changed.
    """
    state = advanced(state, observed, now, pace)
    change = root_change.commanded(state.change, command, situation_of(state, observed, now, pace))
    return _moved(state, change, _brought(state, brought, now, pace) if brought else _generated(state, now, pace))


def standing(state: State, observed: Observed, now: int, pace: Pace = USUAL) -> Standing:
    """How the change stands, for a condition or a person."""
    return root_change.standing(state.change, situation_of(state, observed, now, pace))


def trial_of(state: State, gateway: SPIFFEID) -> SPIFFEID | None:
    """The ID of the certificate by which it is tried who trusts what is published; None where nothing is tried."""
    return trial_id(gateway, published(state).bundle) if state.change.rule.trial is not None else None


def issue_trial(authority: Authority, gateway: SPIFFEID, now: int) -> SVID | None:
    """The certificate, whose root everybody is to trust. Raises `CannotSign`."""
    state = authority.state
    spiffe_id, spec = trial_of(state, gateway), SVIDSpec()
    if spiffe_id is None:
        return None
    return authority.issue(spiffe_id, spec.key_type, spec.ttl_ms, now, under=state.change.rule.trial)


NewLine = Callable[[], Line]


def _moved(state: State, change: Change, new: NewLine) -> State:
    if change is state.change:
        return state
    return _MOVES.get((state.change.has_next, change.phase), _go_on)(state, change, new)


def _begin(state: State, change: Change, new: NewLine) -> State:
    return replace(state, sequence=state.sequence + 1, change=change, next=new())


def _finish(state: State, change: Change, _: NewLine) -> State:
    """The next root becomes the current one. What the other signed has expired, and is known no more."""
    line = state.line(Root.NEXT)
    alone = State(state.trust_domain, state.sequence + 1, line.root, line.active, line.prepared, line.retired)
    return replace(alone, change=change)


def _give_up(state: State, change: Change, _: NewLine) -> State:
    return replace(state, sequence=state.sequence + 1, change=change, next=None)


def _go_on(state: State, change: Change, _: NewLine) -> State:
    return replace(state, change=change)


_MOVES: Final[Mapping[tuple[bool, Phase], Callable[[State, Change, NewLine], State]]] = {
    (False, Phase.PREPARED): _begin,
    (True, Phase.REMOVED): _finish,
    (True, Phase.NONE): _give_up,
}
"""By whether there are two roots before, and the phase after: what has to be done with them."""


def _generated(state: State, now: int, pace: Pace) -> NewLine:
    return lambda: new_line(state.trust_domain, generate_root(state.trust_domain, now), now, pace)


def _brought(state: State, brought: BroughtRoot, now: int, pace: Pace) -> NewLine:
    def read() -> Line:
        root = read_root(brought, state.trust_domain, now)
        if root.certificate == state.root.certificate:
            raise UnusableRoot("it is the current root already")
        if validity_of(root.certificate).not_after - now < LEAST_ROOT_MS:
            raise UnusableRoot(f"it ends at {root.certificate.not_valid_after_utc} already")
        return new_line(state.trust_domain, root, now, pace)

    return read


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
