"""What only some jobs have: a unique key, a partition, jobs that they wait for, a batch, a parent.

A plain job has none of it: its `Record.extra` is `None`, and its inserts and outcomes carry no columns for it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from kathikon_actors.jobs.unique import Unique

__all__ = ["Extra", "OnFailure"]

OnFailure = Literal["discard", "run"]
"""What becomes of a job when one that it waits for is cancelled or discarded: it is cancelled too, or it runs."""


class Extra(msgspec.Struct, frozen=True, gc=False, kw_only=True, array_like=True):
    """The sparse part of a `Record`. Frozen: copies of a record share it, a change makes another.

    Attributes:
        unique_key: 16 bytes of a hash.
        unique: of an insert on its way: the policy behind the key, unless that is a simple one; no store keeps it here.
        guarded: how often others have changed the job since its insert; they may until its start is committed. `None`
            for a job that nobody changes.
        begun: 1 while its start is being committed (3 with other changes), 2 afterwards; only in memory.
        opened: its run has opened a batch, which it is to wait for; only in memory.
        partition_key: of a fair queue.
        depends_on: ids of all jobs that it waits for or waited for.
        on_dependency_failure: what a failed one of them means.
        dependency_results: JSON members `"id":result`, joined by commas.
        batch_id: of the batch that it is a child of.
        parent_id: of the job that inserted it.
    """

    unique_key: bytes | None = None
    unique: Unique | None = None
    guarded: int | None = None
    begun: int = 0
    opened: bool = False
    partition_key: str | None = None
    depends_on: tuple[bytes, ...] = ()
    on_dependency_failure: OnFailure = "discard"
    dependency_results: bytes = b""
    batch_id: bytes | None = None
    parent_id: bytes | None = None
