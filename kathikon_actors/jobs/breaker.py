"""The circuit breaker of a worker: when most of its runs fail it starts nothing for a while, then tries with a few.

Pure: times are seconds of any clock that does not go back, given by the caller.
"""

from __future__ import annotations

from collections import deque
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from kathikon_actors.jobs.errors import BadConfiguration

__all__ = ["Breaker", "Circuit", "CircuitState"]

CircuitState = Literal["closed", "open", "half open"]


@dataclass(frozen=True)
class Breaker:
    """When a worker is given a rest. Each node counts for itself.

    Attributes:
        window: the last runs that count, default 20.
        failures: the share of failed ones at which it opens, above 0, at most 1, default 0.5.
        least: runs in the window before it may open, default 5.
        rest: seconds in which nothing starts, default 30.
        probes: runs that are tried after the rest, default 3. When all of them succeed it closes; one that fails opens
            it again.

    Raises:
        BadConfiguration: naming the field and what is legal.

    Example:
        ```python
        @worker(breaker=Breaker(rest=60))
        async def call_gateway(invoice_id: str) -> None: ...
        ```
    """

    _: KW_ONLY
    window: int = 20
    failures: float = 0.5
    least: int = 5
    rest: float = 30.0
    probes: int = 3

    def __post_init__(self) -> None:
        for name in ("window", "least", "probes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000:
                raise BadConfiguration(f"Breaker: {name} is {value!r}; give a whole number from 1 to 10000")
        if self.least > self.window:
            raise BadConfiguration(f"Breaker: least is {self.least}, window {self.window}; give least <= window")
        for name, most in (("failures", 1.0), ("rest", 86_400.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
                raise BadConfiguration(f"Breaker: {name} is {value!r}; give a number above 0, at most {most:g}")


class Circuit:
    """The state of one breaker.

    Attributes:
        state: `closed` lets all through, `open` nothing, `half open` the probes.
        opens_at: when an open one goes over to probes.
    """

    __slots__ = ("_declared", "_failed", "_period", "_probing", "_recent", "_succeeded", "opens_at", "state")

    def __init__(self, declared: Breaker) -> None:
        self._declared = declared
        self.state: CircuitState = "closed"
        self.opens_at = 0.0
        self._recent: deque[bool] = deque()
        self._failed = 0
        self._period = 0
        self._probing = 0
        self._succeeded = 0

    @property
    def rest(self) -> float:
        """Seconds in which nothing starts once it has opened."""
        return self._declared.rest

    def room(self, now: float) -> int | None:
        """Give how many runs may start now; `None` for any number."""
        if self.state == "closed":
            return None
        if self.state == "open":
            if now < self.opens_at:
                return 0
            self.state = "half open"
            self._period += 1
            self._probing = self._succeeded = 0
        return self._declared.probes - self._probing - self._succeeded

    def start(self) -> int:
        """A run starts, within the room there is; tell after which rest it is a probe, 0 for none."""
        if self.state != "half open":
            return 0
        self._probing += 1
        return self._period

    def end(self, outcome: bool | None, now: float, *, probe: int) -> None:
        """A run has ended.

        Args:
            outcome: whether it succeeded; `None` when it says nothing (snoozed, cancelled, taken back).
            now: seconds.
            probe: what `start` told of it. Runs from before the rest do not count afterwards, nor do
                probes from before a later one.
        """
        if probe:
            if self.state == "half open" and probe == self._period:
                self._end_probe(outcome, now)
        elif self.state == "closed" and outcome is not None:
            self._count(succeeded=outcome)
            if len(self._recent) >= self._declared.least and self._failed >= self._declared.failures * len(
                self._recent
            ):
                self._open(now)

    def _end_probe(self, outcome: bool | None, now: float) -> None:
        self._probing -= 1
        if outcome is False:
            self._open(now)
        elif outcome:
            self._succeeded += 1
            if self._succeeded >= self._declared.probes:
                self.state = "closed"

    def _count(self, *, succeeded: bool) -> None:
        self._recent.append(succeeded)
        self._failed += not succeeded
        if len(self._recent) > self._declared.window:
            self._failed -= not self._recent.popleft()

    def _open(self, now: float) -> None:
        self.state = "open"
        self.opens_at = now + self._declared.rest
        self._recent.clear()
        self._failed = 0
