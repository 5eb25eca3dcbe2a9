"""What is of a wrong kind is refused with the same error on every store, and nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest

from kathikon_actors import BadConfiguration, BatchNotFound, CronNotFound, InvalidState, Node, UnknownQueue
from tests.node import workers

WAIT = 20.0


async def test_what_names_no_batch_is_not_found(node: Node) -> None:
    """Not even nothing is an id; what is opened is a Batch."""
    for bad in (None, 5, "x"):
        calls: list[Any] = [node.batch, node.close_batch, node.retry_failed, node.wait_batch]
        for call in calls:
            with pytest.raises(BatchNotFound):
                await call(bad)
    for wrong in (5, "x"):
        with pytest.raises(BadConfiguration, match=r"Batch\(\.\.\.\)"):
            await node.new_batch(wrong)  # type: ignore[arg-type]
        with pytest.raises(BadConfiguration, match=r"Batch\(\.\.\.\)"):
            async with node.open_batch(wrong):  # type: ignore[arg-type]
                pass


async def test_what_names_no_queue_is_not_known(node: Node) -> None:
    """Also what no dict could hold."""
    calls: list[Any] = [node.pause, node.resume, node.queue_status, node.drain, node.remove_queue]
    for bad in (5, [], "\0", "\ud800"):
        for call in calls:
            with pytest.raises(UnknownQueue):
                await call(bad)


async def test_what_names_no_cron_entry_is_not_found(node: Node) -> None:
    """A store is not asked for a name that none can have."""
    crons = node.crons
    calls: list[Any] = [crons.get, crons.change, crons.pause, crons.resume, crons.remove, crons.run_now]
    for bad in (5, None, "\0", "\ud800"):
        for call in calls:
            with pytest.raises(CronNotFound):
                await call(bad)
    with pytest.raises(BadConfiguration, match=r"Cron\(\.\.\.\)"):
        await crons.add(None)  # type: ignore[arg-type]


async def test_a_retention_of_another_kind_is_refused(node: Node) -> None:
    """Nothing is pruned."""
    with pytest.raises(BadConfiguration, match=r"Retention\(\.\.\.\)"):
        await node.prune_now(5)  # type: ignore[arg-type]


async def test_a_state_that_does_not_fit_is_told_in_words(node: Node) -> None:
    """Of a result that is not there, and of progress of what has ended."""
    job = await node.insert(workers.add.new(1), schedule_in=600)
    with pytest.raises(InvalidState, match="is scheduled: only a completed job has a result; wait for it"):
        await node.result(job.id)
    await node.cancel(job.id)
    with pytest.raises(InvalidState, match="is cancelled: only a completed job has a result; look at its errors"):
        await node.result(job.id)
    with pytest.raises(InvalidState, match="is cancelled: it has ended, and its progress stays as it is"):
        await node.report_progress(job.id, 5)
