"""Which bucket a moment counts in, and until when."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tollway.ledger import windows
from tollway.ledger.units import LIFETIME, Window, WindowKind

CALENDAR = [WindowKind.DAY, WindowKind.WEEK, WindowKind.MONTH, WindowKind.YEAR]
ZONES = [
    *("UTC", "Europe/Berlin", "America/Sao_Paulo", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia"),
    *("America/Havana", "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Chatham", "Asia/Tehran", "Africa/Casablanca"),
]


def ms(local: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


@pytest.mark.parametrize(
    ("kind", "now", "zone", "start", "end"),
    [
        (WindowKind.DAY, "2026-07-01T00:00", "UTC", "2026-07-01T00:00", "2026-07-02T00:00"),
        (WindowKind.DAY, "2026-03-29T12:00", "Europe/Berlin", "2026-03-29T00:00", "2026-03-30T00:00"),
        (WindowKind.DAY, "2026-10-25T23:59", "Europe/Berlin", "2026-10-25T00:00", "2026-10-26T00:00"),
        (WindowKind.WEEK, "2026-07-05T23:59", "Asia/Kathmandu", "2026-06-29T00:00", "2026-07-06T00:00"),
        (WindowKind.WEEK, "2026-01-01T00:00", "UTC", "2025-12-29T00:00", "2026-01-05T00:00"),
        (WindowKind.MONTH, "2024-02-29T23:00", "America/St_Johns", "2024-02-01T00:00", "2024-03-01T00:00"),
        (WindowKind.MONTH, "2026-12-31T23:00", "UTC", "2026-12-01T00:00", "2027-01-01T00:00"),
        (WindowKind.YEAR, "2026-12-31T23:59", "Europe/Berlin", "2026-01-01T00:00", "2027-01-01T00:00"),
        # Days around midnight, and the days clocks change.
        (WindowKind.DAY, "2026-07-01T23:59", "UTC", "2026-07-01T00:00", "2026-07-02T00:00"),
        (WindowKind.DAY, "2026-10-25T00:00", "Europe/Berlin", "2026-10-25T00:00", "2026-10-26T00:00"),
        (WindowKind.DAY, "2026-10-24T23:59", "Europe/Berlin", "2026-10-24T00:00", "2026-10-25T00:00"),
        (WindowKind.DAY, "2018-02-18T12:00", "America/Sao_Paulo", "2018-02-18T00:00", "2018-02-19T00:00"),
        (WindowKind.DAY, "2026-11-04T12:00", "America/Sao_Paulo", "2026-11-04T00:00", "2026-11-05T00:00"),
        (WindowKind.DAY, "2026-04-05T12:00", "Australia/Lord_Howe", "2026-04-05T00:00", "2026-04-06T00:00"),
        (WindowKind.DAY, "2026-09-27T02:44", "Pacific/Chatham", "2026-09-27T00:00", "2026-09-28T00:00"),
        # ISO weeks, also those that clocks change in, and those of two years.
        (WindowKind.WEEK, "2026-03-29T23:59", "Europe/Berlin", "2026-03-23T00:00", "2026-03-30T00:00"),
        (WindowKind.WEEK, "2026-10-26T00:00", "Europe/Berlin", "2026-10-26T00:00", "2026-11-02T00:00"),
        (WindowKind.WEEK, "2024-12-30T00:00", "America/Sao_Paulo", "2024-12-30T00:00", "2025-01-06T00:00"),
        (WindowKind.WEEK, "2021-01-03T23:59", "Europe/Berlin", "2020-12-28T00:00", "2021-01-04T00:00"),
        (WindowKind.WEEK, "2024-02-29T12:00", "UTC", "2024-02-26T00:00", "2024-03-04T00:00"),
        # Month ends: of 28 to 31 days, in leap years and in those that look like one.
        (WindowKind.MONTH, "2026-02-28T23:59", "UTC", "2026-02-01T00:00", "2026-03-01T00:00"),
        (WindowKind.MONTH, "2024-02-29T23:59", "UTC", "2024-02-01T00:00", "2024-03-01T00:00"),
        (WindowKind.MONTH, "2000-02-29T12:00", "UTC", "2000-02-01T00:00", "2000-03-01T00:00"),
        (WindowKind.MONTH, "2100-02-28T23:59", "UTC", "2100-02-01T00:00", "2100-03-01T00:00"),
        (WindowKind.MONTH, "2026-04-30T23:59", "America/Sao_Paulo", "2026-04-01T00:00", "2026-05-01T00:00"),
        (WindowKind.MONTH, "2026-01-31T23:59", "Asia/Kathmandu", "2026-01-01T00:00", "2026-02-01T00:00"),
        (WindowKind.MONTH, "2026-03-31T23:59", "Europe/Berlin", "2026-03-01T00:00", "2026-04-01T00:00"),
        (WindowKind.MONTH, "2026-10-31T23:59", "Europe/Berlin", "2026-10-01T00:00", "2026-11-01T00:00"),
        # Year ends, where the year begins at another moment for everybody.
        (WindowKind.YEAR, "2024-12-31T23:59", "Pacific/Kiritimati", "2024-01-01T00:00", "2025-01-01T00:00"),
        (WindowKind.YEAR, "2027-01-01T00:00", "America/St_Johns", "2027-01-01T00:00", "2028-01-01T00:00"),
        (WindowKind.YEAR, "2018-11-04T12:00", "America/Sao_Paulo", "2018-01-01T00:00", "2019-01-01T00:00"),
    ],
)
def test_a_calendar_window_reaches_from_midnight_to_midnight_of_its_zone(
    kind: WindowKind, now: str, zone: str, start: str, end: str
) -> None:
    window = Window(kind, time_zone=zone)
    assert windows.bucket(window, ms(now, zone)) == ms(start, zone)
    assert windows.counted_from(window, ms(now, zone)) == ms(start, zone)
    assert windows.resets_at(window, ms(now, zone)) == ms(end, zone)


@pytest.mark.parametrize(
    ("kind", "day", "zone", "hours"),
    [
        (WindowKind.DAY, "2026-03-29", "Europe/Berlin", 23),
        (WindowKind.DAY, "2026-10-25", "Europe/Berlin", 25),
        (WindowKind.DAY, "2026-07-01", "Europe/Berlin", 24),
        # Brazil changed its clocks at midnight until 2019, and not since.
        (WindowKind.DAY, "2018-11-04", "America/Sao_Paulo", 23),
        (WindowKind.DAY, "2018-11-03", "America/Sao_Paulo", 24),
        (WindowKind.DAY, "2018-02-17", "America/Sao_Paulo", 25),
        (WindowKind.DAY, "2018-02-18", "America/Sao_Paulo", 24),
        (WindowKind.DAY, "2019-11-03", "America/Sao_Paulo", 24),
        (WindowKind.DAY, "2026-02-15", "America/Sao_Paulo", 24),
        (WindowKind.DAY, "2026-10-04", "Australia/Lord_Howe", 23.5),
        (WindowKind.DAY, "2026-04-05", "Australia/Lord_Howe", 24.5),
        (WindowKind.DAY, "2026-11-01", "America/Havana", 25),
        (WindowKind.WEEK, "2026-03-29", "Europe/Berlin", 7 * 24 - 1),
        (WindowKind.WEEK, "2018-02-17", "America/Sao_Paulo", 7 * 24 + 1),
        (WindowKind.MONTH, "2026-03-15", "Europe/Berlin", 31 * 24 - 1),
        (WindowKind.MONTH, "2018-11-15", "America/Sao_Paulo", 30 * 24 - 1),
        (WindowKind.MONTH, "2024-02-15", "Europe/Berlin", 29 * 24),
        (WindowKind.MONTH, "2011-12-15", "Pacific/Apia", 30 * 24),
        (WindowKind.YEAR, "2026-06-01", "Europe/Berlin", 365 * 24),
        (WindowKind.YEAR, "2024-06-01", "Europe/Berlin", 366 * 24),
        (WindowKind.YEAR, "2019-06-01", "America/Sao_Paulo", 365 * 24 + 1),
    ],
)
def test_a_calendar_window_is_as_long_as_its_zone_says(kind: WindowKind, day: str, zone: str, hours: float) -> None:
    window = Window(kind, time_zone=zone)
    start = windows.bucket(window, ms(f"{day}T12:00", zone))
    assert windows.leaves_at(window, start) == start + int(hours * 3_600_000)


@pytest.mark.parametrize(
    ("zone", "jump"), [("Africa/Cairo", "2026-04-23T22:00"), ("America/Sao_Paulo", "2018-11-04T03:00")]
)
def test_a_day_whose_midnight_is_skipped_starts_when_the_clock_jumps(zone: str, jump: str) -> None:
    window = Window(WindowKind.DAY, time_zone=zone)
    moment = ms(jump)  # 00:00 becomes 01:00
    assert windows.bucket(window, moment) == moment
    assert windows.resets_at(window, moment - 1) == moment


def test_an_hour_that_comes_twice_before_midnight_belongs_to_one_day() -> None:
    window = Window(WindowKind.DAY, time_zone="America/Sao_Paulo")
    first, second = ms("2018-02-18T01:30"), ms("2018-02-18T02:30")  # 23:30 on the 17th, both
    assert windows.bucket(window, first) == windows.bucket(window, second) == ms("2018-02-17T00:00", window.time_zone)
    assert windows.resets_at(window, second) == ms("2018-02-18T03:00")


@pytest.mark.parametrize("kind", CALENDAR)
def test_a_window_of_one_zone_is_not_that_of_another(kind: WindowKind) -> None:
    berlin, brazil = (Window(kind, time_zone=zone) for zone in ("Europe/Berlin", "America/Sao_Paulo"))
    moment = ms("2026-06-01T12:00")
    gap = windows.bucket(brazil, moment) - windows.bucket(berlin, moment)
    assert gap == {WindowKind.YEAR: 4}.get(kind, 5) * 3_600_000


@given(
    kind=st.sampled_from(CALENDAR),
    zone=st.sampled_from(ZONES),
    now=st.integers(min_value=ms("1990-01-01T00:00"), max_value=ms("2060-01-01T00:00")),
)
# A minute after midnight the clock went back to 23:01 of the day before.
@example(kind=WindowKind.DAY, zone="America/St_Johns", now=ms("1990-10-28T03:00"))
# The island skipped the 30th of December.
@example(kind=WindowKind.DAY, zone="Pacific/Apia", now=ms("2011-12-30T10:00"))
def test_calendar_windows_follow_each_other_without_gap_or_overlap(kind: WindowKind, zone: str, now: int) -> None:
    window = Window(kind, time_zone=zone)
    start, end = windows.bucket(window, now), windows.resets_at(window, now)
    assert end is not None
    assert start <= now < end
    assert windows.bucket(window, start) == windows.bucket(window, end - 1) == start
    assert windows.bucket(window, end) == end
    assert windows.resets_at(window, start - 1) == start


@given(zone=st.sampled_from(ZONES), now=st.integers(min_value=ms("2012-01-01T00:00"), max_value=ms("2037-01-01T00:00")))
def test_all_of_a_day_has_the_same_date(zone: str, now: int) -> None:
    start = windows.bucket(Window(WindowKind.DAY, time_zone=zone), now)
    dates = {datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).date() for at in (start, now)}
    before = datetime.fromtimestamp(start / 1000, UTC) - timedelta(seconds=1)
    assert len(dates) == 1
    assert before.astimezone(ZoneInfo(zone)).date() < dates.pop()


@given(
    length=st.integers(min_value=1, max_value=10_000_000),
    at=st.integers(min_value=10**12, max_value=10**13),
    later=st.integers(min_value=0, max_value=20_000_000),
)
def test_a_rolling_amount_counts_for_all_of_its_length_and_little_longer(length: int, at: int, later: int) -> None:
    window = Window(WindowKind.ROLLING, length)
    bucket = windows.bucket(window, at)
    counts = bucket >= windows.counted_from(window, at + later)
    leaves = windows.leaves_at(window, bucket)
    assert leaves is not None
    assert counts == (at + later < leaves)
    assert bucket <= at
    assert length < leaves - at <= length + -(-length // 60)


@given(length=st.integers(min_value=1, max_value=10_000_000), now=st.integers(min_value=10**12, max_value=10**13))
def test_a_rolling_window_counts_at_most_61_sub_buckets(length: int, now: int) -> None:
    window = Window(WindowKind.ROLLING, length)
    width = -(-length // 60)
    assert (windows.bucket(window, now) - windows.counted_from(window, now)) // width + 1 <= 61


@pytest.mark.parametrize("window", [LIFETIME, None], ids=["lifetime", "concurrent"])
def test_what_never_resets_has_one_bucket(window: Window | None) -> None:
    assert windows.bucket(window, 123) == windows.counted_from(window, 456) == 0
    assert windows.resets_at(window, 123) is None


WINDOWS = st.one_of(
    st.builds(Window, st.just(WindowKind.ROLLING), st.integers(min_value=1, max_value=10_000_000)),
    st.builds(
        Window,
        st.sampled_from([WindowKind.DAY, WindowKind.WEEK, WindowKind.MONTH, WindowKind.YEAR]),
        time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo"]),
    ),
)


@given(window=WINDOWS, now=st.integers(min_value=10**12, max_value=2 * 10**12))
def test_the_buckets_that_count_stay_the_same_exactly_as_long_as_is_said(window: Window, now: int) -> None:
    first, last, since, until = windows.steady(window, now)
    assert since <= now < until
    for moment in (since, (since + until) // 2, now, until - 1):
        assert windows.span(window, moment) == (first, last)
    for moment in (since - 1, until):
        assert windows.span(window, moment) != (first, last)
