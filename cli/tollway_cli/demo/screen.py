"""What the demo shows: a table that lives while the money is spent, and the sum at the end."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tollway_cli.demo.sums import Refusal, Report, Sum
from tollway_cli.views.wording import short_agent, usd


@dataclass(frozen=True, slots=True)
class Progress:
    """What the instance says at one moment. Money in nano-USD."""

    agent: str
    budget: int
    used: int = 0
    held: int = 0
    ended: int = 0
    open: int = 0
    refused: int = 0

    @property
    def left(self) -> int:
        return max(self.budget - self.used - self.held, 0)


def progress_table(progress: Progress) -> RenderableType:
    table = Table(title="tollway demo", title_justify="left", expand=False)
    for title in ("AGENT", "CALLS", "IN FLIGHT", "REFUSED", "SPENT", "HELD", "LEFT", "BUDGET"):
        table.add_column(title, justify="left" if title == "AGENT" else "right", no_wrap=True)
    money = (progress.used, progress.held, progress.left, progress.budget)
    counts = (progress.ended, progress.open, progress.refused)
    table.add_row(progress.agent, *map(str, counts), *map(usd, money))
    return Group(table, Text(_bar(progress)))


def _bar(progress: Progress, width: int = 60) -> str:
    """The budget as a line: spent, held, left."""
    spent = progress.used * width // progress.budget
    held = min(-(-progress.held * width // progress.budget), width - spent)
    return "█" * spent + "▒" * held + "░" * (width - spent - held)


def final_screen(report: Report) -> RenderableType:
    table = Table(expand=False)
    for title in ("WHO COUNTED", "CALLS", "INPUT TOKENS", "OUTPUT TOKENS", "COST"):
        table.add_column(title, justify="left" if title == "WHO COUNTED" else "right", no_wrap=True)
    for name, counted in _parties(report):
        table.add_row(
            name, f"{counted.calls}", f"{counted.input_tokens:,}", f"{counted.output_tokens:,}", usd(counted.cost)
        )
    return Group(table, *map(Text, _sentences(report)), *_last_refusal(report.refusal))


def _parties(report: Report) -> Iterable[tuple[str, Sum]]:
    yield "the ledger", report.ledger
    yield "the agent's SDK", report.sdk
    yield "the provider", report.provider


def _sentences(report: Report) -> Iterable[str]:
    same = report.ledger == report.sdk == report.provider
    yield f"{_mark(same)} all three counted the same"
    within = report.ledger.cost <= report.budget
    yield f"{_mark(within)} {short_agent(report.agent)} spent {usd(report.ledger.cost)} of its {usd(report.budget)}"
    yield f"{_mark(report.verified)} every counter recomputed from the journal (`tollway ledger verify`)"
    yield f"{_mark(report.refusal is not None)} the next call was refused, in the provider's own words:"


def _mark(good: bool) -> str:
    return "✓" if good else "✗"


def _last_refusal(refusal: Refusal | None) -> Iterable[RenderableType]:
    if refusal is not None:
        said = f"{refusal.class_}  status {refusal.status}  code {refusal.code}\n{refusal.message}"
        yield Panel(Text(said), expand=False, title=refusal.reason, title_align="left")
