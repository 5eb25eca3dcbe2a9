"""Checklist R, 180 and 181: partitions."""

from __future__ import annotations

import os
import sys

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    ChildRestarting,
    ChildSpec,
    InvalidSpec,
    NoPartitions,
    open_partition_supervisor,
    open_supervisor,
    partition_of,
    partition_supervisor_spec,
)
from supervisors.testing import wait_restarted
from tests.supervisors.tools import puppets, settle


async def test_r180_a_key_has_its_partition_for_ever() -> None:
    """Over restarts of the partition and of Python; ints go by abs(k) mod N."""
    _, (a,) = puppets("a")
    async with open_partition_supervisor(a.spec(), 4, with_arguments=lambda args, number: [*args, number]) as parts:
        assert a.args == [(0,), (1,), (2,), (3,)]
        assert [parts.partition(key) for key in (0, 5, -7, 11)] == [0, 1, 3, 3]
        before = parts.route("user:17")
        number = parts.partition("user:17")
        a.end(ValueError("the last one started: 3"))
        await settle()
        assert parts.which_children()[0].restarts == 1
        assert parts.partition("user:17") == number
        assert before in {f"a{n}" for n in range(1, 6)}
    keys = ["user:17", b"x", ("a", 1), None, 2.5, True, frozenset({"p", "q"})]
    code = f"from supervisors import partition_of\nprint([partition_of(k, 97) for k in {keys!r}])"
    results = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code]
        done = await trio.run_process(command, capture_stdout=True, env={**os.environ, "PYTHONHASHSEED": seed})
        results.add(done.stdout.decode().strip())
    assert results == {str([partition_of(key, 97) for key in keys])}
    with pytest.raises(InvalidSpec, match="key"):
        partition_of(object(), 4)


async def test_r181_resize_stops_the_top_ones_and_starts_them_again(autojump_clock: MockClock) -> None:
    """Keys are routed anew; more than at first is an error; at 0 there is nowhere to go."""
    _, (a,) = puppets("a")
    async with open_partition_supervisor(a.spec(), 4, max_restarts=0) as parts:
        assert await parts.resize(2) == 4
        assert [info.state for info in parts.which_children()] == ["stopped", "stopped", "running", "running"]
        assert {parts.partition(key) for key in range(10)} == {0, 1}
        assert await parts.resize(3) == 2
        assert (parts.partitions, parts.route(2)) == (3, "a5")
        with pytest.raises(InvalidSpec):
            await parts.resize(5)
        await parts.resize(0)
        with pytest.raises(NoPartitions):
            parts.route(1)
        await parts.resize(4)
        assert parts.count_children().active == 4


async def test_r_a_partition_that_is_down_says_so(autojump_clock: MockClock) -> None:
    """route() raises while it is being restarted; bad arguments are named."""
    gate = trio.Event()
    starts = 0

    async def child(*, task_status: trio.TaskStatus[str]) -> None:
        nonlocal starts
        starts += 1
        if starts > 1:
            await trio.sleep_forever()
        task_status.started("up")
        await gate.wait()
        raise ValueError("x")

    async with open_partition_supervisor(ChildSpec("x", child), 1) as parts:
        assert parts.route("any") == "up"
        gate.set()
        await settle()
        with pytest.raises(ChildRestarting):
            parts.route("any")
    with pytest.raises(InvalidSpec, match="partitions"):
        async with open_partition_supervisor(ChildSpec("x", child), 0):
            raise AssertionError("must not open")
    with pytest.raises(InvalidSpec, match="with_arguments"):
        async with open_partition_supervisor(ChildSpec("x", child), 1, with_arguments=lambda args, n: n):  # type: ignore[arg-type,return-value]
            raise AssertionError("must not open")


async def test_r_a_partition_supervisor_as_a_child(autojump_clock: MockClock) -> None:
    """It gives up like any other, and comes back whole."""
    _, (a,) = puppets("a")
    async with open_supervisor([partition_supervisor_spec("parts", a.spec(), 3, max_restarts=0)]) as tree:
        assert tree.which_child("parts").info.route(4) == "a2"
        a.end(ValueError("x"))
        await wait_restarted(tree, "parts")
        assert tree.which_child("parts").info.count_children().active == 3
