"""One soak: the highest rate found, calls at half of it while things break, the books compared, all of it judged."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.failures import BenchFailed
from bench.machine import this_machine
from bench.roads import EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR
from bench.soak.books import audited
from bench.soak.callers import Job
from bench.soak.faults import FAULTS, Fault
from bench.soak.judging import Evidence, Happened, Second, aftermaths, kinds, verdicts
from bench.soak.kinds import ANSWERED, REFUSED, WHILE_IT_BREAKS
from bench.soak.result import Plan, Soaked
from bench.soak.stage import FINITE, SHARES, STEADY, TIGHT, Budgets, Callers, Stage, calling, staged
from bench.soak.watching import Look, growths, look
from bench.soak.wire import MODEL, PROMPT_TOKENS
from tollway.pricing.data import default_book
from tollway.pricing.usage import Usage
from tollway_extauthz.keeping.probes import until
from tollway_extauthz.stores.sqlite import SQLiteLedger

_CALIBRATING_CALLERS: Final = 32
_WINDOW_S: Final = 10
_USUAL_OUTPUT: Final = 70
"""Tokens of an answer, on the average."""
_ROOM: Final = {TIGHT: 0.6, FINITE: 0.5}
"""The share of an agent's calls that its short limit has room for."""
_AT_REST_WITHIN_S: Final = 90.0
"""A hold lasts for a minute."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Lived:
    """What happened while it soaked, and how the ledger was left."""

    rates: tuple[float, float]
    budgets: Budgets
    seconds: Sequence[Second]
    faults: Sequence[Happened]
    looks: Mapping[str, Sequence[Look]]
    mismatches: int
    bill: Path
    ledger: Path


async def soak(plan: Plan, directory: Path, env: Mapping[str, str], say: Say) -> Soaked:
    """`directory` is empty, and short enough for sockets. Raises `BenchFailed`."""
    machine = this_machine(directory)
    async with staged(directory, env) as stage:
        lived = await _live(stage, plan, env, say)
    say("comparing the provider's bill with the ledger")
    evidence = _evidence(lived, plan)
    return Soaked(
        machine,
        plan,
        *lived.rates,
        kinds(lived.seconds),
        aftermaths(lived.seconds, lived.faults),
        evidence.books,
        lived.looks,
        [(each.at, sum(each.ended.values())) for each in lived.seconds],
        verdicts(evidence),
    )


async def _live(stage: Stage, plan: Plan, env: Mapping[str, str], say: Say) -> _Lived:
    say(f"finding the highest rate: {_CALIBRATING_CALLERS} callers for {plan.calibrate:g} s")
    highest = await _highest_rate(stage, plan.calibrate, env)
    budgets = _budgets(highest / 2, plan.seconds)
    await stage.set_budgets(budgets)
    say(f"{highest:.0f} calls a second at most; {highest / 2:.0f} for {plan.seconds / 60:g} minutes")
    async with calling(stage.job(highest / 2), env) as callers:
        events = _Events(stage, callers, say)
        watching = asyncio.create_task(events.watch(plan.watch_every))
        try:
            await events.break_things(FAULTS, plan.kill_every, plan.seconds)
            await asyncio.sleep(max(0.0, plan.seconds - events.at))
        finally:
            watching.cancel()
        seconds = await callers.finish()
    say("waiting until every call has ended")
    await until(stage.installation.is_at_rest, _AT_REST_WITHIN_S)
    mismatches = await stage.installation.mismatches()
    ledger = stage.installation.state.ledger
    return _Lived((highest, highest / 2), budgets, seconds, events.faults, events.looks, mismatches, stage.bill, ledger)


def _evidence(lived: _Lived, plan: Plan) -> Evidence:
    """The ledger is read when nobody has it open any more."""
    with contextlib.closing(SQLiteLedger(lived.ledger)) as store:
        books = audited(lived.bill, store, lived.budgets.watched())
        open_holds = sum(each.open for each in store.activity(time.time_ns() // 1_000_000).spending)
    grown = growths(lived.looks, plan.seconds)
    generous = frozenset({STEADY})
    return Evidence(lived.seconds, lived.faults, books, grown, generous, open_holds, lived.mismatches)


async def _highest_rate(stage: Stage, seconds: float, env: Mapping[str, str]) -> float:
    """Answered calls a second, when every caller calls as soon as it can; the first fifth is not counted."""
    async with calling(Job([stage.agent(STEADY, _CALIBRATING_CALLERS, 0.0)], 1), env) as callers:
        await asyncio.sleep(seconds + 1)
        taken = [each for each in await callers.finish() if seconds / 5 < each.at <= seconds + 1]
    answered = kinds(taken[1:]).get(ANSWERED, 0)
    if not answered:
        raise BenchFailed("no call was answered, so there is no rate to soak at")
    return answered / (taken[-1].at - taken[0].at)


def _budgets(rate: float, seconds: float) -> Budgets:
    priced = default_book().find("OpenAI", MODEL)
    assert priced is not None
    cost = priced.row.cost(Usage(input=PROMPT_TOKENS, output=_USUAL_OUTPUT))
    tight, finite = (rate * SHARES[name] * _ROOM[name] * cost for name in (TIGHT, FINITE))
    return Budgets(int(tight * _WINDOW_S), _WINDOW_S, int(finite * seconds))


class _Events:
    """What is done and seen while it soaks. `at` counts seconds from its beginning."""

    def __init__(self, stage: Stage, callers: Callers, say: Say) -> None:
        self._stage = stage
        self._callers = callers
        self._say = say
        self.faults: list[Happened] = []
        self.looks: dict[str, list[Look]] = {name: [] for name in (EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR)}

    @property
    def at(self) -> float:
        return time.monotonic() - self._callers.began

    async def break_things(self, faults: Sequence[Fault], every: float, until_at: float) -> None:
        """One after the other, as long as there is time to recover."""
        number = 0
        while (due := every * (number + 1)) + every / 2 <= until_at:
            await asyncio.sleep(max(0.0, due - self.at))
            fault = faults[number % len(faults)]
            processes = await self._stage.processes()
            began = self.at
            await fault.do(processes, self._callers.hang_up)
            self.faults.append(Happened(fault.name, began, self.at))
            number += 1

    async def watch(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            for name, pids in self._stage.watched().items():
                if (found := look(self.at, now, pids)) is not None:
                    self.looks[name].append(found)
            self._say(self._progress(every))

    def _progress(self, span: float) -> str:
        lately = [each for each in self._callers.seconds if each.at > self.at - span]
        found, seconds = kinds(lately), max(1, len(lately))
        refused = sum(number for kind, number in found.items() if kind.startswith(REFUSED))
        failed = sum(found.get(kind, 0) for kind in WHILE_IT_BREAKS)
        parts = (
            f"{int(self.at // 60):02}:{int(self.at % 60):02}",
            f"{found.get(ANSWERED, 0) / seconds:5.0f} answered/s",
            f"{refused / seconds:4.0f} refused/s",
            f"{failed:4} failed",
            *(
                f"{name} {each[-1].private / 1e6:.0f} MB {each[-1].files} fds"
                for name, each in self.looks.items()
                if each
            ),
            f"last: {self.faults[-1].name}" if self.faults else "",
        )
        return "  ".join(parts)
