"""When a job is written: before its insert returns, a moment later, or never."""

from __future__ import annotations

from typing import Any, Final, Literal, cast, get_args

from kathikon_actors.jobs.errors import BadConfiguration

__all__ = ["DURABILITIES", "Durability", "check_durability", "explain_durability"]

Durability = Literal["commit", "snapshot", "memory"]
"""`commit`: the insert returns once the job is committed, and an end is told once that is committed.

`snapshot`: the insert returns once the job is in memory; the net change is written at most `snapshot_interval` later. A
job that begins and ends within the interval is one row of the archive. A crash may lose the last interval.

`memory`: never written. The job is gone with its node; once it has ended the node remembers it for a while.
"""

DURABILITIES: Final[tuple[Durability, ...]] = get_args(Durability)


def explain_durability(value: object) -> str | None:
    """Say why `value` is no durability; `None` when it is one."""
    return None if value in DURABILITIES else f"is {value!r}; give {', '.join(map(repr, DURABILITIES))}"


def check_durability(where: str, value: Any) -> Durability | None:
    """Give a default as it was declared.

    Raises:
        BadConfiguration: naming `where`, and what is legal.
    """
    problem = None if value is None else explain_durability(value)
    if problem is not None:
        raise BadConfiguration(f"{where}: durability {problem}")
    return cast("Durability | None", value)
