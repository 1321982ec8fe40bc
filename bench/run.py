"""One run: everything started, every turn of the schedule taken, the ledgers asked, everything ended."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import calls
from bench.figures import Comparison, compared
from bench.installation import LedgerFindings
from bench.machine import Cores, Machine, this_machine
from bench.processes import Memory, memory
from bench.resources import AGENTS
from bench.roads import BARE, TOLLWAY, Road
from bench.scenarios import MEMORY, Effort, checkpoints, chosen, filling, schedule
from bench.turns import Sample, at_rest, called, sample
from bench.world import World, world

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured, how often, and where it runs."""

    effort: Effort
    cases: Collection[str]
    cores: Cores


@dataclass(frozen=True, slots=True)
class Settings:
    """How the run was made. Sizes in bytes, by call."""

    plan: Plan
    request_bytes: Mapping[str, int]
    answer_bytes: Mapping[str, int]
    limits: Mapping[str, Sequence[Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory of a road's processes after so many calls through them."""

    road: str
    calls: int
    processes: Mapping[str, Memory]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that a run found. `left_out`: road -> why nothing on it was measured. `ledgers`: by the first road of
    each Tollway."""

    machine: Machine
    settings: Settings
    figures: Sequence[Comparison]
    left_out: Mapping[str, str]
    memory: Sequence[Reading]
    ledgers: Mapping[str, LedgerFindings]
    samples: Sequence[Sample]


async def run(plan: Plan, directory: Path, env: Mapping[str, str], say: Say) -> Result:
    """Measure. `directory` is empty, and short enough for sockets. Raises `BenchFailed`."""
    machine = this_machine(directory)
    needed = {road for scenario in chosen(plan.effort, plan.cases) for road in scenario.roads}
    async with world(directory, needed, plan.cores, env, say) as found:
        tally = Tally(found)
        if MEMORY in plan.cases:
            await tally.fill(checkpoints(plan.effort.remembered), env, say)
        await tally.measure(plan, env, say)
        tally.read(road for road in (BARE, TOLLWAY) if road in found.roads)
        found.require_unchanged()
        say("asking the ledgers")
        ledgers = {
            roads[0]: await installation.findings({found.owners[road][1]: tally.made[road] for road in roads})
            for installation, roads in found.installations.items()
        }
    figures = compared(tally.samples)
    return Result(machine, _settings(plan), figures, found.left_out, tally.readings, ledgers, tally.samples)


class Tally:
    """What was measured so far. `made`: road -> calls."""

    def __init__(self, found: World) -> None:
        self.samples: list[Sample] = []
        self.readings: list[Reading] = []
        self.made = dict.fromkeys(found.roads, 0)
        self._found = found
        self._roads: Mapping[str, Road] = found.roads

    async def fill(self, after: Iterable[int], env: Mapping[str, str], say: Say) -> None:
        """Read Tollway's memory at its start, and after so many calls."""
        road = self._roads[TOLLWAY]
        self.read((TOLLWAY,))
        for number in after:
            say(f"memory after {number:,} calls")
            self.made[TOLLWAY] += (await called(road, calls.SMALL, filling(number - self.made[TOLLWAY]), env)).made
            await at_rest(road)
            self.read((TOLLWAY,))

    async def measure(self, plan: Plan, env: Mapping[str, str], say: Say) -> None:
        for number, scenario, name in schedule(plan.effort, plan.cases):
            if name in self._roads:
                say(f"round {number + 1} of {plan.effort.rounds}: {scenario.name}, {name}")
                taken = await sample(number, scenario, self._roads[name], plan.cores, env)
                self.samples.append(taken)
                self.made[name] += taken.load.made + taken.beside

    def read(self, roads: Iterable[str]) -> None:
        for name in roads:
            processes = {what: memory(pids) for what, pids in self._roads[name].processes.items()}
            self.readings.append(Reading(name, self._carried(name), processes))

    def _carried(self, name: str) -> int:
        """Calls by whatever road over the same Tollway."""
        return sum(self.made[each] for each in self._found.beside(name))


def _settings(plan: Plan) -> Settings:
    kinds = (calls.SMALL, calls.BIG, calls.HUGE, calls.STREAM)
    requests, answers = ({each.name: size(each) for each in kinds} for size in (_request_bytes, _answer_bytes))
    return Settings(plan, requests, answers, AGENTS)


def _request_bytes(call: calls.Call) -> int:
    return len(call.body)


def _answer_bytes(call: calls.Call) -> int:
    return call.answer_bytes
