"""Checklist Q: tasks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    BRUTAL_KILL,
    ChildSpec,
    Crash,
    Exit,
    Exited,
    InvalidSpec,
    LinkedTaskDied,
    MaxChildrenReached,
    Ok,
    Shutdown,
    Task,
    TaskError,
    TaskExited,
    TaskSupervisor,
    TaskTimeout,
    open_supervisor,
    open_task_supervisor,
    self_pid,
    task_supervisor_spec,
)
from supervisors.testing import crash, wait_restarted
from tests.supervisors.tools import settle


async def value_after(seconds: float, value: int = 7) -> int:
    await trio.sleep(seconds)
    return value


async def crash_after(seconds: float) -> int:
    await trio.sleep(seconds)
    raise ValueError("task")


async def test_q170_a_linked_task_takes_its_owner_along_an_unlinked_one_does_not(autojump_clock: MockClock) -> None:
    """Whether anyone waits for it or not."""
    async with open_task_supervisor() as tasks:

        async def owner(linked: bool, *, task_status: trio.TaskStatus[None]) -> None:
            if linked:
                await tasks.async_linked(crash_after, 1)
            else:
                await tasks.async_nolink(crash_after, 1)
            task_status.started()
            await trio.sleep_forever()

        async with open_supervisor(
            [
                ChildSpec("linked", owner, args=(True,), restart="temporary"),
                ChildSpec("nolink", owner, args=(False,), restart="temporary"),
            ]
        ) as tree:
            reasons: dict[object, object] = {}
            tree.subscribe(lambda event: reasons.update({event.child.id: event.reason}))
            await trio.sleep(2)
            assert [info.id for info in tree.which_children()] == ["nolink"]
            reason = reasons["linked"]
            assert isinstance(reason, Crash)
            assert isinstance(reason.exception, LinkedTaskDied)
            assert isinstance(reason.exception.__cause__, ValueError)


async def test_q171_an_abnormal_end_of_the_owner_kills_linked_tasks_only(autojump_clock: MockClock) -> None:
    """A normal one kills none; all end with the task supervisor."""
    started: dict[str, Task[int]] = {}
    async with open_task_supervisor() as tasks:

        async def owner(name: str, outcome: BaseException | None) -> None:
            started[f"{name} linked"] = await tasks.async_linked(value_after, 100)
            started[f"{name} nolink"] = await tasks.async_nolink(value_after, 100)
            if outcome is not None:
                raise outcome

        async with open_supervisor() as tree:
            for name, outcome in (("crash", ValueError("x")), ("normal", None), ("shutdown", Exit(Shutdown()))):
                await tree.start_child(ChildSpec(name, owner, args=(name, outcome), restart="temporary"))
                await settle()
        alive = {name for name, task in started.items() if task.pid.alive}
        assert alive == {"crash nolink", "normal linked", "normal nolink", "shutdown nolink"}
    assert not any(task.pid.alive for task in started.values())


async def test_q172_only_the_owner_waits_and_only_once(autojump_clock: MockClock) -> None:
    """A second wait is an error, not a stale value."""
    async with open_task_supervisor() as tasks:
        task = await tasks.async_nolink(value_after, 1)
        errors: list[TaskError] = []

        async def stranger() -> None:
            try:
                await task.wait()
            except TaskError as exc:
                errors.append(exc)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stranger)
        assert len(errors) == 1
        assert await task.wait() == 7
        with pytest.raises(TaskError):
            await task.wait()


async def test_q173_a_wait_that_times_out_leaves_the_task_running(autojump_clock: MockClock) -> None:
    """Its late result is dropped; poll may be repeated until it has one."""
    ended: list[str] = []

    async def noting() -> int:
        await trio.sleep(10)
        ended.append("task")
        return 1

    async with open_task_supervisor() as tasks:
        task = await tasks.async_nolink(noting)
        with pytest.raises(TaskTimeout):
            await task.wait(timeout=5)
        with pytest.raises(TaskError):
            await task.wait()
        await trio.sleep(6)
        assert ended == ["task"]
        task = await tasks.async_nolink(value_after, 2)
        assert await task.poll(1) is None
        assert await task.poll() is None
        assert await task.poll(5) == Ok(7)
        with pytest.raises(TaskError):
            await task.poll()
        failing = await tasks.async_nolink(crash_after, 1)
        with pytest.raises(TaskExited) as caught:
            await failing.wait()
        assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("how", [5.0, BRUTAL_KILL])
async def test_q174_shutdown_gives_what_the_task_had_to_say(autojump_clock: MockClock, how: object) -> None:
    """Replied: the value; crashed: its exit; running: None, and it is dead."""
    async with open_task_supervisor() as tasks:
        replied = await tasks.async_nolink(value_after, 1)
        crashed = await tasks.async_nolink(crash_after, 1)
        running = await tasks.async_nolink(value_after, 100)
        await trio.sleep(2)
        assert await replied.shutdown(how) == Ok(7)  # type: ignore[arg-type]
        exited = await crashed.shutdown(how)  # type: ignore[arg-type]
        assert isinstance(exited, Exited)
        assert isinstance(exited.reason, Crash)
        assert await running.shutdown(how) is None  # type: ignore[arg-type]
        assert not running.pid.alive


class Gauge:
    """Counts how many run at a time."""

    def __init__(self) -> None:
        self.now = self.most = self.begun = 0

    async def work(self, item: float) -> float:
        self.now += 1
        self.begun += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(item)
        finally:
            self.now -= 1
        return item


async def test_q175_a_stream_runs_so_many_at_a_time(autojump_clock: MockClock) -> None:
    """Four wide over twenty: never more than four, twenty results."""
    gauge = Gauge()
    async with open_task_supervisor() as tasks:
        results = [result async for result in tasks.async_stream(gauge.work, [1.0] * 20, max_concurrency=4)]
    assert results == [Ok(1.0)] * 20
    assert (gauge.most, gauge.begun) == (4, 20)


async def test_q176_an_ordered_stream_gives_input_order_the_other_completion_order(autojump_clock: MockClock) -> None:
    """Finished ones wait behind a slow head without holding up the work."""
    items = [4.0, 1.0, 3.0, 2.0]
    gauge = Gauge()
    async with open_task_supervisor() as tasks:
        ordered = [result async for result in tasks.async_stream(gauge.work, items, max_concurrency=4)]
        assert ordered == [Ok(item) for item in items]
        unordered = [r async for r in tasks.async_stream(gauge.work, items, max_concurrency=4, ordered=False)]
        assert unordered == [Ok(item) for item in sorted(items)]
        gauge = Gauge()
        began = trio.current_time()
        head_first = [4.0] + [0.1] * 49
        assert [r async for r in tasks.async_stream(gauge.work, head_first, max_concurrency=50)] == [
            Ok(item) for item in head_first
        ]
        assert trio.current_time() - began == pytest.approx(4)


@pytest.mark.parametrize("ordered", [True, False])
async def test_q177_an_abandoned_stream_leaves_nothing_running(autojump_clock: MockClock, ordered: bool) -> None:
    """Two of a hundred, three wide: at most five items pulled, all tasks dead."""
    gauge = Gauge()
    pulled = 0

    def items() -> Iterator[float]:
        nonlocal pulled
        for _ in range(100):
            pulled += 1
            yield 1.0

    async with open_task_supervisor() as tasks:
        taken = 0
        async for _ in tasks.async_stream(gauge.work, items(), max_concurrency=3, ordered=ordered):
            taken += 1
            if taken == 2:
                break
        await settle()
        assert (gauge.now, tasks.count_children().specs) == (0, 0)
        assert 2 <= pulled <= 5
        async with tasks.async_stream(gauge.work, items(), max_concurrency=3) as stream:
            assert await anext(stream) == Ok(1.0)
        assert gauge.now == 0
        kept = tasks.async_stream(gauge.work, [100.0], timeout=500)
        with trio.move_on_after(0.5):
            await anext(kept)
        await settle()
        assert gauge.now == 0
        with pytest.raises(StopAsyncIteration):
            await anext(kept)


async def test_q178_a_crash_or_a_timeout_takes_its_place_in_the_stream(autojump_clock: MockClock) -> None:
    """The others go on; on_timeout="exit" raises and stops them."""
    gauge = Gauge()

    async def work(item: float) -> float:
        if item < 0:
            raise ValueError("negative")
        return await gauge.work(item)

    async with open_task_supervisor() as tasks:
        results = [
            r
            async for r in tasks.async_stream(
                work, [1.0, -1.0, 50.0, 2.0], max_concurrency=2, timeout=5.0, on_timeout="kill"
            )
        ]
        assert results[0] == Ok(1.0)
        assert results[3] == Ok(2.0)
        assert isinstance(results[1], Exited)
        assert "negative" in str(results[1].reason)
        assert isinstance(results[2], Exited)
        assert isinstance(results[2].reason, Crash)
        assert isinstance(results[2].reason.exception, TaskTimeout)
        with pytest.raises(TaskTimeout):
            async for _ in tasks.async_stream(work, [50.0, 4.9, 60.0], max_concurrency=2, timeout=5.0):
                pass
        await settle()
        assert (gauge.now, tasks.count_children().specs) == (0, 0)
        for options in ({"max_concurrency": 0}, {"on_timeout": "shrug"}):
            with pytest.raises(InvalidSpec):
                tasks.async_stream(work, [], **options)  # type: ignore[arg-type]


async def test_q179_an_input_that_raises_stops_the_tasks_and_comes_out(autojump_clock: MockClock) -> None:
    """Bare."""
    gauge = Gauge()

    def items() -> Iterator[float]:
        yield 1.0
        yield 100.0
        raise OSError("input")

    async with open_task_supervisor() as tasks:
        with pytest.raises(OSError, match="input"):
            async for _ in tasks.async_stream(gauge.work, items(), max_concurrency=3, timeout=1000.0):
                pass
        assert gauge.now == 0


async def test_q_start_task_and_the_limit(autojump_clock: MockClock) -> None:
    """A task nobody waits for; a full supervisor refuses all kinds."""
    done: list[int] = []

    async def effect(number: int) -> None:
        await trio.sleep(1)
        done.append(number)

    async def refused(tasks: TaskSupervisor) -> None:
        with pytest.raises(MaxChildrenReached):
            await tasks.start_task(effect, 2)
        with pytest.raises(MaxChildrenReached):
            await tasks.async_nolink(value_after, 1)

    async with open_task_supervisor(max_children=1) as tasks:
        ref = await tasks.start_task(effect, 1)
        await refused(tasks)
        await trio.sleep(2)
        assert (done, ref.state) == ([1], "stopped")


async def test_q_a_task_supervisor_as_a_child_is_restarted_without_its_tasks(autojump_clock: MockClock) -> None:
    """Its tasks are in the tree."""
    async with open_supervisor([task_supervisor_spec("tasks")]) as tree:
        tasks = tree.which_child("tasks").info
        task = await tasks.async_nolink(value_after, 100)
        assert tree.tree().children[0].children[0].id == "value_after"
        crash(tree, "tasks")
        await wait_restarted(tree, "tasks")
        assert not task.pid.alive
        again = await tree.which_child("tasks").info.async_nolink(value_after, 1)
        assert await again.wait() == 7


async def test_q_finished_linked_tasks_leave_nothing_with_their_owner(autojump_clock: MockClock) -> None:
    """A long-lived owner may start any number of them."""
    pids = []

    async def owner(*, task_status: trio.TaskStatus[None]) -> None:
        pids.append(self_pid())
        for _ in range(100):
            task = await tasks.async_linked(value_after, 0.1)
            assert await task.wait() == 7
        task_status.started()
        await trio.sleep_forever()

    async with open_task_supervisor() as tasks, open_supervisor([ChildSpec("owner", owner)]):
        assert not pids[0]._life._mourners
