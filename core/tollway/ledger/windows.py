"""In which bucket an amount counts, and until when.

A counter's amounts live in buckets, named by their start in milliseconds since the Unix epoch:

* Lifetime and concurrent counters have one bucket, 0, that counts for ever.
* A calendar window is one bucket, the start of the day, ISO week, month or year in its time zone.
* A rolling window of length L is cut into sub-buckets of ceil(L/60) ms. At `now` a sub-bucket counts until its *last*
  millisecond is more than L old, so no interval of length L, wherever it lies, ever admits more than the limit.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from tollway.ledger.units import Window, WindowKind

SUB_BUCKETS: Final = 60

_FIRST_DAY: Final[dict[WindowKind, Callable[[date], date]]] = {
    WindowKind.DAY: lambda day: day,
    WindowKind.WEEK: lambda day: day - timedelta(days=day.weekday()),
    WindowKind.MONTH: lambda day: day.replace(day=1),
    WindowKind.YEAR: lambda day: day.replace(month=1, day=1),
}

_NEXT_FIRST_DAY: Final[dict[WindowKind, Callable[[date], date]]] = {
    WindowKind.DAY: lambda first: first + timedelta(days=1),
    WindowKind.WEEK: lambda first: first + timedelta(days=7),
    WindowKind.MONTH: lambda first: (first + timedelta(days=31)).replace(day=1),
    WindowKind.YEAR: lambda first: first.replace(year=first.year + 1),
}

# The latest period asked for, of each window: `now` moves on, so nearly every question is about the same period.
_latest: dict[Window, tuple[int, int]] = {}


def bucket(window: Window | None, now: int) -> int:
    """The bucket that an amount of the moment `now` counts in. `None` is the window of a concurrent counter."""
    if window is None or window.kind is WindowKind.LIFETIME:
        return 0
    if window.kind is WindowKind.ROLLING:
        return now - now % _width(window)
    return _period(window, now)[0]


def counted_from(window: Window | None, now: int) -> int:
    """The lowest bucket that still counts at `now`: the smallest b with b + width > now - length."""
    if window is not None and window.kind is WindowKind.ROLLING:
        horizon = now - window.length_ms
        return horizon - horizon % _width(window)
    return bucket(window, now)


def span(window: Window | None, now: int) -> tuple[int, int]:
    """The first and the last bucket that count at `now`."""
    if window is not None and window.kind is WindowKind.ROLLING:
        return counted_from(window, now), bucket(window, now)
    only = bucket(window, now)
    return only, only


class Steady(NamedTuple):
    """The buckets that count at each moment from `since` until before `until`: those from `first` to `last`."""

    first: int
    last: int
    since: int
    until: int


EVER: Final = Steady(0, 0, -(2**63), 2**63)


def steady(window: Window | None, now: int) -> Steady:
    """Which buckets count at `now`, and how long that stays so."""
    if window is None or window.kind is WindowKind.LIFETIME:
        return EVER
    if window.kind is not WindowKind.ROLLING:
        start, end = _period(window, now)
        return Steady(start, start, start, end)
    first, last = span(window, now)
    width, counts_from = _width(window), first + window.length_ms
    return Steady(first, last, max(last, counts_from), min(last, counts_from) + width)


def leaves_at(window: Window | None, bucket: int) -> int | None:
    """The first moment at which `bucket` no longer counts; None: it counts for ever."""
    if window is None or window.kind is WindowKind.LIFETIME:
        return None
    if window.kind is WindowKind.ROLLING:
        return bucket + _width(window) + window.length_ms
    return _period(window, bucket)[1]


def resets_at(window: Window | None, now: int) -> int | None:
    """When nothing of the moment `now` counts any more: the end of its calendar window, or of its sub-bucket's time."""
    return leaves_at(window, bucket(window, now))


def _width(window: Window) -> int:
    return -(-window.length_ms // SUB_BUCKETS)


def _period(window: Window, now: int) -> tuple[int, int]:
    """Start and end (exclusive) of the calendar window that contains `now`."""
    latest = _latest.get(window)
    if latest is None or not latest[0] <= now < latest[1]:
        latest = _latest[window] = _find_period(window, now)
    return latest


def _find_period(window: Window, now: int) -> tuple[int, int]:
    zone = ZoneInfo(window.time_zone)
    first = _FIRST_DAY[window.kind](datetime.fromtimestamp(now // 1000, zone).date())
    start, end = _midnight(first, zone), _midnight(_NEXT_FIRST_DAY[window.kind](first), zone)
    # Periods are what lies between midnights. Where a clock is put back across midnight, the same date comes twice,
    # and the second time already belongs to the next period.
    while now >= end:
        first = _NEXT_FIRST_DAY[window.kind](first)
        start, end = end, _midnight(_NEXT_FIRST_DAY[window.kind](first), zone)
    while now < start:
        first = _FIRST_DAY[window.kind](first - timedelta(days=1))
        start, end = _midnight(first, zone), start
    return start, end


def _midnight(day: date, zone: ZoneInfo) -> int:
    """The first moment of `day`. Where clocks skip midnight, `fold=0` gives the moment they skip it."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000
