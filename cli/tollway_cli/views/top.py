"""`tollway top`: who spends what right now, on which model, and how near each agent is to a limit.

On a terminal it is a screen that lives; in a pipe the same as plain lines, again and again; once, or as JSON, an answer
like any other.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from tollway_cli.views.answers import CounterView, Top, TopRow
from tollway_cli.views.instance import Admin
from tollway_cli.views.keys import keys
from tollway_cli.views.output import Column, Form, console, show, table
from tollway_cli.views.wording import amount, duration, local_time, short_agent, usd

if TYPE_CHECKING:
    from rich.console import RenderableType

ORDERS: Final[Mapping[str, Callable[[TopRow], tuple[object, ...]]]] = {
    "cost": lambda row: (-row.cost,),
    "calls": lambda row: (-row.calls,),
    "open": lambda row: (-row.open, -row.held),
    "refused": lambda row: (-row.refused,),
    "tokens": lambda row: (-(row.input_tokens + row.output_tokens),),
    "agent": lambda row: (short_agent(row.agent),),
    "model": lambda row: (row.model, row.provider),
}
"""By what rows may be sorted; the agent and the model decide between equals."""

COLUMNS: Final = (
    *(Column(title) for title in ("AGENT", "PROVIDER", "MODEL")),
    *(Column(title, right=True) for title in ("CALLS/S", "CALLS", "IN FLIGHT", "REFUSED", "INPUT", "OUTPUT")),
    *(Column(title, right=True) for title in ("SPENT", "PER MIN", "HELD")),
    Column("TIGHTEST LIMIT"),
)
_TOTAL: Final = "TOTAL"


@dataclass(frozen=True, slots=True)
class View:
    window_ms: int
    order: str
    every: float
    """Seconds between two looks."""


def show_top(admin: Admin, form: Form, view: View) -> None:
    """One look."""
    answer = admin.get("/top", {"window_ms": str(view.window_ms)})
    show(sorted_answer(answer, view.order), form, lambda: _picture(_read(answer, view.order)))


def watch_top(admin: Admin, view: View) -> None:
    """Look again and again, until q or Ctrl-C, or until nobody reads any more."""
    with contextlib.suppress(KeyboardInterrupt):
        _live(admin, view) if sys.stdout.isatty() else _lines(admin, view)


def _look(admin: Admin, view: View) -> Top:
    return _read(admin.get("/top", {"window_ms": str(view.window_ms)}), view.order)


def _read(answer: bytes, order: str) -> Top:
    top = msgspec.json.decode(answer, type=Top)
    return msgspec.structs.replace(top, rows=sorted(top.rows, key=lambda row: _place(row, order)))


def sorted_answer(answer: bytes, order: str) -> object:
    """The answer as it is, with its rows in order."""
    whole = msgspec.json.decode(answer, type=dict[str, object])
    rows = msgspec.convert(whole["rows"], list[dict[str, object]])
    return whole | {"rows": sorted(rows, key=lambda row: _place(msgspec.convert(row, TopRow), order))}


def _place(row: TopRow, order: str) -> tuple[object, ...]:
    return (*ORDERS[order](row), short_agent(row.agent), row.model, row.provider)


def _live(admin: Admin, view: View) -> None:
    from rich.console import Group
    from rich.live import Live

    order = view.order
    with keys() as wait, Live(console=console(sys.stdout), screen=True, auto_refresh=False) as live:
        while True:
            looked = _look(admin, View(view.window_ms, order, view.every))
            live.update(
                Group(*_picture(looked), "", f"Sorted by {order}: s sorts by something else, q ends."), refresh=True
            )
            match wait(view.every):
                case "q" | "Q":
                    return
                case "s" | "S":
                    order = _next(order)


def _next(order: str) -> str:
    names = list(ORDERS)
    return names[(names.index(order) + 1) % len(names)]


def _lines(admin: Admin, view: View) -> None:
    with keys() as wait:
        while True:
            show(None, Form.TABLE, lambda: [*_picture(_look(admin, view)), ""])
            sys.stdout.flush()
            wait(view.every)


def _picture(top: Top) -> "Iterable[RenderableType]":
    yield f"{local_time(top.at)}  calls that ended within {duration(top.window_ms)}, and those in flight"
    if not top.rows:
        yield "No call."
        return
    yield table(COLUMNS, [*_rows(top), _total(top)])


def _rows(top: Top) -> Iterator[tuple[str, ...]]:
    told: set[str] = set()
    for row in top.rows:
        limit = top.tightest.get(row.agent) if row.agent not in told else None
        told.add(row.agent)
        who = (short_agent(row.agent) or "(nobody)", row.provider, row.model)
        yield (*who, *_numbers(row), "" if limit is None else _limit(limit))


def _total(top: Top) -> tuple[str, ...]:
    row = msgspec.convert(msgspec.to_builtins(top.totals) | dict.fromkeys(("agent", "provider", "model"), ""), TopRow)
    return (_TOTAL, "", "", *_numbers(row), "")


def _numbers(row: TopRow) -> tuple[str, ...]:
    counts = (row.calls, row.open, row.refused, row.input_tokens, row.output_tokens)
    money = (row.cost, row.cost_per_minute, row.held)
    return (f"{row.calls_per_second:.1f}", *(f"{count:,}" for count in counts), *map(_short_usd, money))


def _short_usd(nano: int) -> str:
    """To a hundredth of a cent: the eye compares rows here; `tollway ledger` is exact."""
    return usd(round(nano, -5))


def _limit(counter: CounterView) -> str:
    taken = counter.used + counter.held
    share = f"{taken * 100 // counter.amount} %" if counter.amount else "spent"
    of = f"{amount(taken, counter.unit)} of {amount(counter.amount, counter.unit)} {counter.unit}"
    return f"{counter.namespace}/{counter.quota} {counter.limit}: {share} ({of})"
