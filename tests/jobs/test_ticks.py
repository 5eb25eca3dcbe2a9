"""Cron expressions: what is read, what is refused, and when they tick."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs.cron import FRESH, MAX_CAUGHT_UP, due_ticks
from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.record import from_us, to_us
from kathikon_actors.jobs.ticks import parse_ticks

MINUTE = 60_000_000


def us(text: str, zone: str = "UTC") -> int:
    return to_us(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC))


def ticks(expression: str, start: str, count: int, zone: str = "UTC") -> list[str]:
    at, found = us(start, zone), []
    reader = parse_ticks(expression, zone)
    for _ in range(count):
        tick = reader.after(at)
        if tick is None:
            break
        found.append(from_us(tick).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M:%S"))
        at = tick
    return found


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        ("0 3 * * *", "2025-01-01 12:00", ["01-02 03:00:00", "01-03 03:00:00"]),
        ("*/15 9-10 * * MON-FRI", "2025-01-03 10:40", ["01-03 10:45:00", "01-06 09:00:00"]),
        ("5,10 0 1 JAN,jul *", "2025-01-01 00:06", ["01-01 00:10:00", "07-01 00:05:00"]),
        ("0 0 L * *", "2025-01-31 01:00", ["02-28 00:00:00", "03-31 00:00:00"]),
        ("0 0 LW * *", "2025-05-01 00:00", ["05-30 00:00:00", "06-30 00:00:00"]),
        ("0 0 * * 5L", "2025-01-01 00:00", ["01-31 00:00:00", "02-28 00:00:00"]),
        ("0 0 * * 1#2", "2025-01-01 00:00", ["01-13 00:00:00", "02-10 00:00:00"]),
        ("0 0 * * 0", "2025-01-01 00:00", ["01-05 00:00:00", "01-12 00:00:00"]),
        ("0 0 * * 7", "2025-01-01 00:00", ["01-05 00:00:00", "01-12 00:00:00"]),
        ("0 0 * * SUN", "2025-01-01 00:00", ["01-05 00:00:00", "01-12 00:00:00"]),
        ("0 0 13 * FRI", "2025-01-01 00:00", ["01-03 00:00:00", "01-10 00:00:00", "01-13 00:00:00"]),
        ("*/20 * * * * *", "2025-01-01 00:00:05", ["01-01 00:00:20", "01-01 00:00:40", "01-01 00:01:00"]),
        ("30 0 3 * * *", "2025-01-01 03:00:00", ["01-01 03:00:30", "01-02 03:00:30"]),
        ("30 0 3 * * *", "2025-01-01 03:00:30", ["01-02 03:00:30"]),
        ("@hourly", "2025-01-01 00:30", ["01-01 01:00:00", "01-01 02:00:00"]),
        ("@Daily", "2025-01-01 00:30", ["01-02 00:00:00"]),
        ("@weekly", "2025-01-01 00:30", ["01-05 00:00:00"]),
        ("@monthly", "2025-01-01 00:30", ["02-01 00:00:00"]),
        ("@yearly", "2025-01-01 00:30", ["01-01 00:00:00"]),
        ("0 0 29 2 *", "2025-01-01 00:00", ["02-29 00:00:00"]),
        ("0 0 30 2 1#1", "2025-01-01 00:00", ["02-03 00:00:00"]),
    ],
)
def test_what_an_expression_names(expression: str, start: str, expected: list[str]) -> None:
    """Fields, ranges, lists, steps, names, L, LW, #, Sunday twice, seconds, aliases."""
    assert ticks(expression, start, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        # Athens: 03:00 to 04:00 is skipped on 2025-03-30, and comes twice on 2025-10-26.
        ("30 3 * * *", "2025-03-29 12:00", ["03-30 04:00:00", "03-31 03:30:00"]),
        ("15 30 3 * * *", "2025-03-29 12:00", ["03-30 04:00:15", "03-31 03:30:15"]),
        ("30 3 * * *", "2025-10-25 12:00", ["10-26 03:30:00", "10-27 03:30:00"]),
        ("0 0 3 * * *", "2025-10-25 12:00", ["10-26 03:00:00", "10-27 03:00:00"]),
        ("0 * * * *", "2025-03-30 01:30", ["03-30 02:00:00", "03-30 04:00:00", "03-30 05:00:00"]),
        ("0 * * * *", "2025-10-26 01:30", ["10-26 02:00:00", "10-26 03:00:00", "10-26 03:00:00", "10-26 04:00:00"]),
        ("0 3 * * *", "2025-10-26 00:00", ["10-26 03:00:00", "10-27 03:00:00"]),
        ("*/30 30 3 * * *", "2025-03-29 12:00", ["03-30 04:00:00", "03-30 04:00:30", "03-31 03:30:00"]),
        ("*/30 30 3 * * *", "2025-10-25 12:00", ["10-26 03:30:00", "10-26 03:30:30", "10-27 03:30:00"]),
        ("5,9 0 3,4 * * *", "2025-03-29 12:00", ["03-30 04:00:05", "03-30 04:00:09", "03-31 03:00:05"]),
        ("0 0-23 * * *", "2025-10-26 01:30", ["10-26 02:00:00", "10-26 03:00:00", "10-26 03:00:00", "10-26 04:00:00"]),
        ("*/40 * 3 * * *", "2025-03-29 12:00", ["03-31 03:00:00", "03-31 03:00:40", "03-31 03:01:00"]),
    ],
)
def test_both_days_on_which_the_clocks_change(expression: str, start: str, expected: list[str]) -> None:
    """A daily job runs once on each of them; an hourly one at every hour that there is."""
    assert ticks(expression, start, len(expected), "Europe/Athens") == expected


