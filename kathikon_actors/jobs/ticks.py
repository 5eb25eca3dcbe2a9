"""Cron expressions: which moments they name, right on both days on which the clocks change.

Five fields (minute, hour, day of month, month, day of week) or six with seconds first; `*`, ranges, lists, steps,
names, `L`, `LW`, `5L`, `1#2`; in the day of week 0 and 7 are Sunday; `@daily` and its kin. When both day fields are
given and neither begins with `*`, a day that fits one of them fits (Debian's rule). A time that the clocks skip in
spring comes right after the gap, one that they repeat in autumn comes once; an entry that runs every hour or oftener
follows the clock on the wall through both.
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
_SOME_DAY: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


class Ticks:
    """The moments that one expression names in one time zone. Made by `parse_ticks`."""

    def __init__(self, expression: str, timezone: str, zone: ZoneInfo) -> None:
        self.expression = expression
        self.timezone = timezone
        self._zone = zone
        parts = ALIASES.get(expression.strip().lower(), expression).split()
        # The rules for the days on which clocks change belong to five fields; one second is a shift of those.
        self._shift = dt.timedelta()
        if len(parts) == 6 and parts[0].isdigit() and int(parts[0]) <= 59:
            self._shift = dt.timedelta(seconds=int(parts[0]))
            parts = parts[1:]
        self._fields = " ".join(parts)

    def after(self, us: int) -> int | None:
        """Give the first tick later than `us`; `None` when there is none within 50 years.

        Both are microseconds since 1970.
        """
        start = from_us(us) - self._shift
        ticks = CronSim(self._fields, start.astimezone(self._zone))
        while True:
            try:
                tick = next(ticks)
            except (StopIteration, OverflowError):
                return None
            found = to_us(tick.astimezone(dt.UTC) + self._shift)
            if found > us:  # a time in the repeated hour may come before where we began
                return found

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


@lru_cache(maxsize=20_000)
def parse_ticks(expression: str, timezone: str = "UTC") -> Ticks:
    """Read a cron expression.

    Raises:
        BadConfiguration: naming the field that does not fit and what is legal there, or the time zone.
    """
    if not isinstance(expression, str) or not expression.strip():
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
