"""Delays between restarts. Pure: time and chance come from outside."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from supervisors._errors import InvalidSpec

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Wait before each restart: `min`, `min * factor`, ... up to `max` seconds, plus up to `jitter` of that at random.

    The shape is Akka's `restartWithBackoff`. A restart that waited is not counted in the supervisor's shared restart
    window (else the window would end what the delay is there to ride out); it is counted in the child's own
    `child_intensity` and in `max_attempts`. During the wait the child shows `restarting`.

    Attributes:
        min: the first delay, in seconds.
        max: the longest delay before jitter, in seconds.
        factor: growth from one delay to the next, at least 1.
        jitter: random part, as a share of the delay: 0.2 adds up to 20 %.
        reset_after: seconds of uninterrupted running after which the next delay is `min` again; None means `max`.
        max_attempts: restarts in a row before the limit counts as exceeded; None means without end.

    Example:
        >>> Backoff(0.1, 2.0, jitter=0.0).delay(3)
        0.8
    """

    min: float
    max: float
    factor: float = 2.0
    jitter: float = 0.2
    reset_after: float | None = None
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        if not self.min >= 0:
            raise InvalidSpec("min", self.min, "seconds, 0 or more")
        if not self.min <= self.max < math.inf:
            raise InvalidSpec("max", self.max, "finite seconds, not less than min")
        if not self.factor >= 1:
            raise InvalidSpec("factor", self.factor, "1 or more")
        if not self.jitter >= 0:
            raise InvalidSpec("jitter", self.jitter, "0 or more, as a share of the delay")
        if self.reset_after is not None and not self.reset_after >= 0:
            raise InvalidSpec("reset_after", self.reset_after, "seconds, 0 or more, or None for max")
        if self.max_attempts is not None and not self.max_attempts >= 1:
            raise InvalidSpec("max_attempts", self.max_attempts, "1 or more, or None")

    def delay(self, attempt: int, chance: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait before restart number `attempt` (0 is the first); `chance` gives 0 to 1."""
        try:
            plain = min(self.max, self.min * self.factor**attempt)
        except OverflowError:
            plain = self.max
        return plain * (1.0 + self.jitter * chance())

    def is_over(self, attempts: int) -> bool:
        """Whether `attempts` restarts in a row were all that `max_attempts` allows."""
        return self.max_attempts is not None and attempts >= self.max_attempts

    def resets(self, ran: float) -> bool:
        """Whether a run of `ran` seconds makes the next delay the first again."""
        return ran >= (self.max if self.reset_after is None else self.reset_after)
