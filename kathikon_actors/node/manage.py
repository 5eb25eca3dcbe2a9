"""What an operator does to single jobs of a node: cancel, discard, retry, rerun.

A job that this node owns changes in its table, by the state machine, and the journal commits it. A row that nobody
alive owns is changed by the store, and the owner of any other is asked by a command. A job may go from the one place
to the other while this happens, in both directions, so each function looks again until it has met the job in one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager
from copy import copy
from typing import TYPE_CHECKING, Final
from uuid import UUID

import trio

from kathikon_actors.jobs.actions import Change, NotMeant, check_delay
from kathikon_actors.jobs.errors import KathikonError, LeaseLost, OwnedElsewhere, StoreUnavailable
from kathikon_actors.jobs.ids import as_uuid, raw_id
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.states import TERMINAL_STATES, Action
from kathikon_actors.node.asking import ask_owner, check_percent, report_progress

if TYPE_CHECKING:
    from kathikon_actors.jobs.filters import Filter
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.node.state import NodeState
    from kathikon_actors.queue.settle import Ending
    from kathikon_actors.store.table import Table

__all__ = ["JobActions", "change_job", "note_progress", "take_up_doubtful"]

LOOK_AGAIN: Final = 0.01
"""Seconds between two looks at a job that is on its way from the store into the table or back."""

PATIENCE: Final = 30.0
"""Seconds that a job may be on its way before somebody else must own it."""


class JobActions:
    """The part of `Node` that changes single jobs by hand."""

    _state: NodeState

    async def cancel(self, job_id: UUID | str) -> Job:
        """Do not run this job, or stop it where it runs; give it when that is committed.

        An executing job is stopped at once: an async one is cancelled, a plain one is interrupted, and what has not
        given way after 5 s loses its process. Cancelling the call does not take back the cancellation.

        Raises:
            JobNotFound: there is none with this id.
            InvalidState: it has ended already, or ended by itself before it could be stopped.
            OwnedElsewhere: another live node owns it and did not answer in time; it does it when it can.
            StoreUnavailable: the store did not answer; the job may or may not be cancelled.

        Example:
            ```python
            job = await node.insert(render_invoice.new("INV-99"))
            assert (await node.cancel(job.id)).state == "cancelled"
            ```
        """
        return await self._change("cancel", job_id)

    async def discard(self, job_id: UUID | str) -> Job:
        """Give a job up as a dead letter; as `cancel` otherwise.

        Example:
            ```python
            assert (await node.discard(job.id)).state == "discarded"
            ```
        """
        return await self._change("discard", job_id)

    async def retry(self, job_id: UUID | str, delay: float = 0) -> Job:
        """Run a retryable, cancelled or discarded job again; give it when that is committed.

        It keeps its id and its attempts; when those are used up, one more is allowed.

        Args:
            job_id: its id.
            delay: seconds until it is due.

        Raises:
            JobNotFound, OwnedElsewhere, StoreUnavailable: see `cancel`.
            InvalidState: it is in another state.
            UniqueConflict: another job has its unique key meanwhile.
            ValueError: `delay` is below 0 or above 100 years.

        Example:
            ```python
            for job in await node.list(state="discarded"):
                await node.retry(job.id, delay=60)
            ```
        """
        return await self._change("retry", job_id, check_delay(delay))

    async def rerun(self, job_id: UUID | str) -> Job:
        """Insert a new job like one that has ended; give the new one when it is committed.

        It has the same worker, arguments, queue, priority, attempts, timeout, tags and meta; `rerun_of` leads to the
        old job and `original_id` to the first of the chain. The old job only gains a line of history.

        Raises:
            JobNotFound, OwnedElsewhere, StoreUnavailable: see `cancel`.
            InvalidState: it has not ended.
            UniqueConflict: another job has its unique key, which the new one would hold.

        Example:
            ```python
            again = await node.rerun(job.id)
            assert again.rerun_of == job.id
            ```
        """
        return await self._change("rerun", job_id)

    async def report_progress(self, job_id: UUID | str, percent: int) -> None:
        """See `Client.report_progress`; a job of this node is told at once."""
        raw = raw_id(job_id)
        if not await note_progress(self._state, raw, check_percent(percent)):
            await report_progress(self._state.store, raw, percent, trio.sleep)

    async def _change(self, action: Action, job_id: UUID | str, delay: float = 0.0) -> Job:
        state = self._state
        now = state.clock()
        change, raw = Change(action, now, delay, state.ids.next(now)), raw_id(job_id)
        try:
            return Job(await change_job(state, change, raw))
        except OwnedElsewhere as error:
            return await ask_owner(state.store, change, error, trio.sleep)

    async def _change_running(
        self, meant: Filter, change: Change, known: Container[bytes]
    ) -> dict[bytes, KathikonError | None]:
        """See `Operations`: a run is shown in the store only after a second, the table knows it at once."""
        answers: dict[bytes, KathikonError | None] = {}
        if "executing" not in meant.states:
            return answers

        async def one(job_id: bytes) -> None:
            try:
                await change_job(self._state, change, job_id)
            except NotMeant:  # it has ended meanwhile
                return
            except KathikonError as error:
                answers[job_id] = error
            else:
                answers[job_id] = None

        records = self._state.the_table().records.values()
        running = [r.id for r in records if r.state == "executing" and r.id not in known and meant.takes(r)]
        async with trio.open_nursery() as nursery:
            for job_id in running:
                nursery.start_soon(one, job_id)
        return answers


async def change_job(state: NodeState, change: Change, job_id: bytes) -> Record:
    """Apply an action, wherever the job is, and wait until that is committed.

    Gives the job as that left it, or its rerun.

    Raises:
        JobNotFound: there is none with this id.
        InvalidState: its state does not offer the action; nothing was changed.
        NotMeant: it is in none of the change's states; nothing was changed.
        OwnedElsewhere: another live node owns it.
        StoreUnavailable: the store did not answer; what was asked for may or may not happen.
    """
    deadline = trio.current_time() + PATIENCE
    while True:
        table = state.the_table()
        record = table.records.get(job_id)
        if record is not None:
            done = await _change_here(state, table, record, change)
        elif job_id in table.unwritten.ended:
            return _change_remembered(table, table.unwritten.ended[job_id], change)
        else:
            done = await _change_stored(state, table, change, job_id, patient=trio.current_time() < deadline)
        if done is not None:
            return done
        await trio.sleep(LOOK_AGAIN)


async def note_progress(state: NodeState, job_id: bytes, percent: int) -> bool:
    """Note how far a job of this node is, and wait until that is committed; tell whether it is this node's."""
    table = state.the_table()
    record = table.records.get(job_id)
    if record is None or record.state in TERMINAL_STATES:
        return False
    record.progress = percent
    table.changed([record])
    if table.on_progress is not None:
        table.on_progress(record)
    return await table.wait_written(job_id) is not None


