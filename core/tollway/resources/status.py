"""The status of a resource as Kubernetes' users read it: conditions that change only when something changed.

Source: `metav1.Condition`, as `crds/` has it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

LONGEST_MESSAGE: Final = 1_024
"""Longer ones help nobody; the schema's bound is far above."""

Json = Mapping[str, object]


class Truth(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """One aspect of an object: whether it holds, one stable word for why, and a sentence with what to do about it."""

    type: str
    status: Truth
    reason: str
    message: str


def merged(conditions: Iterable[Condition], before: object, generation: int, now: int) -> Sequence[Json]:
    """Conditions as they are written: one whose status is what it was keeps the moment of its last transition."""
    known = _by_type(before)
    return [_written(condition, known.get(condition.type, {}), generation, now) for condition in conditions]


def changed(conditions: Iterable[Condition], before: object) -> Sequence[Condition]:
    """Those whose status is not what it was, or that are new."""
    known = _by_type(before)
    return [each for each in conditions if known.get(each.type, {}).get("status") != each.status]


def rfc3339(ms: int) -> str:
    """A moment as Kubernetes writes it, in whole seconds."""
    return datetime.fromtimestamp(ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _by_type(conditions: object) -> Mapping[str, Json]:
    listed = conditions if isinstance(conditions, list) else []
    return {str(each.get("type")): each for each in listed if isinstance(each, dict)}


def _written(condition: Condition, before: Json, generation: int, now: int) -> Json:
    same = before.get("status") == condition.status
    return {
        "type": condition.type,
        "status": str(condition.status),
        "observedGeneration": generation,
        "lastTransitionTime": before.get("lastTransitionTime") if same else rfc3339(now),
        "reason": condition.reason,
        "message": condition.message[:LONGEST_MESSAGE],
    }
