"""From what was measured to what is said: medians over the rounds, and ratios of what stood side by side. Pure.

Ratio and difference are taken within each round, between neighbours in time, and only then is their median: a machine
that becomes slower during the run changes both sides of a pair.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.roads import BARE, DECISION_IN_GO, EXTAUTHZ, GATEWAY, GO, LIMITS, SIDECAR, TOLLWAY, WORKERS
from bench.scenarios import (
    ACCOMPANIED,
    ALONE,
    BIG_ONES,
    HUGE_ONES,
    MANY,
    MANY_IN_GO,
    MANY_LIMITED,
    MANY_WORKED,
    ONE,
    ONE_LIMITED,
    OPEN_STREAMS,
)
from bench.turns import Sample


@dataclass(frozen=True, slots=True)
class AtMost:
    """A target for the `ratio` or for what is `added`, in the figure's unit."""

    of: str
    amount: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a sample: None on a road that has no such thing."""

    key: str
    label: str
    unit: str
    of: Callable[[Sample], float | None]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared: what it is called, and its samples."""

    name: str
    scenario: str
    road: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sides, what is said about them, and what is aimed at, by key of the figure."""

    title: str
    base: Side
    other: Side
    figures: Sequence[Figure]
    targets: Mapping[str, AtMost]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure over all rounds. `base`, `other`, `added` and `ratio` are medians, `ratios` least and greatest. `met`:
    whether the target is, where there is one."""

    title: str
    base_name: str
    other_name: str
    key: str
    label: str
    unit: str
    base: float | None
    other: float
    added: float | None
    ratio: float | None
    ratios: tuple[float, float] | None
    target: AtMost | None
    met: bool | None


def _cpu(*names: str) -> Callable[[Sample], float | None]:
    """CPU time of these processes together, as far as the road has them."""

    def of(sample: Sample) -> float | None:
        found = [sample.cpu_ms_per_call[name] for name in names if name in sample.cpu_ms_per_call]
        return sum(found) if found else None

    return of


P50: Final = Figure("p50", "latency p50", "ms", lambda sample: sample.load.p50)
P99: Final = Figure("p99", "latency p99", "ms", lambda sample: sample.load.p99)
FIRST: Final = Figure("first", "first byte p50", "ms", lambda sample: sample.load.first)
RATE: Final = Figure("rate", "calls a second", "/s", lambda sample: sample.load.measured / sample.load.seconds)
CPU_SIDECAR: Final = Figure("cpu_sidecar", "CPU a call: sidecar", "ms", _cpu(SIDECAR))
CPU_GATEWAY: Final = Figure("cpu_gateway", "CPU a call: gateway", "ms", _cpu(GATEWAY))
CPU_EXTAUTHZ: Final = Figure("cpu_extauthz", "CPU a call: extauthz", "ms", _cpu(EXTAUTHZ))
CPU_GO: Final = Figure("cpu_go", "CPU a call: decision in Go", "ms", _cpu(DECISION_IN_GO))
CPU: Final = Figure("cpu", "CPU a call: gateway + decision", "ms", _cpu(GATEWAY, EXTAUTHZ, DECISION_IN_GO))

NO_TARGETS: Final[Mapping[str, AtMost]] = {}


def _tollway(title: str, scenario: str, *figures: Figure, **targets: AtMost) -> Pair:
    """One scenario on the bare road and on Tollway."""
    return Pair(title, Side("bare road", scenario, BARE), Side("Tollway", scenario, TOLLWAY), figures, targets)


def _limited(number: int, scenario: str, *figures: Figure, **targets: AtMost) -> Pair:
    """One limit and so many."""
    base, other = (Side(f"{each} limit{'s'[: each - 1]}", scenario, LIMITS[each]) for each in (1, number))
    return Pair(scenario.partition(",")[0] + f", {number} limits", base, other, figures, targets)


def _beside(title: str, road: str, **targets: AtMost) -> Pair:
    return Pair(title, Side("alone", ALONE, road), Side("beside them", ACCOMPANIED, road), (P50, P99), targets)


def _worked(number: int) -> Pair:
    base, other = (Side(f"{each} worker{'s'[: each - 1]}", MANY_WORKED, WORKERS[each]) for each in (1, number))
    return Pair(f"{MANY}, {number} workers", base, other, (RATE, CPU_EXTAUTHZ, CPU), NO_TARGETS)


PAIRS: Final[Sequence[Pair]] = (
    _tollway(ONE, ONE, P50, P99, p50=AtMost("added", 1.0)),
    _tollway(MANY, MANY, RATE, CPU_SIDECAR, CPU_GATEWAY, CPU_EXTAUTHZ, CPU, cpu=AtMost("ratio", 7.5)),
    Pair(
        MANY_IN_GO,
        Side("bare road", MANY_IN_GO, BARE),
        Side("Envoy and Go", MANY_IN_GO, GO),
        (RATE, CPU_GATEWAY, CPU_GO, CPU),
        NO_TARGETS,
    ),
    _tollway(BIG_ONES, BIG_ONES, P50, CPU),
    _tollway(HUGE_ONES, HUGE_ONES, P50, CPU),
    _tollway(OPEN_STREAMS, OPEN_STREAMS, FIRST, P50, CPU),
    _limited(4, ONE_LIMITED, P50),
    _limited(4, MANY_LIMITED, RATE, CPU),
    _limited(16, ONE_LIMITED, P50, p50=AtMost("ratio", 1.5)),
    _limited(16, MANY_LIMITED, RATE, CPU, cpu=AtMost("ratio", 1.5)),
    _beside("beside bodies of 2.8 MB, bare road", BARE),
    _beside("beside bodies of 2.8 MB, Tollway", TOLLWAY, p99=AtMost("ratio", 2.0)),
    _worked(2),
    _worked(4),
)


def compared(samples: Sequence[Sample], pairs: Sequence[Pair] = PAIRS) -> Sequence[Comparison]:
    """Every figure of every pair of which there are samples."""
    return [found for pair in pairs for figure in pair.figures for found in _compared(pair, figure, samples)]


def _compared(pair: Pair, figure: Figure, samples: Sequence[Sample]) -> Iterator[Comparison]:
    base, other = (_by_round(figure, samples, side) for side in (pair.base, pair.other))
    if not other:
        return
    couples = [(base[number], other[number]) for number in sorted(base.keys() & other.keys()) if base[number] > 0]
    ratios = [ours / theirs for theirs, ours in couples]
    added = median(ours - theirs for theirs, ours in couples) if couples else None
    ratio = median(ratios) if ratios else None
    target = pair.targets.get(figure.key)
    yield Comparison(
        pair.title,
        pair.base.name,
        pair.other.name,
        figure.key,
        figure.label,
        figure.unit,
        median(base.values()) if base else None,
        median(other.values()),
        added,
        ratio,
        (min(ratios), max(ratios)) if ratios else None,
        target,
        _met(target, {"added": added, "ratio": ratio}),
    )


def _met(target: AtMost | None, found: Mapping[str, float | None]) -> bool | None:
    if target is None or (value := found[target.of]) is None:
        return None
    return value <= target.amount


def _by_round(figure: Figure, samples: Sequence[Sample], side: Side) -> Mapping[int, float]:
    of_side = (sample for sample in samples if (sample.scenario, sample.road) == (side.scenario, side.road))
    return {sample.round: value for sample in of_side if (value := figure.of(sample)) is not None}
