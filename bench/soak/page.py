"""A soak as people read it, on the screen and as a page."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.table import Table
from rich.text import Text

from bench.roads import EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR
from bench.soak.result import Soaked
from bench.soak.watching import Look

CALLED: Final = {
    EXTAUTHZ: "extauthz",
    GATEWAY: "gateway Envoy",
    SIDECAR: "a sidecar Envoy",
    SUPERVISOR: "`tollway up`",
}
_ROWS: Final = 15


def screen(soaked: Soaked) -> Table:
    table = Table("", "found", "may be", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for verdict in soaked.verdicts:
        said = Text("fine", style="green") if verdict.fine else Text("NOT FINE", style="bold red")
        table.add_row(verdict.name, verdict.found, verdict.bound, said)
    return table


def page(soaked: Soaked, picture_at: Path, at: Path) -> str:
    return "\n".join(_lines(soaked, os.path.relpath(picture_at, at.parent))) + "\n"


def _lines(soaked: Soaked, picture_at: str) -> Iterator[str]:
    plan, machine = soaked.plan, soaked.machine
    fine = all(verdict.fine for verdict in soaked.verdicts)
    yield "# The last soak"
    yield ""
    yield "Written by `make soak`; what it does and how it judges is in [measuring.md](measuring.md#the-soak)."
    yield ""
    yield (
        f"**{'Everything was fine' if fine else 'Not everything was fine'}.** {plan.seconds / 60:g} minutes, a fault "
        f"every {plan.kill_every:g} s, {soaked.rate:.0f} calls a second: half of the {soaked.highest_rate:.0f} that "
        f"this machine carries with callers and provider on it. Tollway {machine.tollway}, Envoy {machine.envoy}, "
        f"Python {machine.python}, {machine.cores} cores ({machine.processor}; load {machine.load_before:.1f} when it "
        f"began), ledger on {machine.ledger_on}."
    )
    yield ""
    yield f"![Calls a second, memory and file descriptors over time]({picture_at})"
    yield ""
    yield from _table(
        ("", "found", "may be", ""),
        ((each.name, each.found, each.bound, "fine" if each.fine else "**not fine**") for each in soaked.verdicts),
    )
    yield ""
    yield "## How calls ended, as their callers saw it"
    yield ""
    yield from _table(("", "calls"), ((kind, f"{number:,}") for kind, number in soaked.kinds.items()))
    yield ""
    books = soaked.books
    sources = ", ".join(f"{number:,} {name}" for name, number in sorted(books.sources.items()))
    yield (
        f"On the provider's bill are {books.billed:,} calls, the search for the highest rate included. How the ledger "
        f"knows what they came to: {sources}."
    )
    yield ""
    yield "## What was done, and what callers had of it"
    yield ""
    yield from _table(("at", "what", "calls that failed", "the last one, after it was over"), _faults(soaked))
    yield ""
    yield "## Processes over time"
    yield ""
    yield "Private memory in MB, and file descriptors. The sidecar is the one that is not killed."
    yield ""
    yield from _table(("at", *CALLED.values()), _over_time(soaked))


def _faults(soaked: Soaked) -> Iterator[Sequence[str]]:
    for each in soaked.aftermaths:
        failures = ", ".join(f"{number:,} × {kind}" for kind, number in each.failures.items()) or "none"
        recovered = "–" if each.recovered is None else f"{each.recovered:.1f} s"
        yield _clock(each.fault.at), each.fault.name, failures, recovered


def _over_time(soaked: Soaked) -> Iterator[Sequence[str]]:
    step = soaked.plan.seconds / _ROWS
    for number in range(_ROWS + 1):
        near = {name: _nearest(looks, number * step) for name, looks in soaked.looks.items()}
        cells = [f"{each.private / 1e6:.1f}, {each.files}" if each else "–" for each in map(near.get, CALLED)]
        yield _clock(number * step), *cells


def _nearest(looks: Sequence[Look], at: float) -> Look | None:
    return min(looks, key=lambda each: abs(each.at - at), default=None)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60):02}:{int(seconds % 60):02}"


def _table(headings: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
