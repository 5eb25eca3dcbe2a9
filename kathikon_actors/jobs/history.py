"""The history of a job: one line per transition, in causal order.

Most jobs are inserted, start once and complete. Their times say all of that, so nothing is written for them: an empty
`Record.history` stands for the usual way so far. The first transition that is not on it writes the whole history out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kathikon_actors.jobs.states import State

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record

__all__ = ["USUAL", "whole_history"]

USUAL: Final[frozenset[tuple[str, State, State]]] = frozenset(
    {("started", "available", "executing"), ("completed", "executing", "completed")}
)
"""The transitions, as event, from and to, that need no line while there was no other."""


def whole_history(record: Record) -> bytes:
    """Give every line, written out or not: JSON arrays `[at, event, from, to]` or `[.., meta]`, joined by commas."""
    if record.history:
        return record.history
    usual = record.state in ("available", "executing", "completed")
    lines = b'[%d,"inserted",null,"%b"]' % (record.inserted_at, b"available" if usual else record.state.encode())
    if usual and record.attempted_at is not None:
        lines += b',[%d,"started","available","executing"]' % record.attempted_at
        if record.state == "completed" and record.finished_at is not None:
            lines += b',[%d,"completed","executing","completed"]' % record.finished_at
    return lines
