"""What the show counts, and its last word."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kathikon_actors.testing.audit import Verdict

__all__ = ["Score"]


@dataclass
class Score:
    """Everything that the picture shows besides the tree.

    Attributes:
        seconds: that the show is to last; `elapsed` of them are over.
        started: jobs that were started, by queue; `completed` and `failed` attempts likewise.
        kills: of the chaos, by what was hit.
        suicides: worker processes that a job took with it.
        restarts: of children of the tree.
        recoveries: seconds from a kill until jobs that were inserted then, one a queue, were done.
        lines: what happened last, newest last.
    """

    seconds: float
    elapsed: float = 0.0
    inserted: Counter[str] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    suicides: int = 0
    restarts: int = 0
    recoveries: list[float] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def crashes(self) -> int:
        """All that died."""
        return self.kills.total() + self.suicides

    def say(self, line: str) -> None:
        """Add a line of news."""
        self.lines.append(f"{self.elapsed:5.1f} s  {line}")

    def percentiles(self) -> tuple[float, float] | None:
        """Give p50 and p99 of the recoveries, in seconds."""
        return percentiles(self.recoveries)

    def summary(self, verdict: Verdict, seed: int) -> dict[str, Any]:
        """Give the last word as plain data; times in seconds."""
        times = self.percentiles()
        return {
            "seed": seed,
            "seconds": round(self.elapsed, 1),
            "jobs": verdict.jobs,
            "by_state": dict(sorted(verdict.by_state.items())),
            "crashes_survived": self.crashes,
            "kills": dict(sorted(self.kills.items())),
            "jobs_that_killed_their_process": self.suicides,
            "restarts": self.restarts,
            "lost": len(verdict.lost),
            "completed_twice": len(verdict.twice),
            "problems": [f"{job_id} {problem}" for job_id, problem in verdict.problems],
            "recovery_p50": None if times is None else round(times[0], 4),
            "recovery_p99": None if times is None else round(times[1], 4),
            "ok": verdict.ok,
        }


def percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    """Give p50 and p99, `None` of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
