"""What a worker may give back instead of a result: outcomes are values, and may be raised as well.

A plain JSON value (or `None`) means completed. The other endings are the five classes here; return one, or raise
it from deep inside. `Fail` and `Retry` count as failed attempts, `Snooze` does not.
"""

from __future__ import annotations

__all__ = ["Cancel", "Discard", "Fail", "Outcome", "Retry", "Snooze"]


class Outcome(Exception):
    """Base of the outcomes."""


class Snooze(Outcome):
    """Run the job again in `seconds`; the attempt is given back and no error is recorded.

    Args:
        seconds: how long to wait, more than 0, at most 100 years. Anything else is a failure `invalid_snooze`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(seconds)


class Fail(Outcome):
    """The attempt failed: retried after the worker's backoff, or discarded when no attempt is left."""

    def __init__(self, reason: object) -> None:
        self.reason = reason
        super().__init__(reason)


class Retry(Outcome):
    """The attempt failed, with a delay of its own.

    Args:
        reason: recorded as the error's message.
        delay: seconds until the next attempt, at most 100 years; `None` takes the worker's backoff.
    """

    def __init__(self, reason: object, delay: float | None = None) -> None:
        self.reason = reason
        self.delay = delay
        super().__init__(reason, delay)


class Discard(Outcome):
    """Give up at once: the job becomes a dead letter."""

    def __init__(self, reason: object) -> None:
        self.reason = reason
        super().__init__(reason)


class Cancel(Outcome):
    """The job is not wanted any more: it becomes `cancelled` at once."""

    def __init__(self, reason: object) -> None:
        self.reason = reason
        super().__init__(reason)
