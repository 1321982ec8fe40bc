"""A road: where its callers call, and the processes that a call goes through."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.load import Target

BARE: Final = "bare"
TOLLWAY: Final = "tollway"

SIDECAR: Final = "sidecar"
GATEWAY: Final = "gateway"
EXTAUTHZ: Final = "extauthz"
SUPERVISOR: Final = "supervisor"
"""`tollway up` itself: not on the road of a call, but there."""


@dataclass(frozen=True, slots=True)
class Road:
    """`processes`: what it is -> process id."""

    name: str
    target: Target
    processes: Mapping[str, int]