async def take_up_doubtful(state: NodeState) -> None:
    """Take in rows of which nobody knows whether the store gave them to this node: its answer was lost.

    Raises:
        StoreUnavailable: the store did not answer; they stay in doubt.
    """
    table = state.table
    for job_id in list(state.doubtful):
        record = await state.store.get(job_id)
        if table is None or table is not state.table:
            return  # the next life of the table loads everything that is the node's own
        if record is not None and record.node == state.name and record.state not in TERMINAL_STATES:
            table.adopt([record])
        state.doubtful.discard(job_id)


async def _change_here(state: NodeState, table: Table, record: Record, change: Change) -> Record | None:
    """Change a job of the table; `None` when it is to be looked for again."""
    if record.state in TERMINAL_STATES:
        # It has ended, and only the commit of that is missing.
        await table.wait_ended(record.id)
        return None
    if record.state == "waiting" and (record.dirty or record.fence != record.attempt):
        # It is nobody's as soon as that is committed.
        await table.wait_written(record.id)
        return None
    if change.is_done(record):  # a command that is tried again
        return copy(record)
    change.check(record)
    if record.state == "executing":
        return await _stop(state, table, record, change)
    change.apply(record)
    changed = copy(record)
    table.changed([record])
    if await table.wait_written(record.id) is None:
        return None  # another node took the job before this was committed
    return changed


def _change_remembered(table: Table, record: Record, change: Change) -> Record:
    """Change a job that lived in memory only and has ended; none but this node knows it."""
    changed = copy(record)
    made = change.apply(changed)
    fresh = changed if made is None else made
    fresh.node = record.node
    table.admit(fresh, is_new=made is not None)
    if made is None:
        del table.unwritten.ended[record.id]
    else:
        table.unwritten.ended[record.id] = changed
    return copy(fresh)


async def _stop(state: NodeState, table: Table, record: Record, change: Change) -> Record | None:
    """Stop an executing job where it runs."""
    why: Ending = "discard" if change.action == "discard" else "cancel"
    now = state.monotonic()
    # Every executing record is in the hands of one worker process; without one it is on its way back.
    if not any(crew.stop_job(record.id, why, now) for crew in state.crews.values()):
        return None
    ended = await table.wait_ended(record.id)
    if ended is not None and ended.state != change.target:
        raise change.refused(as_uuid(record.id), ended.state)
    return copy(ended) if ended is not None else None


async def _change_stored(
    state: NodeState, table: Table, change: Change, job_id: bytes, *, patient: bool
) -> Record | None:
    """Change a row that is not in the table; `None` when it is on its way there."""
    membership, queues = state.the_membership(), state.queues
    try:
        async with _doubtful(state, change.new_id if change.action == "rerun" else job_id):
            changed = await state.store.change(job_id, change, membership=membership, queues=queues)
    except LeaseLost as error:
        raise StoreUnavailable(f"nothing was changed: {error}") from error
    except OwnedElsewhere as error:
        if error.node == state.name and patient:
            return None
        raise
    table.forget(job_id)
    fresh = changed.record if changed.made is None else changed.made
    if fresh.state not in TERMINAL_STATES and fresh.node == state.name:
        table.adopt([copy(fresh)])
    return fresh


@asynccontextmanager
async def _doubtful(state: NodeState, job_id: bytes) -> AsyncIterator[None]:
    """While the store is asked, and when its answer is lost, the row may be ours without being in the table."""
    try:
        yield
    except (StoreUnavailable, trio.Cancelled):
        state.doubtful.add(job_id)
        raise
