"""The audit: it is silent about honest jobs and names each dishonest one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from uuid import UUID, uuid4

import pytest

from kathikon_actors import Job, open_node
from kathikon_actors.jobs import machine
from kathikon_actors.jobs.history import whole_history
from kathikon_actors.jobs.record import Record
from kathikon_actors.testing import AuditFailed, audit
from tests.node import workers
from tests.node.workers import app
from tests.support.records import new_record


class Rows:
    """A store of jobs made by hand."""

    def __init__(self, *records: Record) -> None:
        self.jobs = sorted((Job(copy(record)) for record in records), key=lambda job: job.id)

    async def list(
        self, *, state: object = None, after: UUID | str | None = None, newest_first: bool = True, limit: int = 100
    ) -> Sequence[Job]:
        states = None if state is None else set(state) if isinstance(state, Iterable) else {state}
        return [
            job for job in self.jobs if (after is None or job.id > after) and (states is None or job.state in states)
        ]


def finished(attempts: int = 1) -> Record:
    record = new_record()
    for _ in range(attempts - 1):
        machine.begin(record, 1)
        machine.fail(record, 2, machine.quote_error(2, record.attempt, "exception", "no"), 0.0)
        machine.promote(record, 3)
    machine.begin(record, 4)
    machine.complete(record, 5, b"1")
    record.history = whole_history(record)
    return record


async def test_honest_jobs_are_clean() -> None:
    """Retries, snoozes, cancels and discards are all as they should be."""
    async with open_node(app, name="n1") as node:
        jobs = [
            await node.insert(workers.add.new(1)),
            await node.insert(workers.fail_until.new(3)),
            *[await node.insert(workers.end_as.new(how)) for how in ("discard", "cancel", "retry", "x")],
            await node.insert(workers.add.new(1).options(schedule_in=3600)),
        ]
        await node.cancel(jobs[-1].id)
        verdict = await audit(node, acknowledged=[job.id for job in jobs], patience=60.0)
    assert verdict.check().jobs == 7
    assert verdict.retries >= 2
    assert "lost            0" in str(verdict)


async def test_each_kind_of_dishonesty_is_named() -> None:
    """A job that is lost, completed twice, stored twice, unfinished, miscounted, or whose history does not fit."""
    twice = finished()
    twice.history += b',[6,"started","completed","executing"],[7,"completed","executing","completed"]'
    counted = finished()
    counted.attempt = 2
    gap = finished()
    gap.history = gap.history.replace(b'"available","executing"', b'"scheduled","executing"')
    other = finished()
    other.state = "discarded"
    unfinished = new_record()
    doubled = finished()
    gone = uuid4()
    verdict = await audit(
        Rows(twice, counted, gap, other, unfinished, doubled, doubled, finished(3)), acknowledged=[gone], patience=0.01
    )
    found = dict(verdict.problems)
    assert verdict.lost == [gone]
    assert {job_id.bytes for job_id in verdict.twice} == {twice.id, doubled.id}
    assert [job_id.bytes for job_id in verdict.unfinished] == [unfinished.id]
    assert "history counts 1" in found[Job(counted).id]
    assert "gap" in " ".join(problem for job_id, problem in verdict.problems if job_id.bytes == gap.id)
    assert "is discarded, but its history ends with completed" in [
        problem for job_id, problem in verdict.problems if job_id.bytes == other.id
    ]
    with pytest.raises(AuditFailed, match="was acknowledged and is not in the store") as failed:
        verdict.check()
    assert failed.value.verdict is verdict
