"""Cron expressions: which moments they name, right on both days on which the clocks change.

Five fields (minute, hour, day of month, month, day of week) or six with seconds first; `*`, ranges, lists, steps,
names, `L`, `LW`, `5L`, `1#2`; in the day of week 0 and 7 are Sunday; `@daily` and its kin. When both day fields are
given and neither begins with `*`, a day that fits one of them fits (Debian's rule). A time that the clocks skip in
spring comes right after the gap, one that they repeat in autumn comes once, each with all its seconds; an entry whose
minute or hour begins with `*`, or that runs in every hour, follows the clock on the wall through both.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from kathikon_actors.jobs.errors import BadConfiguration, did_you_mean
from kathikon_actors.jobs.record import from_us, to_us

__all__ = ["ALIASES", "Ticks", "parse_ticks"]

ALIASES: Final = MappingProxyType(
    {
        "@yearly": "0 0 1 1 *",
        "@annually": "0 0 1 1 *",
        "@monthly": "0 0 1 * *",
        "@weekly": "0 0 * * 0",
        "@daily": "0 0 * * *",
        "@midnight": "0 0 * * *",
        "@hourly": "0 * * * *",
    }
)

_FIELDS: Final = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_LEGAL: Final = MappingProxyType(
    {
        "second": "0-59",
        "minute": "0-59",
        "hour": "0-23",
        "day-of-month": "1-31, L or LW",
        "month": "1-12 or JAN-DEC",
        "day-of-week": "0-7 or SUN-SAT, 5L or 1#2",
    }
)
_FIRST_WINDOW: Final = 100_000_000
_SECOND: Final = 1_000_000
_LONGEST_REPEAT: Final = dt.timedelta(hours=3)  # no zone of today puts its clocks back by more than two
_SOME_DAY: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


class Ticks:
    """The moments that one expression names in one time zone. Made by `parse_ticks`."""

    def __init__(self, expression: str, timezone: str, zone: ZoneInfo) -> None:
        self.expression = expression
        self.timezone = timezone
        self._zone = zone
        parts = ALIASES.get(expression.strip().lower(), expression).split()
        # The rules for the days on which clocks change are about minutes: the seconds of each are counted from there.
        seconds = parts.pop(0) if len(parts) == 6 else "0"
        self._fields = " ".join(parts)
        self._seconds = sorted(CronSim(f"{seconds} * * * * *", _SOME_DAY).seconds)
        every_hour = len(CronSim(self._fields, _SOME_DAY).hours) == 24
        self._follows_the_wall = every_hour or parts[0].startswith("*") or parts[1].startswith("*")

    def after(self, us: int) -> int | None:
        """Give the first tick later than `us`; `None` when there is none within 50 years.

        Both are microseconds since 1970.
        """
        since = us - self._seconds[-1] * _SECOND
        minute = self._wall_minute(since) if self._follows_the_wall else self._fixed_minute(since)
        if minute is None:
            return None
        return next(tick for second in self._seconds if (tick := minute + second * _SECOND) > us)

    def _fixed_minute(self, us: int) -> int | None:
        """Give the first minute later than `us` of an entry with fixed hours: skipped ones come after the gap."""
        ticks = CronSim(self._fields, from_us(us).astimezone(self._zone))
        while True:
            try:
                tick = next(ticks)
            except (StopIteration, OverflowError):
                return None
            found = to_us(tick.astimezone(dt.UTC))
            if found > us:  # a time in the repeated hour may come before where we began
                return found

    def _wall_minute(self, us: int) -> int | None:
        """Give the first minute later than `us` at which a clock on the wall shows what the expression names.

        The parser counts without a zone: its own way through a day of which half an hour is skipped or repeated
        (Lord Howe) loses ticks.
        """
        start = from_us(us)
        wall = start.astimezone(self._zone).replace(tzinfo=None, fold=0)
        # The clock may be put back soon, and show times before `wall` once more.
        later = (start + _LONGEST_REPEAT).astimezone(self._zone).replace(tzinfo=None)
        repeated = max(dt.timedelta(), wall + _LONGEST_REPEAT - later)
        best: int | None = None
        try:
            for shown in CronSim(self._fields, wall - repeated):
                for fold in (0, 1):
                    moment = shown.replace(tzinfo=self._zone, fold=fold).astimezone(dt.UTC)
                    found = to_us(moment)
                    exists = moment.astimezone(self._zone).replace(tzinfo=None, fold=0) == shown
                    if exists and found > us and (best is None or found < best):
                        best = found
                if best is not None and shown > wall:
                    break
        except OverflowError:
            pass  # past the year 9999
        return best

    def between(self, after: int, until: int, limit: int) -> list[int]:
        """Give the latest ticks in `(after, until]`, at most `limit`, in order.

        It looks back in steps that grow, so that a year of seconds costs no more than a year of days.
        """
        window = _FIRST_WINDOW
        while True:
            start = max(after, until - window)
            found: list[int] = []
            tick = self.after(start)
            while tick is not None and tick <= until:
                found.append(tick)
                tick = self.after(tick)
            if start == after or len(found) >= limit:
                return found[-limit:]
            window *= 4

    def __repr__(self) -> str:
        return f"<Ticks {self.expression!r} {self.timezone}>"


def parse_ticks(expression: str, timezone: str = "UTC") -> Ticks:
    """Read a cron expression.

    Raises:
        BadConfiguration: naming the field that does not fit and what is legal there, or the time zone.
    """
    if not isinstance(expression, str):
        raise BadConfiguration(f"cron expression {expression!r}: give five or six fields, such as '0 3 * * *'")
    if not isinstance(timezone, str):
        raise BadConfiguration(f"time zone {timezone!r}: give an IANA name such as Europe/Athens")
    return _parse(expression, timezone)


@lru_cache(maxsize=20_000)
def _parse(expression: str, timezone: str) -> Ticks:
    if not expression.strip():
        raise BadConfiguration(f"cron expression {expression!r}: give five or six fields, such as '0 3 * * *'")
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise BadConfiguration(f"time zone {timezone!r}: give an IANA name such as Europe/Athens") from None
    text = expression.strip().lower()
    if text.startswith("@") and text not in ALIASES:
        raise BadConfiguration(
            f"cron expression {expression!r}: no such alias (known: {', '.join(ALIASES)}).{did_you_mean(text, ALIASES)}"
        )
    fields = ALIASES.get(text, expression).split()
    if len(fields) not in (5, 6):
        raise BadConfiguration(
            f"cron expression {expression!r} has {len(fields)} fields; give minute, hour, day-of-month, month, "
            "day-of-week, with second before them if you like"
        )
    try:
        CronSim(" ".join(fields), _SOME_DAY)
    except (CronSimError, AssertionError, ValueError, TypeError) as error:
        raise BadConfiguration(_explain(expression, fields, error)) from None
    return Ticks(expression, timezone, zone)


def _explain(expression: str, fields: list[str], error: Exception) -> str:
    names = _FIELDS[-len(fields) :]
    field = str(error).removeprefix("Bad ")
    if field not in names:  # the parser was not as exact: find the field that is bad by itself
        field = next((name for place, name in enumerate(names) if not _fits(place, fields)), "")
    if not field:
        return f"cron expression {expression!r} cannot be read: {error}"
    given = fields[names.index(field)]
    return f"cron expression {expression!r}: {field} is {given!r}; give {_LEGAL[field]}, with * , - / as usual"


def _fits(place: int, fields: list[str]) -> bool:
    alone = ["*"] * len(fields)
    alone[place] = fields[place]
    try:
        CronSim(" ".join(alone), _SOME_DAY)
    except Exception:
        return False
    return True
