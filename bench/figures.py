"""From what was measured to what is said: medians over the rounds, and ratios of what stood side by side. Pure.

Ratio and difference are taken within each round, between neighbours in time, and only then is their median: a machine
that becomes slower during the run changes both sides of a pair.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.load import Load
from bench.processes import Memory
from bench.roads import BARE, EXTAUTHZ, GATEWAY, SIDECAR, TOLLWAY
from bench.scenarios import MANY, ONE


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of one scenario on one road. `cpu_ms_per_call` by process: over all calls of it, warm-up included."""

    round: int
    scenario: str
    road: str
    load: Load
    cpu_ms_per_call: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a sample: None on a road that has no such thing."""

    key: str
    label: str
    unit: str
    scenario: str
    of: Callable[[Sample], float | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure over all rounds. `bare`, `tollway`, `added` and `ratio` are medians, `ratios` least and greatest."""

    key: str
    label: str
    unit: str
    scenario: str
    bare: float | None
    tollway: float
    added: float | None
    ratio: float | None
    ratios: tuple[float, float] | None


def _cpu(*names: str) -> Callable[[Sample], float | None]:
    """CPU time of these processes together, as far as the road has them."""

    def of(sample: Sample) -> float | None:
        found = [sample.cpu_ms_per_call[name] for name in names if name in sample.cpu_ms_per_call]
        return sum(found) if found else None

    return of


FIGURES: Final[Sequence[Figure]] = (
    Figure("p50", "latency p50", "ms", ONE, lambda sample: sample.load.p50),
    Figure("p99", "latency p99", "ms", ONE, lambda sample: sample.load.p99),
    Figure("calls_per_second", "calls a second", "/s", MANY, lambda sample: sample.load.measured / sample.load.seconds),
    Figure("cpu_sidecar", "CPU a call: sidecar", "ms", MANY, _cpu(SIDECAR)),
    Figure("cpu_gateway", "CPU a call: gateway", "ms", MANY, _cpu(GATEWAY)),
    Figure("cpu_extauthz", "CPU a call: extauthz", "ms", MANY, _cpu(EXTAUTHZ)),
    Figure("cpu_boundary", "CPU a call: gateway + extauthz", "ms", MANY, _cpu(GATEWAY, EXTAUTHZ)),
)


def compared(samples: Sequence[Sample]) -> Sequence[Comparison]:
    return [_compared(figure, samples) for figure in FIGURES]


def _compared(figure: Figure, samples: Sequence[Sample]) -> Comparison:
    bare, tollway = (_by_round(figure, samples, road) for road in (BARE, TOLLWAY))
    pairs = [(bare[number], tollway[number]) for number in sorted(bare.keys() & tollway.keys()) if bare[number] > 0]
    ratios = [ours / theirs for theirs, ours in pairs]
    return Comparison(
        figure.key,
        figure.label,
        figure.unit,
        figure.scenario,
        median(bare.values()) if bare else None,
        median(tollway.values()),
        median(ours - theirs for theirs, ours in pairs) if pairs else None,
        median(ratios) if pairs else None,
        (min(ratios), max(ratios)) if pairs else None,
    )


def _by_round(figure: Figure, samples: Sequence[Sample], road: str) -> Mapping[int, float]:
    chosen = (sample for sample in samples if (sample.scenario, sample.road) == (figure.scenario, road))
    return {sample.round: value for sample in chosen if (value := figure.of(sample)) is not None}


Memories = Mapping[str, Mapping[str, Memory]]
"""Road -> process -> memory."""
