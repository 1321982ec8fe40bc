"""A result as a person reads it. The JSON has everything; this has what one asks first."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table

from bench.figures import Comparison
from bench.roads import BARE, EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR, TOLLWAY
from bench.run import Result
from bench.scenarios import CALLERS, MANY, ONE

_AT = {ONE: "1 caller", MANY: f"{CALLERS} callers"}
_PROCESSES = {
    SIDECAR: "sidecar Envoy",
    GATEWAY: "gateway Envoy",
    EXTAUTHZ: "extauthz",
    SUPERVISOR: "tollway up (not on the road)",
}
_NONE = "–"


def report(result: Result) -> Iterator[RenderableType]:
    yield _figures(result)
    yield _memory(result)
    yield _made_on(result)


def _figures(result: Result) -> Table:
    rounds = result.settings.effort.rounds
    table = _table(f"median of {rounds} round{'' if rounds == 1 else 's'}")
    for heading in ("bare road", "Tollway", "added", "ratio", "of the rounds"):
        table.add_column(heading, justify="right")
    for each in result.figures:
        spread = _NONE if each.ratios is None else f"{each.ratios[0]:.2f} … {each.ratios[1]:.2f}"
        name = f"{_AT[each.scenario]}, {each.label}"
        table.add_row(name, _amount(each.bare, each), _amount(each.tollway, each), _added(each), _ratio(each), spread)
    return table


def _memory(result: Result) -> Table:
    table = _table("memory at the end, MiB")
    for road in ("bare road", "Tollway"):
        table.add_column(f"{road}, PSS", justify="right")
        table.add_column("private", justify="right")
    for name, label in _PROCESSES.items():
        found = (result.memory[road].get(name) for road in (BARE, TOLLWAY))
        cells = ((_mib(each.pss), _mib(each.private)) if each else (_NONE, _NONE) for each in found)
        table.add_row(label, *(cell for pair in cells for cell in pair))
    return table


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2))
    table.add_column(first)
    return table


def _made_on(result: Result) -> str:
    machine, ledger, effort = result.machine, result.ledger, result.settings.effort
    return (
        f"{ledger.settled} calls over Tollway, {ledger.settled} settled by the provider's numbers; every counter adds "
        f"up. {effort.calls} calls a round at 1 caller, {effort.seconds:g} s at {CALLERS}; request "
        f"{result.settings.request_bytes} bytes, answer {result.settings.answer_bytes}; {machine.cores} cores "
        f"({machine.processor}), Python {machine.python}, Envoy {machine.envoy}, ledger on {machine.ledger_on}. "
        f"Compare the ratios, and only those: docs/measuring.md says why."
    )


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


def _mib(kib: int) -> str:
    return f"{kib / 1024:.1f}"
