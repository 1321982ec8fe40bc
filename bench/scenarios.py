"""What is measured: who calls, how many at once, for how long, on which roads, beside whom."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.calls import BIG, HUGE, SMALL, STREAM, Call
from bench.load import Turn
from bench.roads import BARE, GO, LIMITS, TOLLWAY, WORKERS

CALLERS: Final = 32
STREAMS: Final = 16
_WARM_UP: Final = 20

LATENCY, CALLS, BODIES, STREAMING = "latency", "calls", "bodies", "streams"
MATCHING, BESIDE, MEMORY, IN_GO, WORKING = "limits", "beside", "memory", "go", "workers"
USUAL_CASES: Final = (MEMORY, LATENCY, CALLS, IN_GO, BODIES, STREAMING, MATCHING, BESIDE)
CASES: Final = (*USUAL_CASES, WORKING)
"""What `--only` can name; workers are measured only where they are named."""

BOTH: Final = (BARE, TOLLWAY)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of everything, in each of `rounds`: `calls` of a single caller, `seconds` of many. `remembered`: calls
    until memory is read for the last time but one."""

    rounds: int
    calls: int
    seconds: float
    remembered: int


USUAL: Final = Effort(rounds=5, calls=1000, seconds=3.0, remembered=10_000)
QUICK: Final = Effort(rounds=1, calls=50, seconds=0.3, remembered=200)


@dataclass(frozen=True, slots=True)
class Company:
    """Who else calls all the while, unmeasured."""

    call: Call
    turn: Turn


@dataclass(frozen=True, slots=True)
class Scenario:
    """`case` is what `--only` calls it. On its roads in every round, right after each other. Not `pinned`: where one
    core for a whole road would measure how the kernel shares it out."""

    name: str
    case: str
    call: Call
    turn: Turn
    roads: Sequence[str] = BOTH
    company: Company | None = None
    pinned: bool = True


ONE: Final = "1 caller"
MANY: Final = f"{CALLERS} callers"
MANY_IN_GO: Final = f"{CALLERS} callers, decided in Go"
BIG_ONES: Final = "1 caller, bodies of 277 KB"
HUGE_ONES: Final = "1 caller, bodies of 2.8 MB"
OPEN_STREAMS: Final = f"{STREAMS} streams of 50 chunks at once"
ONE_LIMITED: Final = "1 caller, by number of limits"
MANY_LIMITED: Final = f"{CALLERS} callers, by number of limits"
ALONE: Final = "4 callers, 200 calls a second"
ACCOMPANIED: Final = "4 callers, 200 calls a second, beside bodies of 2.8 MB"
MANY_WORKED: Final = f"{CALLERS} callers, by number of workers"

_PACED_EVERY_S: Final = 0.02
_HUGE_EVERY_S: Final = 0.1


def scenarios(effort: Effort) -> Sequence[Scenario]:
    one = Turn(callers=1, calls=effort.calls, warm_up=_WARM_UP)
    many = Turn(CALLERS, seconds=effort.seconds, warm_up=_WARM_UP)
    shorter, briefly = effort.seconds / 2, max(2, effort.calls // 40)
    paced = Turn(callers=4, seconds=effort.seconds, warm_up=5, every=_PACED_EVERY_S)
    huge = Company(HUGE, Turn(callers=1, warm_up=1, every=_HUGE_EVERY_S))
    limited, worked = tuple(LIMITS.values()), tuple(WORKERS.values())
    return (
        Scenario(ONE, LATENCY, SMALL, one),
        Scenario(MANY, CALLS, SMALL, many),
        Scenario(MANY_IN_GO, IN_GO, SMALL, many, (BARE, GO)),
        Scenario(BIG_ONES, BODIES, BIG, Turn(1, calls=briefly * 6, warm_up=5)),
        Scenario(HUGE_ONES, BODIES, HUGE, Turn(1, calls=briefly, warm_up=2)),
        Scenario(OPEN_STREAMS, STREAMING, STREAM, Turn(STREAMS, seconds=shorter, warm_up=1)),
        Scenario(ONE_LIMITED, MATCHING, SMALL, Turn(1, calls=effort.calls // 2, warm_up=_WARM_UP), limited),
        Scenario(MANY_LIMITED, MATCHING, SMALL, Turn(CALLERS, seconds=shorter, warm_up=_WARM_UP), limited),
        Scenario(ALONE, BESIDE, SMALL, paced, pinned=False),
        Scenario(ACCOMPANIED, BESIDE, SMALL, paced, company=huge, pinned=False),
        Scenario(MANY_WORKED, WORKING, SMALL, many, worked),
    )


def chosen(effort: Effort, cases: Collection[str]) -> Sequence[Scenario]:
    return [each for each in scenarios(effort) if each.case in cases]


def schedule(effort: Effort, cases: Collection[str]) -> Iterator[tuple[int, Scenario, str]]:
    """Round, scenario, road: each scenario on its roads right after each other, and who begins changes by the round, so
    that whatever else the machine does meets all alike."""
    for number in range(effort.rounds):
        for scenario in chosen(effort, cases):
            roads = scenario.roads if number % 2 == 0 else tuple(reversed(scenario.roads))
            yield from ((number, scenario, road) for road in roads)


def filling(calls: int) -> Turn:
    """Many callers, for so many calls in all or a few more."""
    return Turn(CALLERS, calls=-(-calls // CALLERS))


def checkpoints(remembered: int) -> Sequence[int]:
    """After how many calls memory is read: each power of ten from 10,000 below `remembered`, and that."""
    powers = [10**n for n in range(4, 12) if 10**n < remembered]
    return (*powers, remembered)
