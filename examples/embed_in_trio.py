"""A supervision tree inside an ordinary trio program: no framework, one block.

A clock and a pool of workers run under a supervisor while the program does its own work. One worker crashes now and
then; the program never notices. Run it: `python examples/embed_in_trio.py`.
"""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ChildSpec, ChildTerminated, Event, open_supervisor, supervisor_spec


async def clock(ticks: list[float], *, task_status: trio.TaskStatus[str]) -> None:
    """Tick until cancelled; the next sibling starts once this one is up."""
    task_status.started("ticking")
    while True:
        ticks.append(trio.current_time())
        await trio.sleep(0.05)


async def worker(number: int, jobs: trio.MemoryReceiveChannel[int], results: list[int]) -> None:
    """Square numbers; stumble over every 13."""
    async for job in jobs:
        if job == 13:
            raise ValueError(f"worker {number} dislikes {job}")
        results.append(job * job)


def report(event: Event) -> None:
    """Print what the supervisors do, as it happens."""
    if isinstance(event, ChildTerminated):
        print(f"{event.supervisor}: child {event.child.id!r} died: {event.reason}")


async def main() -> list[int]:
    """Run the tree round the program's own work; returns the results."""
    ticks: list[float] = []
    results: list[int] = []
    send, receive = trio.open_memory_channel[int](0)
    pool = supervisor_spec("pool", [ChildSpec(n, worker, args=(n, receive, results)) for n in range(2)])
    async with open_supervisor([ChildSpec("clock", clock, args=(ticks,)), pool], name="app") as tree:
        tree.subscribe(report)
        for job in range(10, 20):
            await send.send(job)
        await wait_all_tasks_blocked()
        print(tree.format_tree())
    print(f"{len(results)} results, {len(ticks)} ticks; the tree ended: {tree.exit_reason}")
    return sorted(results)


if __name__ == "__main__":
    trio.run(main)
