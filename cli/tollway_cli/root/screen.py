"""How a change of the root stands, for a person or a program."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from tollway.identity.root_standing import RootStanding
from tollway_cli.views.output import Column, Form, show, table

if TYPE_CHECKING:
    from rich.console import RenderableType


def show_root(stands: RootStanding, form: Form) -> None:
    """The JSON is a stable interface."""
    show(msgspec.to_builtins(stands), form, lambda: _tables(stands))


def _tables(stands: RootStanding) -> Iterable["RenderableType"]:
    since = datetime.fromtimestamp(stands.since / 1000, UTC).isoformat(" ", "seconds") if stands.since else ""
    yield table([Column("PHASE"), Column("SINCE"), Column("WHAT")], [(stands.phase, since, stands.message)])
    if stands.waiting_for:
        yield table([Column("WAITING FOR")], [(name,) for name in stands.waiting_for])
