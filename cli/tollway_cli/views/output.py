"""One answer in three forms: a table for people, JSON (the stable interface) and YAML for everything else."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

import msgspec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class Form(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    right: bool = False


def show(
    answer: object, form: Form, tables: Callable[[], "Iterable[RenderableType]"], out: TextIO | None = None
) -> None:
    """Write `answer` (JSON values) to `out`; `tables` is asked only for the table form."""
    out = out or sys.stdout
    match form:
        case Form.JSON:
            out.write(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n")
        case Form.YAML:
            out.write(msgspec.yaml.encode(answer).decode())
        case Form.TABLE:
            screen = console(out)
            for table in tables():
                screen.print(table)


def console(out: TextIO) -> "Console":
    """A console that never cuts a line which goes into a pipe."""
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            """Whoever read has seen enough: the command's end, and no failure, which rich would make of it."""
            raise BrokenPipeError

    return Ours(file=out, width=None if out.isatty() else 4096, highlight=False, markup=False)


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> "RenderableType":
    """A plain table; identifiers are never wrapped where the terminal is wide enough."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid
