"""How long the node waits for what a worker process does."""

from __future__ import annotations

__all__ = ["GRACE", "LONG", "SHOWN_AFTER", "STALLED_AFTER", "TICK"]

TICK = 0.02
"""Seconds between two looks at what a busy process is doing: `watch`."""

GRACE = 5.0
"""Seconds that an interrupted job has to give way before its process is killed."""

LONG = 0.02
"""Seconds: a plain job that runs longer holds nothing behind it; what waits is taken back."""

SHOWN_AFTER = 1.0
"""Seconds: a job that runs longer is written as executing, for those who look from outside. One that a dead node had is
at once: if this node dies too, it is to be known that it ran."""

STALLED_AFTER = 10.0
"""Seconds: a process that was given jobs and has started none in this time is stuck or stopped, and is killed."""
