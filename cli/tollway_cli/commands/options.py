"""Options that several commands have, and what their values mean."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec

import click

from tollway_cli.failures import WrongUsage
from tollway_cli.place import Said
from tollway_cli.standalone.state import default_state
from tollway_cli.surroundings import Surroundings

if TYPE_CHECKING:
    from tollway_cli.views.output import Form

P = ParamSpec("P")

_SPAN: Final = re.compile(r"(\d{1,9})(s|m|h|d)", re.ASCII)
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _chosen_state(context: click.Context, _: click.Parameter, value: Path | None) -> Path:
    here: Surroundings = context.obj
    return (value or default_state(here.environ)).absolute()


STATE: Final = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    callback=_chosen_state,
    help="The state directory of the instance.  [default: $XDG_STATE_HOME/tollway or ~/.local/state/tollway]",
)


_ABOUT: Final = (
    click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The instance of this machine with this state directory.  [default: the usual one, if an instance runs "
        "there; else the cluster of the current kubeconfig context]",
    ),
    click.option("--cluster", is_flag=True, help="The instance in the cluster of the current kubeconfig context."),
    click.option("--context", metavar="NAME", help="In a cluster: another kubeconfig context."),
    click.option(
        "--namespace", metavar="NAME", help="In a cluster: where Tollway is installed.  [default: tollway-system]"
    ),
)


def about(function: Callable[..., None]) -> Callable[..., None]:
    """Options that say which instance a command looks at, on this machine or in a cluster: its argument `said`."""

    @functools.wraps(function)
    def told(
        *args: object, state: Path | None, cluster: bool, context: str | None, namespace: str | None, **others: object
    ) -> None:
        function(*args, said=Said(state, cluster, context, namespace), **others)

    for option in reversed(_ABOUT):
        told = option(told)
    return told


def output(function: Callable[P, None]) -> Callable[P, None]:
    option = click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How the answer is written; json is a stable interface: money in integer nano-USD, times in milliseconds.",
    )
    return option(function)


def form_named(name: str) -> "Form":
    from tollway_cli.views.output import Form

    return Form(name)


def moment_since(text: str, now: int) -> int:
    """Milliseconds since the epoch of "15m" before `now`, or of an ISO 8601 time (local without a zone)."""
    from datetime import datetime

    if match := _SPAN.fullmatch(text):
        return now - int(match[1]) * _UNITS_MS[match[2]]
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise WrongUsage(f"--since {text!r}: write 90s, 15m, 2h or 7d, or a time such as 2026-11-01T08:00") from None


def time_span(option: str, text: str) -> int:
    """Milliseconds of "30s". Raises `WrongUsage`."""
    match = _SPAN.fullmatch(text)
    length = int(match[1]) * _UNITS_MS[match[2]] if match else 0
    if not 0 < length <= _UNITS_MS["d"]:
        raise WrongUsage(f"{option} {text!r}: write 30s, 5m or 2h, at most 1d")
    return length
