"""Objects that somebody else keeps changing back: they are put right at once a few times, then ever more rarely.

Whoever edits one of ours by hand sees it mended. A controller that does so each time would make two programs write for
ever; ours is the one that lets go.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from tollway_operator.cluster.kinds import SECRET, Kind, Object
from tollway_operator.reconciling.actions import Action, Apply, IssueSVID, ShowBundle, WriteStatus

AT_ONCE: Final = 5
"""So often the same is written again without any pause."""
_FIRST_PAUSE_MS: Final = 2_000
_LONGEST_PAUSE_MS: Final = 300_000
_FORGOTTEN_MS: Final = 900_000


class Target(NamedTuple):
    """What is written: an object, or its status."""

    kind: Kind
    namespace: str
    name: str
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written last and when; `again`: how often that same had to be written since."""

    digest: bytes
    at: int
    again: int

    @property
    def pause(self) -> int:
        beyond = self.again - AT_ONCE
        return min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS << min(beyond, 16)) if beyond >= 0 else 0


class Contests:
    """`now` is in milliseconds."""

    def __init__(self) -> None:
        self._written: dict[Target, _Written] = {}
        self._tidied = 0

    def wait(self, action: Action, now: int) -> int:
        """For how many milliseconds this is not done yet; 0: it is done now."""
        last = self._last(action)
        return min(last.pause, max(0, last.at + last.pause - now)) if last is not None else 0

    def wrote(self, action: Action, now: int) -> bool:
        """It was done. Says whether it is contested from now on."""
        target = target_of(action)
        if target is None:
            return False
        self._tidy(now)
        before = self._last(action)
        again = before.again + 1 if before is not None and now - before.at < _FORGOTTEN_MS else 0
        self._written[target] = _Written(_digest(action), now, again)
        return again == AT_ONCE

    def _last(self, action: Action) -> _Written | None:
        """The last write to the same, if it was of the same."""
        target = target_of(action)
        last = self._written.get(target) if target is not None else None
        return last if last is not None and last.digest == _digest(action) else None

    def _tidy(self, now: int) -> None:
        if now - self._tidied >= _FORGOTTEN_MS:
            self._tidied = now
            self._written = {of: last for of, last in self._written.items() if now - last.at < _FORGOTTEN_MS}


def target_of(action: Action) -> Target | None:
    """None for what nobody would contest."""
    match action:
        case Apply(kind, content):
            return Target(kind, content["metadata"].get("namespace", ""), content["metadata"]["name"])
        case IssueSVID(name, namespace):
            return Target(SECRET, namespace, name)
        case ShowBundle(me):
            return Target(SECRET, me.namespace, me.name)
        case WriteStatus(kind, me):
            return Target(kind, me.namespace, me.name, "status")
        case _:
            return None


def contested(target: Target) -> str:
    """The sentence for whoever looks at it."""
    of = f"the {target.subresource} of {target.kind.kind}" if target.subresource else target.kind.kind
    name = f"{target.namespace}/{target.name}" if target.namespace else target.name
    return (
        f"somebody else keeps changing {of} {name} back: Tollway puts it right ever more rarely now. "
        "Find who it is with `kubectl get -o yaml --show-managed-fields`, and have them leave it alone"
    )


def _digest(action: Action) -> bytes:
    match action:
        case Apply(_, content):
            said: object = content
        case IssueSVID():
            # Every SVID is another one.
            said = (action.spiffe_id, action.key_type, action.ttl_ms)
        case ShowBundle(_, files):
            said = files
        case WriteStatus(_, _, status):
            said = _timeless(status)
        case _:
            said = None
    return hashlib.sha256(msgspec.json.encode(said)).digest()


def _timeless(status: Object) -> Mapping[str, Any]:
    """Without the times at which conditions changed: they change with what somebody else writes."""
    conditions = [{**each, "lastTransitionTime": ""} for each in status.get("conditions", ())]
    return {**status, "conditions": conditions}
