"""The type of options that are lengths of time."""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["Seconds"]

_MOST = 100 * 365 * 86_400.0
"""Seconds: nothing takes longer."""


class Seconds(click.FloatRange):
    """A number of seconds: also `nan` is outside of its range."""

    name = "seconds"

    def __init__(self, min: float = 0, max: float | None = _MOST) -> None:  # noqa: A002 the words of click
        super().__init__(min=min, max=max)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Understand what was given."""
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return found
