"""Fan out, fan in: one job opens a batch of thousands of children, and holds no process while it waits for them.

Run it: `python examples/fan_out_fan_in.py [--pages 3000]`. A job inserts a child for every page of a book and returns;
it is `waiting` then. When the last child has ended it completes, and the job that the batch names on its success is
inserted in the same transaction: it adds up what the children found.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import trio

from kathikon_actors import App, Batch, Job, NewJob, Queue, open_node, worker

WORDS = ("duty", "job", "crash", "restart", "nobody", "is", "lost")


@worker(queue="pages")
def count_words(page: int) -> int:
    """Count the words of one page; a page is made up from its number, and takes a millisecond to read."""
    time.sleep(0.001)
    return len([WORDS[(page + place) % len(WORDS)] for place in range(page % 50)])


@worker(queue="books")
def count_book(job: Job, pages: int) -> str:
    """Fan out: one child a page, streamed; then this process is free for others."""

    def children() -> Iterator[NewJob]:
        for page in range(pages):
            yield count_words.new(page)

    with job.open_batch(Batch(on_success=add_up.new())) as batch:
        batch.insert_many(children())
    return f"{pages} pages are being counted"


@worker(queue="books")
def add_up(job: Job) -> str:
    """Fan in: told by the batch how its children ended."""
    batch = job.meta["batch"]
    return f"{batch['completed']} of {batch['total']} pages were counted"


app = App(
    queues=[Queue("books", concurrency=1), Queue("pages", concurrency=2, processes=2)],
    workers=[count_words, count_book, add_up],
)


async def main(pages: int) -> None:
    """Insert the book and follow it."""
    async with open_node(app) as node:
        await node.pause("pages")  # else all of them may be counted before anybody has seen the book wait
        book = await node.insert(count_book.new(pages))
        while (now := await node.get(book.id)).state != "waiting" and not now.is_terminal:
            await trio.sleep(0.005)
        print(f"the book is {now.state}; worker processes that work for it: none")
        await node.resume("pages")
        done = await node.wait(book.id, timeout=300)
        print(f"the book is {done.state}: {done.result}")
        while not (sums := await node.list(worker="add_up", state="completed")):
            await trio.sleep(0.005)
        print(sums[0].result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=3000)
    trio.run(main, parser.parse_args().pages)