def test_from_within_the_repeated_hour_a_daily_job_does_not_run_again() -> None:
    """The second 03:30 is not another tick."""
    reader = parse_ticks("30 3 * * *", "Europe/Athens")
    first = reader.after(us("2025-10-25 12:00"))
    assert first is not None
    assert from_us(first) == dt.datetime(2025, 10, 26, 0, 30, tzinfo=dt.UTC)
    for minutes in (0, 15, 45, 60, 75, 100):
        following = reader.after(first + minutes * MINUTE)
        assert following is not None
        assert from_us(following) == dt.datetime(2025, 10, 27, 1, 30, tzinfo=dt.UTC), minutes


@pytest.mark.parametrize(
    ("zone", "changes"),
    [
        ("Australia/Lord_Howe", ["2024-04-06 15:00", "2025-10-04 15:30"]),  # by half an hour
        ("Antarctica/Troll", ["2025-03-30 01:00", "2025-10-26 01:00"]),  # by two
        ("Europe/Athens", ["2025-03-30 01:00", "2025-10-26 01:00"]),
    ],
)
@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("15 */6 * * *", lambda at: at.minute == 15 and at.hour % 6 == 0),
        ("0 */2 * * *", lambda at: at.minute == 0 and at.hour % 2 == 0),
        ("*/20 1-3 * * *", lambda at: at.minute % 20 == 0 and 1 <= at.hour <= 3),
        ("*/30 * * * *", lambda at: at.minute % 30 == 0),
    ],
)
def test_an_entry_follows_the_clock_on_the_wall(
    zone: str, changes: list[str], expression: str, fits: Callable[[dt.datetime], bool]
) -> None:
    """On a day on which clocks change, every minute at which the wall shows a time that fits is a tick, no other."""
    reader = parse_ticks(expression, zone)
    for change in changes:
        middle = us(change)
        minutes = [middle + minute * MINUTE for minute in range(-720, 720)]
        expected = [at for at in minutes if fits(from_us(at).astimezone(ZoneInfo(zone)))]
        assert reader.between(minutes[0] - 1, minutes[-1], 2000) == expected
        for at in range(minutes[0], minutes[-1], 17 * MINUTE):
            assert reader.after(at) == next((tick for tick in expected if tick > at), reader.after(minutes[-1]))


