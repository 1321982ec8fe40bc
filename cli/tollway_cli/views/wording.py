"""Amounts and times as a person reads them: exact money, local time, short names."""

from datetime import datetime
from typing import Final

NANO: Final = 1_000_000_000


def usd(nano: int) -> str:
    """Exact, at least cents: 1_500_000_000 is "$1.50", 123_450 is "$0.00012345"."""
    whole, rest = divmod(abs(nano), NANO)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}${whole:,}.{decimals}"


def amount(value: int, unit: str) -> str:
    """An amount in its limit's unit."""
    return usd(value) if unit == "cost" else f"{value:,}"


def duration(ms: int) -> str:
    """In the largest unit that divides it: 90_000 is "90s", 18_000_000 is "5h"."""
    for unit, length in (("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if ms % length == 0:
            return f"{ms // length}{unit}"
    return f"{ms}ms"


def local_time(at: int | None) -> str:
    """ISO 8601 in the local time zone, to the second; nothing for None."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at // 1000).astimezone().isoformat(timespec="seconds")


def short_agent(spiffe_id: str) -> str:
    """`spiffe://td/ns/team-a/sa/x/agent/researcher` is "team-a/researcher"; other ids stay as they are."""
    match spiffe_id.removeprefix("spiffe://").split("/"):
        case [_, "ns", namespace, "sa", _, "agent", name]:
            return f"{namespace}/{name}"
        case [_, "ns", namespace, "sa", account]:
            return f"{namespace}/sa:{account}"
    return spiffe_id
