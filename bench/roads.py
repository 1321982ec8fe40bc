"""A road: where its callers call, and the processes that a call goes through."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.processes import whole

BARE: Final = "bare"
TOLLWAY: Final = "tollway"
GO: Final = "go"
"""The bare road with a decision in Go at its gateway."""

LIMITS: Final = {number: f"limits-{number}" for number in (1, 4, 16)}
"""Tollway, for an agent whose calls so many limits match."""
WORKERS: Final = {number: f"workers-{number}" for number in (1, 2, 4)}
"""Another Tollway, whose extauthz has so many workers."""

SIDECAR: Final = "sidecar"
GATEWAY: Final = "gateway"
EXTAUTHZ: Final = "extauthz"
DECISION_IN_GO: Final = "go_authz"
SUPERVISOR: Final = "supervisor"
"""`tollway up` itself: not on the road of a call, but there."""


async def always_at_rest() -> bool:
    return True


def with_offspring(roots: Mapping[str, Sequence[int]]) -> Mapping[str, Sequence[int]]:
    """With all that they started. `tollway up` started everything, and stands for itself only."""
    return {name: pids if name == SUPERVISOR else whole(pids) for name, pids in roots.items()}


@dataclass(frozen=True, slots=True)
class Road:
    """`prefixes`: provider -> path before the operation. `roots`: what it is -> processes, without those that they
    started. `callers`: the cores of those who call; none: wherever the kernel likes. `at_rest`: whether nothing that
    calls left behind is still to be done."""

    name: str
    host: str
    port: int
    prefixes: Mapping[str, str]
    roots: Mapping[str, Sequence[int]]
    callers: Sequence[int] = ()
    at_rest: Callable[[], Awaitable[bool]] = always_at_rest

    @property
    def processes(self) -> Mapping[str, Sequence[int]]:
        """As they are now, with all that they started."""
        return with_offspring(self.roots)