def test_a_date_that_never_comes_has_no_tick() -> None:
    """The parser finds out by itself, or after fifty years."""
    with pytest.raises(BadConfiguration, match="day-of-month is '31'"):
        parse_ticks("0 0 31 2 *")
    assert parse_ticks("0 0 30 2 1#5").after(us("2025-01-01")) is not None


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("61 * * * *", "minute is '61'; give 0-59"),
        ("* 24 * * *", "hour is '24'; give 0-23"),
        ("* * 0 * *", "day-of-month is '0'; give 1-31"),
        ("* * * 13 *", "month is '13'; give 1-12"),
        ("* * * * 8", "day-of-week is '8'; give 0-7"),
        ("* * * * MOON", "day-of-week is 'MOON'"),
        ("60 * * * * *", "second is '60'"),
        ("*/0 * * * *", "minute is '\\*/0'"),
        ("5-1 * * * *", "minute is '5-1'"),
        ("* * L/x * *", "day-of-month is 'L/x'"),
        ("a,b * * * *", "minute is 'a,b'"),
        ("* * * *", "has 4 fields"),
        ("* * * * * * *", "has 7 fields"),
        ("", "give five or six fields"),
        ("@dayly", 'no such alias.*Did you mean "@daily"'),
        ("@reboot", "no such alias"),
        (5, "give five or six fields"),
    ],
)
def test_a_bad_expression_is_refused_with_the_field_named(expression: str, problem: str) -> None:
    """And what is legal there."""
    with pytest.raises(BadConfiguration, match=problem):
        parse_ticks(expression)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", None])
def test_a_bad_time_zone_is_refused(zone: str) -> None:
    """With an example."""
    with pytest.raises(BadConfiguration, match="Europe/Athens"):
        parse_ticks("@daily", zone)


@given(st.text("0123456789*/,-L#WSUN @", max_size=24))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else comes out of the parser."""
    try:
        reader = parse_ticks(text)
    except BadConfiguration:
        return
    tick = reader.after(us("2025-01-01"))
    assert tick is None or tick > us("2025-01-01")


@given(
    st.sampled_from(["0 3 * * *", "*/30 * * * *", "15 */6 * * *", "0 0 L * *", "*/20 45 1-3 * * *"]),
    st.sampled_from(["UTC", "Europe/Athens", "America/New_York", "Australia/Lord_Howe"]),
    st.integers(us("2024-01-01"), us("2027-01-01"))
    # and often near the change of a clock
    | st.builds(
        int.__add__,
        st.sampled_from(["2025-03-30 01:00", "2025-10-26 01:00", "2024-11-03 06:00", "2024-04-06 15:00"]).map(us),
        st.integers(-12 * 60 * MINUTE, 12 * 60 * MINUTE),
    ),
)
def test_ticks_go_forward_and_none_is_left_out(expression: str, zone: str, start: int) -> None:
    """Whatever moment one begins at: the next tick of a moment before it is the same or lies between."""
    reader = parse_ticks(expression, zone)
    tick = reader.after(start)
    assert tick is not None
    assert tick > start
    assert reader.after(tick - 1) == tick
    middle = (start + tick) // 2
    if middle < tick:
        assert reader.after(middle) == tick


# -- what is due ------------------------------------------------------------------------------------------------

NOW = us("2025-01-01 12:00:30")


@pytest.mark.parametrize(
    ("catch_up", "away", "fired", "missed"),
    [
        ("last", 10 * MINUTE, 1, 9),
        ("all", 10 * MINUTE, 10, 0),
        ("none", 10 * MINUTE, 0, 10),
        ("all", 1000 * MINUTE, MAX_CAUGHT_UP, 0),
        ("last", 20_000_000, 0, 0),
    ],
)
def test_what_was_missed_is_made_up_for_as_the_entry_says(catch_up: str, away: int, fired: int, missed: int) -> None:
    """`last` one of them, `all` within a bound, `none`."""
    found, lost = due_ticks(parse_ticks("* * * * *"), NOW - away, NOW, catch_up)
    assert (len(found), lost) == (fired, missed)
    assert found == sorted(found)
    if fired:
        assert found[-1] == us("2025-01-01 12:00:00")


def test_a_long_absence_costs_little() -> None:
    """A year of seconds is not counted one by one."""
    reader = parse_ticks("* * * * * *")
    begun = time.perf_counter()
    found, _ = due_ticks(reader, NOW - 365 * 1440 * MINUTE, NOW, "all")
    assert len(found) == MAX_CAUGHT_UP
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("catch_up", ["last", "all", "none"])
def test_a_tick_that_came_just_now_was_not_missed(catch_up: str) -> None:
    """It fires whatever the entry says: a leader died, and this is the next one."""
    found, lost = due_ticks(parse_ticks("*/5 * * * * *"), NOW - 12_000_000, NOW, catch_up)
    assert [NOW - tick for tick in found] == [10_000_000, 5_000_000, 0]
    assert lost == 0
    assert FRESH >= 12_000_000
