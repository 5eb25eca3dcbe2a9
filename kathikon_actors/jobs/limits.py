"""The limits that a worker or a queue declares: how many jobs at once, how many in a time."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Final

from kathikon_actors.jobs.breaker import Breaker
from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.gcra import NS, Pacing
from kathikon_actors.jobs.keypath import KeyPath

__all__ = ["Limit", "Rate", "check_limit", "check_queue_rate"]

_MOST: Final = 1_000_000_000


@dataclass(frozen=True)
class Limit:
    """At most `n` jobs at the same time, on all nodes together.

    Attributes:
        n: from 1.
        by: with a path such as `"args.account_id"`, `"meta.region"` or `"partition_key"` the limit holds for each
            value by itself; jobs without one share a key of their own.

    Raises:
        BadConfiguration: naming the field and what is legal.

    Example:
        ```python
        @worker(concurrency=Limit(1, by="args.account_id"))
        def move_money(account_id: str, cents: int) -> None: ...
        ```
    """

    n: int
    by: str | None = None

    def __post_init__(self) -> None:
        _check_whole("Limit", "n", self.n)
        self.path  # noqa: B018 an impossible one is refused here

    @cached_property
    def path(self) -> KeyPath | None:
        """What tells keys apart; `None` when there is one limit for all jobs."""
        return None if self.by is None else KeyPath(self.by, "Limit: by")


@dataclass(frozen=True)
class Rate:
    """At most `n` starts in `per` seconds, on all nodes together, by the generic cell rate algorithm (GCRA).

    Starts are spaced evenly: `per / n` seconds apart. After a pause up to `burst` of them may come at once, so that no
    `per` seconds see more than `n + burst - 1` starts: with the default burst of 1, never more than `n`.

    Attributes:
        n: starts, from 1.
        per: seconds, above 0, at most 100 days.
        burst: starts at once after a pause, from 1.
        by: the limit holds for each value of this path by itself, as with `Limit`.

    Raises:
        BadConfiguration: naming the field and what is legal.

    Example:
        ```python
        @worker(rate_limit=Rate(100, per=60))
        async def charge(invoice_id: str) -> None: ...
        ```
    """

    n: int
    per: float = 1.0
    burst: int = 1
    _: KW_ONLY
    by: str | None = None

    def __post_init__(self) -> None:
        _check_whole("Rate", "n", self.n)
        _check_whole("Rate", "burst", self.burst)
        per = self.per
        if isinstance(per, bool) or not isinstance(per, int | float) or not 0 < per <= 100 * 86_400:
            raise BadConfiguration(f"Rate: per is {per!r}; give seconds above 0, at most 100 days")
        self.path  # noqa: B018 an impossible one is refused here

    @cached_property
    def path(self) -> KeyPath | None:
        """What tells keys apart; `None` when there is one limit for all jobs."""
        return None if self.by is None else KeyPath(self.by, "Rate: by")

    @cached_property
    def pacing(self) -> Pacing:
        """The rate as the algorithm takes it, rounded up: rather a little slower than a little too fast."""
        interval = max(1, math.ceil(self.per * NS / self.n))
        return Pacing(interval, min((self.burst - 1) * interval, 2**62))


_EXAMPLES: Final[dict[str, tuple[type, str]]] = {
    "concurrency": (Limit, "Limit(5)"),
    "rate_limit": (Rate, "Rate(100, per=60)"),
    "breaker": (Breaker, "Breaker()"),
}


def check_limit(option: str, worker: str, value: Any) -> Any:
    """Give the value of a worker's option back.

    Raises:
        BadConfiguration: it is something else.
    """
    return _check(f"worker {worker}", option, value)


def check_queue_rate(queue: str, value: object) -> None:
    """Raise `BadConfiguration` unless a queue's `rate_limit` is a `Rate` or `None`."""
    _check(f'queue "{queue}"', "rate_limit", value)


def _check(where: str, option: str, value: Any) -> Any:
    kind, example = _EXAMPLES[option]
    if value is not None and not isinstance(value, kind):
        raise BadConfiguration(f"{where}: {option} is {value!r}; give {example}")
    return value


def _check_whole(where: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise BadConfiguration(f"{where}: {name} is {value!r}; give a whole number from 1 to {_MOST}")
