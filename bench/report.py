"""A result as a person reads it. The JSON has everything; this has what one asks first."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bench.figures import Comparison
from bench.machine import Cores
from bench.processes import Memory
from bench.roads import BARE, EXTAUTHZ, GATEWAY, GO, SIDECAR, SUPERVISOR, TOLLWAY
from bench.run import Reading, Result
from bench.scenarios import CALLERS, MANY

MOST_EXTAUTHZ: Final = 120_000_000
MOST_SIDECAR: Final = 20_000_000
"""Bytes: of extauthz all that is resident, of a sidecar what is private."""

_NONE: Final = "–"
_BUSY: Final = 0.5
_LEFT_OUT: Final = {GO: "Envoy with a decision in Go"}


def report(result: Result) -> Iterator[RenderableType]:
    if result.figures:
        yield _figures(result.figures, result.settings.plan.effort.rounds)
    yield _memory(result.memory)
    yield from (_loudly(f"NOT MEASURED: {_LEFT_OUT.get(road, road)}: {why}") for road, why in result.left_out.items())
    if result.machine.load_before > _BUSY:
        yield _loudly(
            f"The machine was busy when this run began (load {result.machine.load_before:.1f}): no figures to quote."
        )
    yield _made_on(result)


def _loudly(sentence: str) -> Text:
    return Text(sentence, style="bold red")


def _figures(figures: Sequence[Comparison], rounds: int) -> Table:
    table = _table(f"median of {rounds} round{'' if rounds == 1 else 's'}", "", "", "added", "ratio", "of the rounds")
    table.add_column("target")
    for (title, base, other), lines in groupby(figures, lambda each: (each.title, each.base_name, each.other_name)):
        table.add_row()
        table.add_row(*(Text(cell, style="bold") for cell in (title, base, other)))
        for each in lines:
            spread = _NONE if each.ratios is None else f"{each.ratios[0]:.2f} … {each.ratios[1]:.2f}"
            amounts = (_amount(each.base, each), _amount(each.other, each))
            table.add_row(f"  {each.label}", *amounts, _added(each), _ratio(each), spread, _target(each))
    return table


def _target(each: Comparison) -> Text:
    if each.target is None:
        return Text("")
    amount = f"{each.target.amount:g} ×" if each.target.of == "ratio" else f"+{each.target.amount:g} {each.unit}"
    return _verdict(f"≤ {amount}", each.met)


def _verdict(target: str, met: bool | None) -> Text:
    words = {True: ("met", "green"), False: ("MISSED", "bold red"), None: ("not measured", "bold red")}
    said, style = words[met]
    return Text(f"{target}  {said}", style=style)


def _memory(readings: Sequence[Reading]) -> Table:
    """A column for each reading, a row for each process."""
    bare, tollway = ([each for each in readings if each.road == road] for road in (BARE, TOLLWAY))
    headings = [*("bare road" for _ in bare), *(_after(each) for each in tollway)]
    table = _table("memory in MB, after so many calls", *headings)
    table.add_column("target")
    for label, process, of, most in (
        ("extauthz, resident", EXTAUTHZ, _rss, MOST_EXTAUTHZ),
        ("extauthz, private", EXTAUTHZ, _private, None),
        ("sidecar Envoy, private", SIDECAR, _private, MOST_SIDECAR),
        ("gateway Envoy, private", GATEWAY, _private, None),
        ("tollway up, private (not on the road)", SUPERVISOR, _private, None),
    ):
        found = [of(each.processes[process]) if process in each.processes else None for each in (*bare, *tollway)]
        cells = (_NONE if amount is None else f"{amount / 1e6:.1f}" for amount in found)
        last = found[-1]
        target = Text("") if most is None or last is None else _verdict(f"≤ {most / 1e6:g} MB", last <= most)
        table.add_row(label, *cells, target)
    return table


def _after(reading: Reading) -> str:
    return f"{reading.calls:,}"


def _rss(memory: Memory) -> int:
    return memory.rss


def _private(memory: Memory) -> int:
    return memory.private


def _table(first: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _made_on(result: Result) -> str:
    machine, plan = result.machine, result.settings.plan
    settled = sum(sum(each.settled.values()) for each in result.ledgers.values())
    return (
        f"{settled:,} calls over Tollway, all settled by the provider's numbers; every counter adds up. "
        f"{_pinned(plan.cores)}{_idle(result)}. {machine.cores} cores ({machine.processor}), "
        f"Python {machine.python}, Envoy {machine.envoy}, ledger on {machine.ledger_on}. "
        f"Compare the ratios, and only those: docs/measuring.md says why."
    )


def _pinned(cores: Cores) -> str:
    if not cores.road:
        return "Nothing was pinned to a core"
    return f"Envoys and extauthz on core {cores.road[0]}, callers and provider on the others"


def _idle(result: Result) -> str:
    """How far the callers were from being the bottleneck: the share of their cores that nobody used."""
    cores = [str(core) for core in result.settings.plan.cores.callers]
    loads = [sample.load for sample in result.samples if sample.scenario == MANY]
    if not cores or not loads:
        return ""
    least = min(sum(load.idle[core] for core in cores) / len(cores) for load in loads)
    return f", whose cores were idle for {least:.0%} at least with {CALLERS} callers"


def _amount(value: float | None, figure: Comparison) -> str:
    if value is None:
        return _NONE
    return f"{value:,.0f}" if figure.unit == "/s" else f"{value:.3f} {figure.unit}"


def _added(figure: Comparison) -> str:
    if figure.added is None:
        return _NONE
    return f"{figure.added:+,.0f}" if figure.unit == "/s" else f"{figure.added:+.3f} {figure.unit}"


def _ratio(figure: Comparison) -> str:
    return _NONE if figure.ratio is None else f"{figure.ratio:.2f} ×"
