"""Chaos: by seed, sparing what would give up, with a report when the test fails."""

from __future__ import annotations

import pytest
import trio

from kathikon_actors import StoreUnavailable, open_node
from kathikon_actors.testing import Chaos, UnknownVictim, audit
from tests.node import workers
from tests.node.workers import app

WAIT = 60.0
KINDS = [
    "worker",
    "zygote",
    "producer",
    "pool",
    "queue",
    "journal",
    "table",
    "scheduler",
    "claimer",
    "rescuer",
    "membership",
]


async def test_a_node_under_chaos_does_every_job_once(postgres_dsn: str) -> None:
    """Processes and parts of the tree die all the time; the audit is clean."""
    acknowledged = []
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        async with Chaos(kill=KINDS, every=0.1) as chaos:
            with trio.fail_after(WAIT):
                while chaos.kills < 12 or len(acknowledged) < 600:
                    try:
                        many = await node.insert_many(workers.add.new(i).options(queue="wide") for i in range(50))
                        acknowledged += many.ids
                    except StoreUnavailable:
                        await trio.sleep(0.01)
                    await trio.sleep(0.005)
        verdict = await audit(node, acknowledged=acknowledged, patience=WAIT)
        assert verdict.check().jobs >= len(acknowledged), chaos.report()


async def test_one_seed_is_one_plan() -> None:
    """The kinds and their order repeat; a run under another seed is another."""

    async def plan(seed: int) -> list[str]:
        kinds = ["producer", "scheduler", "claimer"]
        async with open_node(app, name="n1") as node, Chaos(seed, kill=kinds, every=0.02, node=node) as chaos:
            with trio.fail_after(WAIT):
                while len(chaos.strikes) < 12:
                    await trio.sleep(0.01)
        return [strike.kind for strike in chaos.strikes[:12]]

    assert await plan(7) == await plan(7) != await plan(8)


async def test_a_test_that_fails_under_chaos_tells_the_seed_and_what_was_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error comes out as itself, with the report as a note and on stderr."""

    async def the_test() -> None:
        async with open_node(app, name="n1"), Chaos(42, kill=["scheduler"], every=0.01) as chaos:
            with trio.fail_after(WAIT):
                while not chaos.kills:
                    await trio.sleep(0.01)
            raise ValueError("the user's own")

    with pytest.raises(ValueError, match="the user's own") as failed:
        await the_test()
    report = "\n".join(failed.value.__notes__)
    assert "seed 42" in report
    assert "scheduler" in report.splitlines()[1]
    assert "seed 42" in capsys.readouterr().err


async def test_a_supervisor_on_its_last_restart_is_spared() -> None:
    """One kind, far more strikes than restarts are allowed: the node lives on."""
    async with open_node(app, name="n1") as node:
        async with Chaos(1, kill=["scheduler"], every=0.002) as chaos:
            with trio.fail_after(WAIT):
                while len(chaos.strikes) < 50:
                    await trio.sleep(0.01)
        job = await node.insert(workers.add.new(1))
        assert (await node.wait(job.id, timeout=WAIT)).state == "completed"
        assert 1 <= chaos.kills < 50


async def test_the_block_can_be_cancelled() -> None:
    """A deadline around it ends it, as any block."""
    async with open_node(app, name="n1"):
        with trio.move_on_after(0.05) as scope:
            async with Chaos(1, every=10.0):
                await trio.sleep_forever()
    assert scope.cancelled_caught


def test_what_cannot_be_killed_is_refused_by_name() -> None:
    """Before anything is started."""
    with pytest.raises(UnknownVictim, match='Did you mean "producer"'):
        Chaos(1, kill=["producers"])
    with pytest.raises(ValueError, match="something to kill"):
        Chaos(1, kill=[])
    with pytest.raises(ValueError, match="seconds above 0"):
        Chaos(1, every=0)
