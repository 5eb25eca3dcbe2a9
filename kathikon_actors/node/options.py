"""Checks of the options of nodes and clients."""

from __future__ import annotations

import math
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kathikon_actors.jobs.errors import BadConfiguration, shown

__all__ = ["LONGEST", "check_seconds", "check_zone"]

LONGEST: Final = 100 * 86_400.0
"""Seconds: the longest of any of these times, 100 days."""


def check_seconds(whose: str, option: str, value: object, least: float, *, most: float = LONGEST) -> float:
    """Give a time in seconds.

    Args:
        whose: is asked for it, for the error.
        option: its name.
        value: what was given.
        least: the smallest that is legal.
        most: the largest; infinity is legal when it is that.

    Raises:
        BadConfiguration: naming the option and what is legal.
    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= float(value) <= most:
            return float(value)
    except OverflowError:
        pass
    upper = "" if math.isinf(most) else f" to {most:g}"
    raise BadConfiguration(f"{whose}: {option} is {shown(value)}; give seconds from {least:g}{upper}")


def check_zone(whose: str, name: str) -> ZoneInfo:
    """Give a time zone by its name.

    Raises:
        BadConfiguration: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise BadConfiguration(f"{whose}: timezone is {shown(name)}; give an IANA name such as Europe/Athens") from None
