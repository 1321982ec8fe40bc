"""What the demo shows: a table that lives while money is spent; at the end the sums by agent, provider and limit."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tollway_cli.demo.sums import AgentSum, LimitSum, Report, Sum
from tollway_cli.views.wording import amount, short_agent, usd


@dataclass(frozen=True, slots=True)
class AgentProgress:
    """One agent at one moment. Money in nano-USD."""

    agent: str
    model: str
    ended: int = 0
    open: int = 0
    refused: int = 0
    spent: int = 0


@dataclass(frozen=True, slots=True)
class LimitProgress:
    name: str
    unit: str
    amount: int
    used: int
    held: int


def progress_table(agents: Sequence[AgentProgress], limits: Sequence[LimitProgress]) -> RenderableType:
    table = _table("AGENT", "MODEL", "*CALLS", "*IN FLIGHT", "*REFUSED", "*SPENT", title="tollway demo")
    for each in agents:
        table.add_row(each.agent, each.model, *map(str, (each.ended, each.open, each.refused)), usd(each.spent))
    bars = _table("LIMIT", "", "*SPENT", "*OF")
    for limit in limits:
        shown = (amount(value, limit.unit) for value in (limit.used, limit.amount))
        bars.add_row(limit.name, _bar(limit), *shown)
    return Group(table, bars)


def _table(*titles: str, title: str | None = None) -> Table:
    """A star before a title: numbers, to the right."""
    table = Table(title=title, title_justify="left", expand=False)
    for each in titles:
        table.add_column(each.lstrip("*"), justify="right" if each.startswith("*") else "left", no_wrap=True)
    return table


def _bar(limit: LimitProgress, width: int = 24) -> str:
    """Spent, held, left."""
    spent = min(limit.used * width // limit.amount, width)
    held = min(-(-limit.held * width // limit.amount), width - spent)
    return "█" * spent + "▒" * held + "░" * (width - spent - held)


def final_screen(report: Report) -> RenderableType:
    return Group(
        _by_agent(report), _by_provider(report), _by_limit(report), *map(Text, _sentences(report)), *_refusals(report)
    )


_COUNTED = ("*CALLS", "*INPUT", "*OUTPUT", "*LEDGER")


def _by_agent(report: Report) -> Table:
    table = _table("BY AGENT", *_COUNTED, "*ITS SDK")
    for each in report.agents:
        table.add_row(short_agent(each.agent), *_sum(each.ledger), usd(each.sdk.cost))
    table.add_section()
    table.add_row("all", *_sum(report.ledger), usd(report.sdk.cost))
    return table


def _by_provider(report: Report) -> Table:
    table = _table("BY PROVIDER", *_COUNTED, "*ITS OWN LOG")
    for each in report.providers:
        table.add_row(each.provider, *_sum(each.ledger), usd(each.log.cost))
    table.add_section()
    table.add_row("all", *_sum(report.ledger), usd(report.provider.cost))
    return table


def _sum(counted: Sum) -> tuple[str, ...]:
    return (f"{counted.calls}", f"{counted.input_tokens:,}", f"{counted.output_tokens:,}", usd(counted.cost))


def _by_limit(report: Report) -> Table:
    table = _table("BY LIMIT", "COUNTS", "*USED", "*ITS CALLS", "*OF")
    for each in report.limits:
        whose = "all" if len(each.agents) == len(report.agents) else ", ".join(map(_name, each.agents))
        table.add_row(
            each.name, whose, *(amount(value, each.unit) for value in (each.used, each.sum_of_calls, each.amount))
        )
    return table


def _name(agent: str) -> str:
    return agent.partition("/")[2]


def _sentences(report: Report) -> Iterable[str]:
    found = (
        (report.all_agree, "ledger, SDKs and providers' logs say the same, by agent and by provider"),
        (report.limits_add_up, "each limit is the sum of its calls, and none is above its amount"),
        (report.verified, "every counter recomputed from the journal (`tollway ledger verify`)"),
        (
            report.ended_by_both_sorts,
            "one agent came to the end of its own limit, one to that of the shared limit:",
        ),
    )
    return (f"{'✓' if good else '✗'} {said}" for good, said in found)


def _refusals(report: Report) -> Iterator[RenderableType]:
    """How each SDK raised the end: in its provider's own words."""
    for each in report.agents:
        if each.refusal is not None:
            yield Panel(Text(_said(each)), expand=False, title=_ended(each, report.limits), title_align="left")


def _said(each: AgentSum) -> str:
    refusal = each.refusal
    if refusal is None:
        return ""
    kind = f"code {refusal.code}" if refusal.code else f"type {refusal.type}"
    return f"{refusal.class_}  status {refusal.status}  {kind}\n{refusal.message}"


def _ended(each: AgentSum, limits: Iterable[LimitSum]) -> str:
    shared = {limit.name for limit in limits if len(limit.agents) > 1}
    sort = "the shared limit" if set(each.ended_by) & shared else "its own limit"
    return f"{short_agent(each.agent)} ended at {sort}: {', '.join(each.ended_by)}"
