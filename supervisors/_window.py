"""The restart window: OTP's intensity and period, with float seconds and an inclusive bound. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["RestartWindow"]


class RestartWindow:
    """Counts restarts in a sliding window of `period` seconds; `limit` of them are allowed.

    A restart that is exactly `period` seconds old still counts. Nothing but time empties the window.
    """

    __slots__ = ("_times", "limit", "period")

    def __init__(self, limit: int, period: float) -> None:
        self.limit = limit
        self.period = period
        self._times: deque[float] = deque()

    def add(self, now: float) -> bool:
        """Count a restart at `now`; False when it is one too many."""
        self._times.append(now)
        return self.count(now) <= self.limit

    def count(self, now: float) -> int:
        """How many restarts lie in the window that ends at `now`."""
        times = self._times
        while times and now - times[0] > self.period:
            times.popleft()
        return len(times)

    def clear(self) -> None:
        """Forget everything: used when exceeding the limit pauses a child instead of ending the supervisor."""
        self._times.clear()
