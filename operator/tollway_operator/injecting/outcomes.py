"""What can come of a pod: it is patched, refused, or left as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Operation: TypeAlias = Mapping[str, Any]
"""One operation of a JSON patch (RFC 6902)."""


@dataclass(frozen=True, slots=True)
class Patched:
    """`patch` is empty for a pod that has everything already. Warnings are shown to whoever creates it."""

    patch: Sequence[Operation]
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LeftAlone:
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A stable word, and a sentence that says what to do."""

    reason: str
    message: str


Outcome: TypeAlias = Patched | LeftAlone | Refused
