"""What is measured: who calls, how many at once, for how long. Every scenario runs on both roads in every round."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.load import Turn
from bench.roads import BARE, TOLLWAY

ONE: Final = "one caller"
MANY: Final = "many callers"
CALLERS: Final = 32
_WARM_UP: Final = 20


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    turn: Turn


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of everything: `calls` of the one caller and `seconds` of the many in each of `rounds`."""

    rounds: int
    calls: int
    seconds: float


USUAL: Final = Effort(rounds=5, calls=1000, seconds=3.0)
QUICK: Final = Effort(rounds=1, calls=100, seconds=0.5)


def scenarios(effort: Effort) -> Sequence[Scenario]:
    return (
        Scenario(ONE, Turn(callers=1, calls=effort.calls, seconds=None, warm_up=_WARM_UP)),
        Scenario(MANY, Turn(callers=CALLERS, calls=None, seconds=effort.seconds, warm_up=_WARM_UP)),
    )


def schedule(effort: Effort) -> Iterator[tuple[int, Scenario, str]]:
    """Round, scenario, road: each scenario on both roads right after each other, and who begins changes by the round,
    so that whatever else the machine does meets both alike."""
    for number in range(effort.rounds):
        roads = (BARE, TOLLWAY) if number % 2 == 0 else (TOLLWAY, BARE)
        for scenario in scenarios(effort):
            yield from ((number, scenario, road) for road in roads)
