"""A program that inserts jobs which hang together, and dies: `python -m tests.node.dying DSN SECONDS`."""

from __future__ import annotations

import os
import signal
import sys

import trio

from kathikon_actors import Batch, Unique, Workflow, open_node
from tests.node.composers import app, callback, fan_out
from tests.node.workers import add


async def main(dsn: str, seconds: float) -> None:
    async with open_node(app, store=dsn, name="n1") as node:
        await node.wait((await node.insert(add.new(0))).id)
        flow = Workflow()
        for number in range(30):
            flow.add(f"{number}", add.new(number), after=f"{number - 1}" if number else ())
        flow.add("all", add.new(1), after=[f"{number}" for number in range(30)])
        jobs = await node.workflow(flow)
        waiting = await node.insert(fan_out.new(300, 0).options(max_attempts=5))
        async with node.open_batch(Batch(on_complete=callback.new().options(tags=["callback"]))) as batch:
            await batch.insert_many(add.new(number) for number in range(300))
        again = await node.insert(add.new(-1), unique=Unique(debounce=0.05))
        print(*(str(job.id) for job in (jobs["all"], waiting, again)), str(batch.id), flush=True)
        await trio.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], float(sys.argv[2]))
