"""Fairness: one tenant floods the queue, the others do not wait for it.

Run it: `python examples/tenants.py [--plot tenants.svg]`. The big tenant inserts a thousand jobs, then nine small ones
insert ten each. In a plain queue the small ones wait until the flood is over; in a fair queue the tenants take turns.
The plot shows how many jobs had started before each tenant's last one: the lower, the better it was served.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import trio

from kathikon_actors import App, Queue, open_node, worker

BIG, SMALL, FLOOD, FEW = "big", 9, 1000, 10


@worker
def serve(tenant: str) -> str:
    """Do a tenant's work."""
    return tenant


async def waits(fair: bool) -> dict[str, int]:
    """Give, for each tenant, how many jobs had started before its last one."""
    queue = Queue("work", fair=fair, concurrency=1)
    async with open_node(App(queues=[queue], workers=[serve]), name="fair" if fair else "plain") as node:
        await node.pause("work")
        await node.insert_many(serve.new(BIG).options(partition_key=BIG) for _ in range(FLOOD))
        tenants = [f"small {number}" for number in range(1, SMALL + 1)]
        for tenant in tenants:
            await node.insert_many(serve.new(tenant).options(partition_key=tenant) for _ in range(FEW))
        await node.resume("work")
        await node.drain("work")
        done = await node.list(limit=FLOOD + SMALL * FEW)
    done = sorted(done, key=lambda job: (job.attempted_at or job.inserted_at, job.id))
    return {job.args["tenant"]: place for place, job in enumerate(done)}


def plot(plain: dict[str, int], fair: dict[str, int], path: Path) -> None:
    """Draw two bars a tenant."""
    width, step, scale = 640, 34, 420 / max(*plain.values(), *fair.values())
    rows = []
    for number, tenant in enumerate(sorted(fair)):
        y = 40 + number * step
        rows.append(f'<text x="8" y="{y + 16}">{tenant}</text>')
        for offset, (waited, colour) in enumerate(((plain[tenant], "#c0504d"), (fair[tenant], "#4f8f5b"))):
            bar = y + offset * 13
            rows.append(f'<rect x="90" y="{bar}" width="{waited * scale:.0f}" height="11" fill="{colour}"/>')
            rows.append(f'<text x="{96 + waited * scale:.0f}" y="{bar + 10}">{waited}</text>')
    height = 60 + len(fair) * step
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/><text x="8" y="20">jobs started before '
        f"each tenant's last one: plain queue (red), fair queue (green)</text>{''.join(rows)}</svg>\n"
    )


async def main(path: Path | None) -> None:
    """Compare a plain and a fair queue."""
    plain, fair = await waits(fair=False), await waits(fair=True)
    small = [tenant for tenant in fair if tenant != BIG]
    print(f"plain queue: the small tenants were served after {max(plain[tenant] for tenant in small)} jobs")
    print(f"fair queue:  the small tenants were served after {max(fair[tenant] for tenant in small)} jobs")
    print(f"             the big one after {fair[BIG]}, as before: {plain[BIG]}")
    if path is not None:
        plot(plain, fair, path)
        print(f"drawn to {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    trio.run(main, parser.parse_args().plot)
