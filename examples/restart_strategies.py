"""The three restart strategies side by side: what happens to a, c and d when b crashes.

Run it: `python examples/restart_strategies.py`. It prints, for each strategy, who is stopped and started and in which
order, and then what a restart limit does.
"""

from __future__ import annotations

import trio

from supervisors import ChildSpec, RestartLimitReached, open_supervisor
from supervisors.testing import crash, wait_restarted


async def member(name: str, story: list[str], *, task_status: trio.TaskStatus[None]) -> None:
    """Tell of one's start and stop."""
    story.append(f"start {name}")
    task_status.started()
    try:
        await trio.sleep_forever()
    finally:
        story.append(f"stop {name}")


async def tell(strategy: str) -> list[str]:
    """Let b of a, b, c, d crash; returns what happened then."""
    story: list[str] = []
    specs = [ChildSpec(name, member, args=(name, story)) for name in "abcd"]
    async with open_supervisor(specs, strategy=strategy) as tree:  # type: ignore[arg-type]
        story.clear()
        crash(tree, "b", RuntimeError("b has a bad day"))
        await wait_restarted(tree, "d" if strategy != "one_for_one" else "b", 1)
        return list(story)


async def give_up() -> str:
    """Crash one child more often than allowed; returns what the supervisor says."""
    story: list[str] = []
    try:
        async with open_supervisor(
            [ChildSpec("a", member, args=("a", story))], max_restarts=2, max_seconds=5.0
        ) as tree:
            for number in range(3):
                crash(tree, "a", RuntimeError("again"))
                await wait_restarted(tree, "a", number + 1)
    except RestartLimitReached as exc:
        return str(exc)
    return "it never gave up"


async def main() -> None:
    """Print the stories."""
    for strategy in ("one_for_one", "one_for_all", "rest_for_one"):
        print(f"{strategy:13} b crashes: {', '.join(await tell(strategy))}")
    print(await give_up())


if __name__ == "__main__":
    trio.run(main)
