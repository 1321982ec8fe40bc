"""Everything that a soak found, as it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.machine import Machine
from bench.soak.books import Books
from bench.soak.judging import Aftermath, Verdict
from bench.soak.watching import Look


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds: how long, between two faults, between two looks, to find the highest rate."""

    seconds: float
    kill_every: float
    watch_every: float
    calibrate: float


@dataclass(frozen=True, slots=True)
class Soaked:
    """Rates in calls a second. `kinds`: how calls ended. `ended`: at which second of the soak how many."""

    machine: Machine
    plan: Plan
    highest_rate: float
    rate: float
    kinds: Mapping[str, int]
    aftermaths: Sequence[Aftermath]
    books: Books
    looks: Mapping[str, Sequence[Look]]
    ended: Sequence[tuple[float, int]]
    verdicts: Sequence[Verdict]
