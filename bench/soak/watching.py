"""What is seen of processes over time, and whether it grows. The arithmetic is pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from bench.processes import memory, open_files, started_at
from bench.roads import EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR

WATCHED: Final = (EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR)


@dataclass(frozen=True, slots=True)
class Look:
    """A process at `at` seconds of the soak, `age` seconds after it started. `private` in bytes."""

    at: float
    age: float
    private: int
    files: int


def look(at: float, now: float, pids: Sequence[int]) -> Look | None:
    """At all processes of a kind together, as old as the oldest; None where they are gone. `now`: seconds since the
    machine started."""
    try:
        return Look(at, now - min(map(started_at, pids)), memory(pids).private, open_files(pids))
    except (OSError, ValueError):  # it ended while we looked, or was about to
        return None


@dataclass(frozen=True, slots=True)
class Rise:
    """By how much a line of least squares rises over some time, and the standard error of that; the median of what it
    goes through. What is said with 95 % certainty is two errors less."""

    amount: float
    error: float
    median: float

    @property
    def certain(self) -> float:
        return self.amount - 2 * self.error


def rise(points: Sequence[tuple[float, float]], over: float) -> Rise:
    """Over so many of x, of the line through three points or more."""
    mean_x, mean_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    beside = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points) / (len(points) - 2)
    error = (beside / spread) ** 0.5 if spread else 0.0
    return Rise(slope * over, error * over, median(y for _, y in points))


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one kind of process over the last two thirds of the soak: bytes and files by the line through all looks at it,
    from the first to the last; and bytes by the line through its looks by age, in a minute, of those older than two
    minutes (it is killed, and begins again)."""

    private: Rise
    files: Rise
    ageing: Rise | None


_ENOUGH: Final = 5
"""Looks for a line."""
_COME_UP_S: Final = 5.0
"""Before that it is still starting."""
_GROWN_UP_S: Final = 120.0
"""Its caches are full by then."""


def growth(looks: Sequence[Look], seconds: float) -> Growth | None:
    """None where too little was seen."""
    late = [each for each in looks if each.at >= seconds / 3 and each.age >= _COME_UP_S]
    if len(late) < _ENOUGH:
        return None
    lasted = late[-1].at - late[0].at
    old = [(each.age, float(each.private)) for each in late if each.age >= _GROWN_UP_S]
    return Growth(
        rise([(each.at, each.private) for each in late], lasted),
        rise([(each.at, each.files) for each in late], lasted),
        rise(old, 60) if len(old) >= _ENOUGH else None,
    )


def growths(looks: Mapping[str, Sequence[Look]], seconds: float) -> Mapping[str, Growth]:
    found = {name: growth(each, seconds) for name, each in looks.items()}
    return {name: each for name, each in found.items() if each is not None}
