"""Cron on two nodes, one of which is killed: every tick makes one job, whoever leads.

Run it: `python examples/cron_and_leader.py [--ticks 6]`. It starts a private Postgres and two nodes as processes. A
cron entry fires every second; the leading node makes its jobs. In the middle the leader is killed by SIGKILL: its lease
runs out, the other leads, and what was missed meanwhile is made up for. A durable key of entry and tick sees to it that
no tick is fired twice, also while both believe they lead.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import trio

from kathikon_actors import App, Client, Cron, Job, Queue, open_node, worker
from kathikon_actors.store.embedded import EmbeddedServer

LEASE = 1.5


@worker
def tick(job: Job) -> str:
    """Say which tick this was."""
    return str(job.meta.get("cron", job.id))


app = App(
    queues=[Queue("default")], workers=[tick], crons=[Cron("every-second", "* * * * * *", tick.new(), catch_up="all")]
)


async def run_node(dsn: str, name: str) -> None:
    """Be one of the nodes, until killed."""
    async with open_node(app, store=dsn, name=name, lease=LEASE):
        print(f"{name} is up", flush=True)
        await trio.sleep_forever()


def start_node(dsn: str, name: str) -> subprocess.Popen[str]:
    """Start a node as a process and wait until it is up."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--node", name, dsn], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    print(process.stdout.readline().strip())
    return process


async def main(ticks: int) -> None:
    """Start both, kill the first, and count."""
    with tempfile.TemporaryDirectory(prefix="kathikon-cron-") as directory:
        server = EmbeddedServer(f"{directory}/pg")
        await server.start()
        nodes: list[subprocess.Popen[str]] = []
        try:
            nodes.append(start_node(server.dsn, "first"))
            async with Client(server.dsn) as client:
                while not await client.list(state="completed", limit=1):  # the first leads
                    await trio.sleep(0.05)
                nodes.append(start_node(server.dsn, "second"))
                print("the first, which leads, is killed")
                nodes[0].kill()
                killed = time.time()
                done: Sequence[Job] = ()
                while len(done) < ticks or not any(job.inserted_at.timestamp() > killed for job in done):
                    await trio.sleep(0.05)
                    done = await client.list(worker="tick", state="completed", limit=10_000)
                jobs = await client.list(worker="tick", limit=10_000, newest_first=False)
        finally:
            for process in nodes:
                process.kill()
                process.wait()
            with trio.CancelScope(shield=True):
                await server.stop("immediate")
    seconds = Counter(int(datetime.fromisoformat(job.meta["cron_tick"]).timestamp()) for job in jobs)
    after = [job for job in jobs if job.inserted_at.timestamp() > killed]
    print(f"{len(jobs)} ticks, each fired {max(seconds.values())} time; {len(after)} of them by the second node")
    print(
        "no second was left out" if set(seconds) == set(range(min(seconds), max(seconds) + 1)) else f"GAPS: {seconds}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=6)
    parser.add_argument("--node", nargs=2, metavar=("NAME", "DSN"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.node:
        trio.run(run_node, arguments.node[1], arguments.node[0])
    else:
        trio.run(main, arguments.ticks)
