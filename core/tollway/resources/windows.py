"""Lengths of time as text: durations, a limit's window, time zones."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

from tollway.ledger.units import Window, WindowKind
from tollway.resources.fields import Wrong
from tollway.resources.problems import quoted

HOUR_MS: Final = 3_600_000
SHORTEST_WINDOW_MS: Final = 1_000
LONGEST_WINDOW_MS: Final = 31 * 24 * HOUR_MS

_DURATION: Final = re.compile(r"(?:([0-9]{1,4})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,7})s)?")
_DAYS: Final = re.compile(r"([1-9][0-9]?)d")
_CALENDAR: Final[Mapping[str, WindowKind]] = {kind.value: kind for kind in WindowKind if kind is not WindowKind.ROLLING}
ZONED: Final = frozenset({WindowKind.DAY, WindowKind.WEEK, WindowKind.MONTH, WindowKind.YEAR})
"""The windows whose bounds depend on a time zone."""


def duration_ms(text: str) -> int | None:
    """`"1h30m"` as 5_400_000; None if it is no duration in hours, minutes and seconds."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000


def svid_ttl_ms(text: str) -> int:
    ttl = duration_ms(text)
    if ttl is None or not HOUR_MS <= ttl <= 4 * HOUR_MS:
        raise Wrong("must be a duration from 1h to 4h, such as 1h or 1h30m")
    return ttl


def window(text: str) -> Window:
    """A window without its time zone: that is a field of its own."""
    if text in _CALENDAR:
        return Window(_CALENDAR[text])
    days = _DAYS.fullmatch(text)
    length = int(days[1]) * 24 * HOUR_MS if days else duration_ms(text)
    if length is None or not SHORTEST_WINDOW_MS <= length <= LONGEST_WINDOW_MS:
        raise Wrong(
            "must be a duration from 1s to 31d, such as 30s, 1m, 5h or 7d, or one of Day, Week, Month, Year, Lifetime"
        )
    return Window(WindowKind.ROLLING, length)


def time_zone(text: str) -> str:
    """An IANA name, in its exact spelling."""
    if text not in _zones():
        raise Wrong(f"is {quoted(text)}: must be a time zone of the IANA database, such as UTC or Europe/Berlin")
    return text


@cache
def _zones() -> frozenset[str]:
    """The names in the `tzdata` package: the same everywhere, whatever the machine has installed."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("ascii").split())
