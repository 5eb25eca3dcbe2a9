"""A poison job amid a hundred innocent ones: it kills its process, and only itself is blamed.

Run it: `python examples/poison_job.py`. A hundred jobs wait side by side in one worker process when one of them
segfaults and takes the process with it. Nobody can know at once which of them it was, so those that were running go
into quarantine: each runs again alone. The poison kills again, alone this time, and is discarded after its last
attempt; the innocent complete, none of them with an attempt too many.
"""

from __future__ import annotations

import ctypes

import trio

from kathikon_actors import App, Queue, constant, open_node, worker


@worker(queue="mixed")
async def innocent(number: int) -> int:
    """Wait for somebody, as most jobs do."""
    await trio.sleep(0.1)
    return number


@worker(queue="mixed", max_attempts=2, backoff=constant(0.01))
async def poison() -> None:
    """Read address zero: SIGSEGV."""
    await trio.sleep(0.05)
    ctypes.string_at(0)


app = App(queues=[Queue("mixed", concurrency=101)], workers=[innocent, poison])


async def main() -> None:
    """Insert, wait, and tell what became of them."""
    async with open_node(app) as node:
        jobs = [innocent.new(number) for number in range(100)]
        jobs.insert(50, poison.new())
        ids = (await node.insert_many(jobs)).ids
        done = [await node.wait(job_id) for job_id in ids]
    victims = [job for job in done if job.worker == "innocent"]
    (culprit,) = [job for job in done if job.worker == "poison"]
    print(f"innocent: {sum(job.state == 'completed' for job in victims)} of {len(victims)} completed")
    print(f"          {sum(job.attempt != 1 for job in victims)} of them were blamed")
    print(f"          {sum(len(job.history) > 3 for job in victims)} ran twice, because the process died under them")
    print(f"poison:   {culprit.state} after {culprit.attempt} attempts")
    for error in culprit.errors:
        print(f"          attempt {error['attempt']}: {error['kind']}: {error['message']}")


if __name__ == "__main__":
    trio.run(main)
